"""Judges each fact about a stage: what is wrong, and what to do. docs/operate.md has more about each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sjm.doctor.account_facts import Alarm, Caller
from sjm.doctor.api_facts import Schedules
from sjm.doctor.findings import Finding, Some, State, Unknown, counted

if TYPE_CHECKING:
    from sjm.client import Execution, Schedule

_NAMED = 5
_CLOCK_WARNING = timedelta(seconds=60)
_CLOCK_WRONG = timedelta(minutes=5)  # AWS refuses signatures that are older or newer
_NEAR = 0.8
_USUAL_CONCURRENCY = 1000
# The sweep comes each minute, and waits for a grace of a minute.
_OVERDUE = timedelta(minutes=5)


def api(address: str | Unknown, stage_version: str | Unknown) -> Finding:
    """Whether the API has an address, and answers."""
    if isinstance(address, Unknown):
        return Finding(
            "API", "wrong", address.why, ["Pass --stage or --url, and check --region and --profile."]
        )
    if isinstance(stage_version, Unknown):
        return Finding("API", "wrong", f"{address} does not answer: {stage_version.why}")
    return Finding("API", "ok", f"{address} answers")


def signature(schedules: "Some[Schedule] | Unknown") -> Finding:
    """Whether the API takes the caller's signature."""
    if isinstance(schedules, Unknown):
        return Finding("signed calls", "not looked at", schedules.why)
    return Finding("signed calls", "ok", "the API takes your signature")


def clock(caller: Caller | Unknown) -> Finding:
    """Whether this computer's clock agrees with AWS's."""
    check = "clock of this computer"
    if isinstance(caller, Unknown):
        return Finding(check, "not looked at", caller.why)
    if caller.clock_ahead is None:
        return Finding(check, "not looked at", "AWS's answer has no date")
    off = abs(caller.clock_ahead)
    side = "ahead of" if caller.clock_ahead > timedelta() else "behind"
    detail = f"{off.total_seconds():.0f} s {side} AWS's"
    if off >= _CLOCK_WARNING:
        state: State = "wrong" if off >= _CLOCK_WRONG else "warning"
        return Finding(
            check, state, f"{detail}; AWS refuses signatures from 5 minutes on", ["Set the clock."]
        )
    return Finding(check, "ok", "agrees with AWS's")


def version(stage_version: str | Unknown, package_version: str) -> Finding:
    """Whether this package is of the stage's version."""
    if isinstance(stage_version, Unknown):
        return Finding("version", "not looked at", stage_version.why)
    if package_version == "unknown":
        return Finding("version", "not looked at", "this sjm runs from its source, so it has no version")
    if stage_version.split(".")[:2] != package_version.split(".")[:2]:
        return Finding(
            "version",
            "warning",
            f"the stage has {stage_version}, and this sjm is {package_version}",
            ["Install the sjm of the stage's version, or update the stage."],
        )
    return Finding("version", "ok", f"the stage has {stage_version}, as this sjm")


def rules(schedules: "Some[Schedule] | Unknown") -> Finding:
    """Whether each schedule has its rule."""
    check = "rules in step"
    if isinstance(schedules, Unknown):
        return Finding(check, "not looked at", schedules.why)
    bad = [each for each in schedules.found if each["rule"] != "in step"]
    of = f"{schedules.at_least()}{counted(len(schedules.found), 'schedule')}"
    if not bad:
        return Finding(check, "ok", of)
    jobs = sum(each["job_count"] for each in bad)
    named = _named([f"{each['schedule_key']} is {each['rule']}" for each in bad])
    return Finding(
        check,
        "wrong",
        f"{len(bad)} of {of}, with {counted(jobs, 'job')}, do not fire as they should: {named}",
        ["sjm schedules reconcile", "docs/operate.md#reconciled"],
    )


