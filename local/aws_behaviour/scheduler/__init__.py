"""EventBridge Scheduler: what it accepts, when it fires, and how it calls its targets."""

from collections.abc import Callable
from typing import Any

from ministack.services import scheduler

from local.aws_behaviour.iam import Call, resources_of
from local.aws_behaviour.scheduler.calls import Calls
from local.aws_behaviour.scheduler.firing import Firing
from local.aws_behaviour.scheduler.requests import group_named_in
from local.aws_behaviour.wrapping import around

SECONDS_BETWEEN_LOOKS = 1


def apply() -> None:
    """Corrects Scheduler."""
    firing, calls = Firing(), Calls()
    check_schedules_every_second()
    fire_in_time_zones(firing)
    check_calls(calls)
    use_resource_names_with_groups()
    forget_everything_on_a_reset(firing, calls)


def check_schedules_every_second() -> None:
    """AWS fires within the minute that a schedule names; ministack checks its schedules every ten seconds.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
    """
    scheduler._SCHEDULE_TICK_INTERVAL = SECONDS_BETWEEN_LOOKS


def fire_in_time_zones(firing: Firing) -> None:
    """AWS fires in the schedule's time zone, fills in keywords, checks the role, retries, keeps dead letters.

    Ministack evaluates everything in UTC, passes the input as it is, checks no role, and drops what fails. An
    ``at`` that fired once never fires again there, even if it is updated, or deleted and created again.

    See fire_times.py, deliveries.py and roles.py for AWS's pages.
    """

    @around(scheduler, "_tick_schedules")
    def tick_schedules(_original: Callable[[], None]) -> None:
        firing.look()


def check_calls(calls: Calls) -> None:
    """AWS checks names, expressions, zones, dates and roles, lists in pages, and knows client tokens.

    Ministack accepts almost everything, cuts a list off without a token, and ignores client tokens.

    See requests.py, pages.py and client_tokens.py for AWS's pages.
    """

    @around(scheduler, "handle_request")
    async def handle_request(original: Callable[..., Any], *arguments: Any) -> Any:
        return await calls.handle(original, *arguments)


def use_resource_names_with_groups() -> None:
    """AWS checks calls about a schedule against `schedule/<group>/<name>`; ministack always takes `default`.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridgescheduler.html
    """

    @resources_of("scheduler")
    def schedule(arn: str, call: Call) -> str:
        if ":schedule/default/" not in arn:
            return arn
        return arn.replace(
            ":schedule/default/", f":schedule/{group_named_in(call.method, call.body, call.query)}/", 1
        )


def forget_everything_on_a_reset(firing: Firing, calls: Calls) -> None:
    """A reset of the emulator, which AWS does not have, also ends retries and forgets client tokens."""

    @around(scheduler, "reset")
    def reset(original: Callable[[], None]) -> None:
        original()
        firing.reset()
        calls.reset()
