"""The console: pages on loopback that show a stage and act on it. Needs the extra ``console``.

``sjm console`` serves it. Everything it does is a call of the API, signed with your AWS credentials.
"""