def rules_without_schedule(
    found: Some[Mapping[str, Any]] | Unknown, schedules: "Some[Schedule] | Unknown"
) -> Finding:
    """Whether a rule fires for no job."""
    check = "rules without jobs"
    for each in (found, schedules):
        if isinstance(each, Unknown):
            return Finding(check, "not looked at", each.why)
    assert isinstance(found, Some) and isinstance(schedules, Some)
    if not schedules.is_complete:
        return Finding(check, "not looked at", "the stage has too many schedules to compare them")
    used = {each["schedule"] for each in schedules.found if each["trigger_type"] == "rule"}
    orphans = [each for each in found.found if each.get("ScheduleExpression") not in used]
    if not orphans:
        return Finding(check, "ok", f"{found.at_least()}{counted(len(found.found), 'rule')}")
    named = _named([f"{each['Name']} ({each.get('ScheduleExpression')})" for each in orphans])
    return Finding(
        check,
        "warning",
        f"{counted(len(orphans), 'rule')} of a schedule that no job has: {named}",
        ["sjm schedules reconcile"],
    )


def never_firing(schedules: "Some[Schedule] | Unknown") -> Finding:
    """Whether jobs wait for a time that never comes."""
    check = "schedules that never fire"
    if isinstance(schedules, Unknown):
        return Finding(check, "not looked at", schedules.why)
    never = [each for each in schedules.found if each["next_fire_times"] == []]
    if not never:
        return Finding(check, "ok", "none")
    named = _named([f"{each['schedule_key']} with {counted(each['job_count'], 'job')}" for each in never])
    return Finding(
        check,
        "warning",
        f"{counted(len(never), 'schedule')}: {named}",
        ["The manager completes their jobs within two hours. If they stay: sjm schedules reconcile"],
    )


def room(schedules: Schedules | Unknown) -> Finding:
    """Whether there is room for more schedules that have a rule."""
    check = "room for schedules"
    if isinstance(schedules, Unknown):
        return Finding(check, "not looked at", schedules.why)
    of = f"{schedules.rules:,} of {schedules.limit:,}"
    if schedules.rules < schedules.limit * _NEAR:
        return Finding(check, "ok", of)
    return Finding(
        check,
        "wrong" if schedules.rules >= schedules.limit else "warning",
        of,
        ["Let jobs share schedules, or raise schedule_limit and the quota for rules: docs/deploy.md"],
    )


def dead_letters(queues: Mapping[str, int] | Unknown, prefix: str) -> Finding:
    """Whether messages wait in a dead-letter queue."""
    check = "dead letters"
    if isinstance(queues, Unknown):
        return Finding(check, "not looked at", queues.why)
    if not queues:
        return Finding(check, "warning", f"there is no dead-letter queue {prefix}-…", [_IS_IT_THE_STAGE])
    full = {name: count for name, count in queues.items() if count}
    if not full:
        return Finding(check, "ok", f"{counted(len(queues), 'queue is', 'queues are')} empty")
    own = {f"{prefix}-tick-dead-letters", f"{prefix}-upkeep-dead-letters"}
    advice = []
    if own & full.keys():
        stage = prefix.partition("-")[2]
        advice = [f"make redrive STAGE={stage} ARGS=--dry-run", f"make redrive STAGE={stage}"]
        advice += [f"docs/operate.md#{name.removeprefix(f'{prefix}-')}" for name in full if name in own]
    if full.keys() - own:
        advice.append("docs/operate.md#of-the-modules-beside-a-stage")
    named = _named([f"{name}: {counted(count, 'message')}" for name, count in full.items()])
    return Finding(check, "wrong", named, advice)


def alarms(found: Some[Alarm] | Unknown, prefix: str) -> Finding:
    """Whether an alarm is raised."""
    if isinstance(found, Unknown):
        return Finding("alarms", "not looked at", found.why)
    if not found.found:
        return Finding("alarms", "warning", f"there is no alarm {prefix}-…", [_IS_IT_THE_STAGE])
    raised = [alarm for alarm in found.found if alarm.is_raised]
    if not raised:
        return Finding("alarms", "ok", f"none of {len(found.found)} is raised")
    named = _named([f"{alarm.name} ({alarm.reason})" if alarm.reason else alarm.name for alarm in raised])
    advice = [f"docs/operate.md#{alarm.name.removeprefix(f'{prefix}-')}" for alarm in raised[:_NAMED]]
    return Finding("alarms", "wrong", f"raised: {named}", advice)


