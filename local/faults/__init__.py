"""Makes chosen AWS and HTTP calls of the local stage's functions fail, each in one run of one job only.

A test plans faults with `plans`, and reads there which calls were made. `worker` runs in the functions'
processes beside the product's code, which does not know of it. `emulator` puts `worker` there. It also runs
Express executions twice, or lets them die, as planned.
"""
