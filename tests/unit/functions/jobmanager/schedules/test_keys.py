"""The keys of schedules: what they look like, and that each names its timing."""

from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jobmanager.core.clock import ms_of_iso
from jobmanager.schedules.expression import InvalidSchedule, canonical
from jobmanager.schedules.keys import is_plain, key_of, timing_of
from jobmanager.schedules.timing import Timing
from jobmanager.schedules.zones import canonical_zone

NIGHTLY, ONCE = "cron(0 2 * * ? *)", "at(2026-12-24T18:00:00)"
NEW_YEAR_MS = ms_of_iso("2026-01-01T00:00:00Z")
ZONES = ("UTC", "Europe/Berlin", "America/Argentina/ComodRivadavia", "Etc/GMT+12", "America/Port-au-Prince")
EXPRESSIONS = (NIGHTLY, ONCE, "rate(1 day)", "cron(0/5 8-17 ? * MON-FRI 2026-2030)", "cron(0 0 LW * ? *)")
MOMENTS = st.none() | st.integers(ms_of_iso("1970-01-01T00:00:00Z"), ms_of_iso("2199-12-31T23:59:59Z"))
TIMINGS = st.builds(Timing, st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES), MOMENTS, MOMENTS)


@pytest.mark.parametrize(
    ("timing", "key"),
    [
        (Timing(NIGHTLY), NIGHTLY),
        (Timing("rate(5 minutes)"), "rate(5 minutes)"),
        (Timing(ONCE), f"{ONCE} UTC"),
        (Timing(NIGHTLY, "Europe/Berlin"), f"{NIGHTLY} Europe/Berlin"),
        (Timing(NIGHTLY, start_ms=NEW_YEAR_MS), f"{NIGHTLY} UTC from 2026-01-01T00:00:00Z"),
        (Timing("rate(1 day)", end_ms=NEW_YEAR_MS), "rate(1 day) UTC until 2026-01-01T00:00:00Z"),
        (
            Timing(ONCE, "Asia/Kathmandu", NEW_YEAR_MS, NEW_YEAR_MS + 7),
            f"{ONCE} Asia/Kathmandu from 2026-01-01T00:00:00Z until 2026-01-01T00:00:00.007Z",
        ),
    ],
)
def test_a_key_says_what_differs_from_a_plain_schedule(timing: Timing, key: str) -> None:
    assert key_of(timing) == key
    assert is_plain(timing) == (key == timing.schedule)


@given(TIMINGS)
def test_a_key_names_exactly_its_timing(timing: Timing) -> None:
    assert timing_of(key_of(timing)) == timing
    assert len(key_of(timing)) <= 400


@given(TIMINGS, TIMINGS)
def test_different_timings_have_different_keys(one: Timing, other: Timing) -> None:
    assume(one != other)
    assert key_of(one) != key_of(other)


def test_the_longest_key_fits_the_limit() -> None:
    longest = f"cron({','.join(str(minute) for minute in range(10, 60))} 2 * * ? *)"
    assert 150 < len(canonical(longest)) <= 256
    last = int(datetime(2199, 12, 31, tzinfo=UTC).timestamp()) * 1000 + 1
    zone = canonical_zone("America/Argentina/ComodRivadavia")
    assert len(key_of(Timing("x" * 256, zone, last, last))) <= 400


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nightly",
        "cron(0 2 * * ? *",
        f"{NIGHTLY} ",
        f"{NIGHTLY}  Europe/Berlin",
        f"{NIGHTLY} Europe/Berlin from",
        f"{NIGHTLY} Europe/Berlin from yesterday",
        f"{NIGHTLY} from 2026-01-01T00:00:00Z",
        f"{NIGHTLY} UTC until 2026-01-01T00:00:00Z from 2026-01-01T00:00:00Z",
        f"{NIGHTLY}\n",
        "every(5 minutes)",
    ],
)
def test_other_texts_are_no_keys(text: str) -> None:
    with pytest.raises(InvalidSchedule, match="is not the key of a schedule"):
        timing_of(text)
