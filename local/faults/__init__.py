"""Lets chosen AWS and HTTP calls of the local stage's functions go wrong, each in one run of one job only.

`plans` is how a test says which, and what it learns of the calls that were made; `worker` is put into the
processes that run the functions, beside the product's code, which knows nothing of it; `emulator` does that.
"""