def subscribers(count: int | Unknown) -> Finding:
    """Whether anybody gets the alarms."""
    check = "subscribers of alarms"
    if isinstance(count, Unknown):
        return Finding(check, "not looked at", count.why)
    if count:
        return Finding(check, "ok", str(count))
    return Finding(check, "warning", "nobody gets the alarms", ["docs/deploy.md#subscribe-to-alarms"])


def concurrency(limit: int | Unknown) -> Finding:
    """Whether Lambda may run as many functions at once as usual."""
    check = "Lambda's concurrency"
    if isinstance(limit, Unknown):
        return Finding(check, "not looked at", limit.why)
    detail = f"the account may run {limit:,} functions at once in this region"
    if limit >= _USUAL_CONCURRENCY:
        return Finding(check, "ok", detail)
    return Finding(
        check,
        "warning",
        f"{detail}, and usual are {_USUAL_CONCURRENCY:,}",
        ["Ask AWS for more before many jobs share a minute: docs/scale.md"],
    )


def failures(found: "Some[Execution] | Unknown") -> Finding:
    """Whether executions failed in the last day, and whether the manager is at fault."""
    check = "failed executions"
    if isinstance(found, Unknown):
        return Finding(check, "not looked at", found.why)
    # A page of a filtered list may hold one that has changed since the index was read.
    failed = [each for each in found.found if each["status"] in ("fail", "timeout")]
    if not failed:
        return Finding(check, "ok", f"none in 24 hours{'' if found.is_complete else ', of those looked at'}")
    jobs = Counter(f"{each['service_name']}/{each['job_name']}" for each in failed)
    named = _named([f"{job} {count}" for job, count in jobs.most_common()])
    detail = (
        f"{found.at_least()}{counted(len(failed), 'execution')} of {counted(len(jobs), 'job')}"
        f" in 24 hours: {named}"
    )
    of_manager = [each for each in failed if each.get("fault") == "manager"]
    if not of_manager:
        return Finding(check, "warning", detail, ["sjm executions list --status fail --status timeout"])
    errors = _named([f"{name} {count}" for name, count in _errors(of_manager).most_common()])
    return Finding(
        check,
        "wrong",
        f"{detail}. The manager is at fault for {len(of_manager)}: {errors}",
        ["docs/operate.md#manager-failures"],
    )


def overdue(found: "Some[Execution] | Unknown", now: datetime) -> Finding:
    """Whether executions are overdue that the sweep should have ended: their locks are held too long."""
    check = "overdue executions"
    if isinstance(found, Unknown):
        return Finding(check, "not looked at", found.why)
    late = [
        f"{each['service_name']}/{each['job_name']} {each['execution_id']}"
        for each in found.found
        if _is_overdue(each, now)
    ]
    if not late:
        return Finding(check, "ok", "none")
    return Finding(
        check,
        "wrong",
        f"{counted(len(late), 'execution')} should have ended more than"
        f" {int(_OVERDUE.total_seconds() / 60)} minutes ago: {_named(late)}",
        [
            "Look at the errors of reap_executions: docs/operate.md#upkeep-dead-letters",
            "sjm executions cancel SERVICE/JOB EXECUTION",
        ],
    )


_IS_IT_THE_STAGE = "Check --stage, --name, --region and the account of your credentials."


def _is_overdue(execution: "Execution", now: datetime) -> bool:
    if execution["status"] != "running":
        return False
    deadlines = [
        datetime.fromisoformat(text)
        for text in (execution.get("lock_expires_at"), execution.get("next_attempt_at"))
        if text
    ]
    return bool(deadlines) and max(deadlines) + _OVERDUE < now


def _errors(executions: "Sequence[Execution]") -> Counter[str]:
    return Counter(
        str(error.get("name", error)) if isinstance(error := each.get("error"), dict) else str(error)
        for each in executions
    )


def _named(texts: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return f"{', '.join(texts[:_NAMED])}{more}"
