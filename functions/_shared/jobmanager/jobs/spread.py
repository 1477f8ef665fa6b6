"""Spreads the jobs of a schedule over a window: each starts at an offset of its own after the tick."""

from hashlib import sha256

MAX_SPREAD_SECONDS = 3600


def offset_seconds(job_key: str, spread_seconds: int) -> int:
    """Returns how long after each tick a job starts: 0 to ``spread_seconds``, both included.

    It is a hash of the job's key, so it stays the same, and the offsets of many jobs fill the window evenly.
    """
    if spread_seconds == 0:
        return 0
    return int.from_bytes(sha256(job_key.encode()).digest()[:8]) % (spread_seconds + 1)
