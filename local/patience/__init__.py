"""Extends time limits on a slow machine.

AWS's limits are meant for AWS. The emulator runs everything on one machine. If other programs keep that
machine busy, a function that is only slow would be killed, or would give up a call. `emulator` counts the
limits of functions, tasks and Express executions by a clock that slows down with the emulator. `worker` makes
the SDK in the functions wait longer for answers. On a quiet machine, each of these limits is exact. The
deadlines of jobs are always exact.
"""
