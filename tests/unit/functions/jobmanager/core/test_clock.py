import pytest

from jobmanager.core.clock import iso, ms_of_iso, stamp


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00Z", "0999-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
)
def test_a_time_survives_a_round_trip(text: str) -> None:
    assert iso(ms_of_iso(text)) == text


def test_a_fraction_of_the_last_possible_second_does_not_overflow() -> None:
    assert iso(ms_of_iso("9999-12-31T23:59:59.9999999Z")) == "9999-12-31T23:59:59Z"


def test_fractions_are_kept_in_milliseconds() -> None:
    assert ms_of_iso("2026-11-23T02:00:00.1239Z") == 1_795_399_200_123
    assert ms_of_iso("1969-12-31T23:59:59.999Z") == -1


def test_stamps_of_early_years_have_leading_zeros() -> None:
    assert stamp(ms_of_iso("0999-01-01T00:00:00Z")) == "09990101T000000Z"


@pytest.mark.parametrize("text", ["2026-13-01T00:00:00Z", "2026-11-23T02:00:00", "٢٠٢٦-11-23T02:00:00Z", ""])
def test_an_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        ms_of_iso(text)


def test_a_time_with_an_offset_is_converted() -> None:
    for text in ("2026-11-23T02:00:00+00:00", "2026-11-23T03:00:00+01:00", "2026-11-22T20:30:00-05:30"):
        assert iso(ms_of_iso(text)) == "2026-11-23T02:00:00Z"


@pytest.mark.parametrize(
    "text",
    [
        "9999-12-31T23:59:59-01:00",
        "0001-01-01T00:00:00+01:00",
        "2026-11-23T02:00:00+24:00",
        "2026-11-23T02:00:00+0100",
        "2026-11-23T02:00:00 01:00",
    ],
)
def test_an_offset_that_leads_nowhere_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        ms_of_iso(text)
