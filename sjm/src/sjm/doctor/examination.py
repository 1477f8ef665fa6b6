"""Asks the API and AWS about a stage, all at once, and judges the answers."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from sjm.client.errors import Forbidden, ManagerError, NotConfigured
from sjm.doctor import judgement
from sjm.doctor.account_facts import AccountFacts, Alarm
from sjm.doctor.api_facts import ApiFacts
from sjm.doctor.findings import Finding, Some, Unknown

if TYPE_CHECKING:
    from sjm.client import Manager

T = TypeVar("T")

_AT_ONCE = 6
_DENIED = ("AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation")
_ACTIONS: Mapping[str, str] = {
    "schedules": "execute-api:Invoke on GET /schedules",
    "failures": "execute-api:Invoke on GET /executions",
    "running": "execute-api:Invoke on GET /executions",
    "rules": "events:ListRules",
    "dead_letters": "sqs:ListQueues and sqs:GetQueueAttributes",
    "alarms": "cloudwatch:DescribeAlarms",
    "subscribers": "sns:ListSubscriptionsByTopic",
    "concurrency": "lambda:GetAccountSettings",
}


def examine(
    manager: "Manager", account: AccountFacts | Unknown, package_version: str, now: datetime | None = None
) -> list[Finding]:
    """Looks at everything. It sends some twenty requests to a small stage, and reads few pages of each list.

    ``account`` is Unknown if the stage's names in AWS are not known, and says why. Raises nothing: what
    cannot be looked at is a finding, too.
    """
    moment = now or datetime.now(UTC)
    api = ApiFacts(manager, moment)
    try:
        manager.url  # noqa: B018  # looks the address up
    except ManagerError as error:
        address: str | Unknown = Unknown(str(error))
    else:
        address = manager.url
    of_api: dict[str, Callable[[], Any]] = {
        "version": api.version,
        "schedules": api.schedules,
        "failures": api.failures,
        "running": api.running,
    }
    of_account: dict[str, Callable[[], Any]] = (
        {}
        if isinstance(account, Unknown)
        else {
            "caller": account.caller,
            "rules": account.rules,
            "dead_letters": account.dead_letters,
            "alarms": account.alarms,
            "subscribers": lambda: _subscribers(account),
            "concurrency": account.concurrency,
        }
    )
    facts = _asked(of_account | ({} if isinstance(address, Unknown) else of_api))
    for name in of_api:
        facts.setdefault(name, Unknown("the address of the API is not known"))
    if isinstance(account, Unknown):
        for name in (*_ACTIONS, "caller"):
            facts.setdefault(name, account)
    prefix = "" if isinstance(account, Unknown) else account.prefix
    return [
        judgement.api(address, facts["version"]),
        judgement.signature(facts["schedules"]),
        judgement.clock(facts["caller"]),
        judgement.version(facts["version"], package_version),
        judgement.rules(facts["schedules"]),
        judgement.rules_without_schedule(facts["rules"], facts["schedules"]),
        judgement.never_firing(facts["schedules"]),
        judgement.room(facts["schedules"]),
        judgement.dead_letters(facts["dead_letters"], prefix),
        judgement.alarms(facts["alarms"], prefix),
        judgement.subscribers(facts["subscribers"]),
        judgement.concurrency(facts["concurrency"]),
        judgement.failures(facts["failures"]),
        judgement.overdue(facts["running"], moment),
    ]


def _subscribers(account: AccountFacts) -> int | Unknown:
    alarms: Some[Alarm] = account.alarms()
    topics = [topic for alarm in alarms.found for topic in alarm.topics]
    return account.subscribers(topics[0]) if topics else Unknown("no alarm of the stage names a topic")


def _asked(questions: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """The answers to all questions; Unknown where there is none."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = {name: pool.submit(_answer, name, question) for name, question in questions.items()}
        return {name: answer.result() for name, answer in answers.items()}


def _answer(name: str, question: Callable[[], T]) -> T | Unknown:
    try:
        return question()
    except Forbidden as error:
        return Unknown(f"needs {_ACTIONS[name]}" if name in _ACTIONS else str(error))
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _DENIED and name in _ACTIONS:
            return Unknown(f"needs {_ACTIONS[name]}")
        return Unknown(str(error))
    except (ManagerError, BotoCoreError, NotConfigured) as error:
        return Unknown(str(error))
    except (KeyError, TypeError, ValueError) as error:
        return Unknown(f"the answer is not as expected: {type(error).__name__} {error}")
