"""Starts the local stage's functions quickly: forks their processes instead of starting Python for each.

A bare cold start takes 0.3 s of CPU time, most of it for importing boto3, and the emulator is as slow for
everybody else while it unpacks the function's zip. `template` is a process that has imported boto3 and forks
the functions' processes. It runs in the functions' own Python and finds no module of this project. `emulator`
makes the emulator use it, and unpack each zip only once.
"""
