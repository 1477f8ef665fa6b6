"""Starts the local stage's functions quickly: forks their processes instead of starting Python for each.

A bare cold start takes 0.3 s of CPU time, most of it to import boto3. While the emulator unpacks the
function's zip, it also delays all other requests. `template` is a process that has imported boto3 and forks
the functions' processes. It runs in the functions' own Python and cannot import modules of this project.
`emulator` makes the emulator use it, and unpack each zip only once.
"""
