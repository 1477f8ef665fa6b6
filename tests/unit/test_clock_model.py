"""Two implementations of when a schedule fires must agree."""

from hypothesis import given, settings
from hypothesis import strategies as st

from jobmanager.core.clock import ms_of_iso
from jobmanager.schedules.fire_times import fired_within, fires_again, next_fire_times
from jobmanager.schedules.keys import key_of
from jobmanager.schedules.timing import Timing
from tests.clock_model import MINUTE_MS, Fires, clock

HOUR_MS = 60 * MINUTE_MS
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York")
AROUND_MS = tuple(
    ms_of_iso(text)
    for text in (
        "2026-11-23T12:00:00Z",
        "2026-10-25T01:00:00Z",  # Berlin's clocks go back
        "2027-03-28T01:00:00Z",  # and forward
        "2026-10-03T15:30:00Z",  # Lord Howe's go forward by half an hour
        "2027-04-03T15:00:00Z",  # and back
    )
)
CRONS = ("cron(* * * * ? *)", "cron(0/7 2 * * ? *)", "cron(15-50/3 1-3 * * ? *)", "cron(30 17 * * ? *)")


@st.composite
def timings(draw: st.DrawFn) -> tuple[Timing, int]:
    around_ms = draw(st.sampled_from(AROUND_MS))
    zone = draw(st.sampled_from(ZONES))
    near = st.integers(-180 * 60, 180 * 60).map(lambda seconds: around_ms + seconds * 1000)
    kind = draw(st.sampled_from(("cron", "rate", "at")))
    start_ms, end_ms = draw(st.none() | near), draw(st.none() | near)
    if kind == "at":
        shown = clock(zone, draw(near)).replace(tzinfo=None, fold=0)
        return Timing(f"at({shown.isoformat(timespec='seconds')})", zone, start_ms, end_ms), around_ms
    if kind == "rate":
        return Timing(f"rate({draw(st.integers(2, 50))} minutes)", "UTC", draw(near), end_ms), around_ms
    return Timing(draw(st.sampled_from(CRONS)), zone, start_ms, end_ms), around_ms


@settings(max_examples=300, deadline=None)
@given(timings(), st.integers(-4 * 3600, 4 * 3600))
def test_both_implementations_fire_at_the_same_times(found: tuple[Timing, int], seconds: int) -> None:
    timing, around_ms = found
    model = Fires.of_key(key_of(timing))
    after_ms = around_ms + seconds * 1000
    expected = [ms for ms in next_fire_times(timing, after_ms, 200) if ms <= after_ms + 2 * HOUR_MS]
    times = list(model.between(after_ms, after_ms + 2 * HOUR_MS))
    assert times[:200] == expected
    for at_ms in times[:5]:
        assert model.fires_at(at_ms)
        assert fired_within(timing, at_ms - 1, at_ms)
        assert not model.fires_at(at_ms + 1)
    assert model.fires_after(after_ms) == fires_again(timing, after_ms)


def test_a_rate_without_a_start_is_counted_from_any_moment() -> None:
    bounded = Fires.of_key("rate(2 minutes) UTC until 2026-11-23T12:10:00Z")
    end_ms = ms_of_iso("2026-11-23T12:10:00Z")
    assert not bounded.is_known
    assert bounded.fires_after(end_ms - 2 * MINUTE_MS)
    assert not bounded.fires_after(end_ms - 2 * MINUTE_MS + 1)
