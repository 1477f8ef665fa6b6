import pytest

from jobmanager.schedules.expression import InvalidSchedule, canonical


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("rate(5 minutes)", "rate(5 minutes)"),
        ("  RATE( 5   minutes ) ", "rate(5 minutes)"),
        ("rate(60 minutes)", "rate(1 hour)"),
        ("rate(90 minutes)", "rate(90 minutes)"),
        ("rate(1440 minutes)", "rate(1 day)"),
        ("rate(48 hours)", "rate(2 days)"),
        ("rate(1 minute)", "rate(1 minute)"),
        ("cron(0 2 * * ? *)", "cron(0 2 * * ? *)"),
        ("cron( 00  02 * *   ? * )", "cron(0 2 * * ? *)"),
        ("cron(0/15 8-17 ? * mon-fri *)", "cron(0/15 8-17 ? * MON-FRI *)"),
        ("cron(*/5 * * * ? *)", "cron(*/5 * * * ? *)"),
        ("cron(0 10 L * ? *)", "cron(0 10 L * ? *)"),
        ("cron(0 10 15W * ? *)", "cron(0 10 15W * ? *)"),
        ("cron(0 10 ? * 6L *)", "cron(0 10 ? * 6L *)"),
        ("cron(0 10 ? * 3#2 *)", "cron(0 10 ? * 3#2 *)"),
        ("cron(0 8 ? * mon,WED *)", "cron(0 8 ? * MON,WED *)"),
        ("cron(0 8 1 jul,aug ? *)", "cron(0 8 1 JUL,AUG ? *)"),
        ("cron(0,30 8 1 JAN,JUL ? 2027-2030)", "cron(0,30 8 1 JAN,JUL ? 2027-2030)"),
        # The examples of https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-cron-expressions.html
        ("cron(0 10 * * ? *)", "cron(0 10 * * ? *)"),
        ("cron(15 12 * * ? *)", "cron(15 12 * * ? *)"),
        ("CRON(0 18 ? * Mon-Fri *)", "cron(0 18 ? * MON-FRI *)"),
        ("cron(0 8 1 * ? *)", "cron(0 8 1 * ? *)"),
        ("cron(0/15 * * * ? *)", "cron(0/15 * * * ? *)"),
        ("cron(0/10 * ? * MON-FRI *)", "cron(0/10 * ? * MON-FRI *)"),
        ("cron(0/5 8-17 ? * MON-FRI *)", "cron(0/5 8-17 ? * MON-FRI *)"),
        ("cron(0/30 20-2 ? * MON-FRI *)", "cron(0/30 20-2 ? * MON-FRI *)"),
        ("cron(15 10 ? * 6L 2019-2022)", "cron(15 10 ? * 6L 2019-2022)"),
        # More forms that AWS's wildcards allow.
        ("cron(1/10 * * JAN,FEB,MAR ? *)", "cron(1/10 * * JAN,FEB,MAR ? *)"),
        ("cron(0 0 3w * ? *)", "cron(0 0 3W * ? *)"),
        ("cron(0 0 lw * ? *)", "cron(0 0 LW * ? *)"),
        ("cron(0 0 ? * l *)", "cron(0 0 ? * L *)"),
        ("cron(0 0 ? * fril *)", "cron(0 0 ? * FRIL *)"),
        ("cron(0 0 ? * tue#2 *)", "cron(0 0 ? * TUE#2 *)"),
        ("cron(0 0 ? * FRI-MON *)", "cron(0 0 ? * FRI-MON *)"),
        ("cron(0 0 1 jan-jul,sep ? *)", "cron(0 0 1 JAN-JUL,SEP ? *)"),
        ("cron(0 0 1 1 ? 1970,2100/10,2199)", "cron(0 0 1 1 ? 1970,2100/10,2199)"),
    ],
)
def test_equal_schedules_have_the_same_canonical_form(expression: str, expected: str) -> None:
    assert canonical(expression) == expected
    assert canonical(canonical(expression)) == expected


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("every 5 minutes", "expected an EventBridge expression"),
        ("", "expected an EventBridge expression"),
        ("rate(0 minutes)", "above 0"),
        ("rate(1 minutes)", "rate(1 minute)"),
        ("rate(5 minute)", "rate(5 minutes)"),
        ("rate(5 weeks)", "minute(s), hour(s) or day(s)"),
        ("rate(1.5 hours)", "whole number"),
        ("rate(-5 minutes)", "whole number"),
        ("cron(0 2 * * *)", "expected 6 fields"),
        ("cron(0, 2, *, *, ?, *)", "no comma"),
        ("cron(0,2,*,*,?,*)", "no comma"),
        ("cron(0 2 1, 15 * ? *)", "no comma"),
        ("cron(0 2 * * * *)", "to be ?"),
        ("cron(0 2 ? * ? *)", "to be ?"),
        ("cron(60 2 * * ? *)", "minutes field: expected 0-59"),
        ("cron(0 24 * * ? *)", "hours field: expected 0-23"),
        ("cron(0 2 32 * ? *)", "day-of-month field"),
        ("cron(0 2 * 13 ? *)", "month field: expected 1-12 or JAN-DEC"),
        ("cron(0 2 ? * 8 *)", "day-of-week field: expected 1-7 or SUN-SAT"),
        ("cron(0 2 * * ? 1969)", "year field"),
        ("cron(*/0 * * * ? *)", "minutes field"),
        ("cron(a * * * ? *)", "minutes field"),
        ("cron(? * * * ? *)", "minutes field"),
        ("cron(0 0 ? * 3#1,6#3 *)", "stand alone"),
        ("cron(0 0 1W,15W * ? *)", "stand alone"),
        ("cron(0 0 L,1 * ? *)", "stand alone"),
        ("cron(0 0 1,LW * ? *)", "stand alone"),
        ("cron(0 0 1,L-3 * ? *)", "expected L alone"),
        ("cron(0 0 l-1 * ? *)", "expected L alone"),
        ("cron(0 0 L-3W * ? *)", "expected L alone"),
        ("cron(0 0 ? * L-2 *)", "expected L alone"),
        ("cron(0 0 ? * MON,6L *)", "stand alone"),
        ("cron(0 0 ? * L,MON *)", "stand alone"),
        ("cron(0 0 32W * ? *)", "day-of-month field"),
        ("cron(0 0 WL * ? *)", "day-of-month field"),
        ("cron(0 0 1-5W * ? *)", "day-of-month field"),
        ("cron(0 0 1#2 * ? *)", "day-of-month field"),
        ("cron(0 0 ? * 3#6 *)", "day-of-week field"),
        ("cron(0 0 ? * 3#0 *)", "day-of-week field"),
        ("cron(0 0 ? * 3W *)", "day-of-week field"),
        ("cron(0 0 ? * LW *)", "day-of-week field"),
        ("cron(0 0 ? * 0 *)", "day-of-week field"),
        ("cron(0 0 ? * MONDAY *)", "day-of-week field"),
        ("cron(0 0 ? L ? *)", "to be ?"),
        ("cron(0 0 1 L ? *)", "month field"),
        ("cron(0 L 1 * ? *)", "hours field"),
        ("cron(0 0 1 * ? 2030-2027)", "year field"),
        ("cron(0 0 1 * ? 2200)", "year field"),
        ("cron(0 0 1 * ? ?)", "year field"),
        ("cron(0 0 1-2-3 * ? *)", "day-of-month field"),
        ("cron(0 0 1//2 * ? *)", "day-of-month field"),
        ("cron(0 0 1, * ? *)", "day-of-month field"),
        ("cron(/5 * * * ? *)", "minutes field"),
        ("cron(5/* * * * ? *)", "minutes field"),
        ("cron(*-5 * * * ? *)", "minutes field"),
        ("cron(-5 * * * ? *)", "minutes field"),
        ("cron(\N{ARABIC-INDIC DIGIT FIVE} * * * ? *)", "ASCII"),
        (f"rate({'9' * 300} days)", "at most 256"),
    ],
)
def test_an_expression_that_eventbridge_would_refuse_is_refused_with_the_reason(
    expression: str, reason: str
) -> None:
    with pytest.raises(InvalidSchedule, match=r".") as refusal:
        canonical(expression)
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("at(2026-12-24T18:00:00)", "at(2026-12-24T18:00:00)"),
        (" AT( 2026-12-24t18:00:00 ) ", "at(2026-12-24T18:00:00)"),
        ("at(2028-02-29T00:00:59)", "at(2028-02-29T00:00:59)"),
        ("at(1970-01-01T00:00:00)", "at(1970-01-01T00:00:00)"),
        ("at(2199-12-31T23:59:59)", "at(2199-12-31T23:59:59)"),
        ("rate(60 minutes)", "rate(1 hour)"),
        ("cron(0 02 * * ? *)", "cron(0 2 * * ? *)"),
    ],
)
def test_a_time_at_which_to_fire_once_has_a_canonical_form(expression: str, expected: str) -> None:
    assert canonical(expression, allows_at=True) == expected
    assert canonical(expected, allows_at=True) == expected


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("at()", "expected a time such as at(2026-12-24T18:00:00)"),
        ("at(tomorrow)", "expected a time such as at(2026-12-24T18:00:00)"),
        ("at(2026-12-24)", "expected a time such as at(2026-12-24T18:00:00)"),
        ("at(2026-12-24T18:00)", "expected a time such as at(2026-12-24T18:00:00)"),
        ("at(2026-12-24 18:00:00)", "expected a time such as at(2026-12-24T18:00:00)"),
        ("at(20261224T180000)", "expected a time such as at(2026-12-24T18:00:00)"),
        ("at(2026-12-24T18:00:00.5)", "expected a time such as at(2026-12-24T18:00:00)"),
        ("at(2026-12-24T18:00:00Z)", "without an offset"),
        ("at(2026-12-24T18:00:00+01:00)", "without an offset"),
        ("at(2027-02-29T18:00:00)", "that exist"),
        ("at(2026-13-24T18:00:00)", "that exist"),
        ("at(2026-12-24T24:00:00)", "that exist"),
        ("at(2026-12-31T23:59:60)", "that exist"),
        ("at(0000-01-01T00:00:00)", "that exist"),
        ("at(1969-12-31T23:59:59)", "a year from 1970 to 2199"),
        ("at(2200-01-01T00:00:00)", "a year from 1970 to 2199"),
        ("at(2026-12-24T18:00:00\n)", "expected an EventBridge expression"),
        ("at(2026-12-24T\n18:00:00)", "expected an EventBridge expression"),
        ("every day", "cron(0 2 * * ? *) or at(2026-12-24T18:00:00)"),
        (f"at({'9' * 300})", "at most 256"),
    ],
)
def test_a_time_that_eventbridge_scheduler_would_refuse_is_refused_with_the_reason(
    expression: str, reason: str
) -> None:
    with pytest.raises(InvalidSchedule, match=r".") as refusal:
        canonical(expression, allows_at=True)
    assert reason in str(refusal.value)


def test_a_rule_cannot_fire_once() -> None:
    with pytest.raises(InvalidSchedule, match="is not a schedule: expected an EventBridge expression"):
        canonical("at(2026-12-24T18:00:00)")
