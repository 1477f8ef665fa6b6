"""What a change of jobs means before it is made: what differs, when they fire, beside whom, at what price.

Only :mod:`sjm.review.apply` sends requests. Nothing here needs another package, except
:mod:`sjm.review.jobs_file`, which needs PyYAML.
"""
