"""``sjm limits``: what it shows, and that a change keeps what it does not name."""

import json
from typing import Any

from sjm.cli.exits import ExitCode
from tests.unit.sjm.cli.conftest import Sjm
from tests.unit.sjm.stand_in import Reply, StandIn, example_answer

NOT_FOUND = {"type": "/problems/not-found", "title": "Not found", "status": 404, "detail": "There is none."}


def limit(**fields: Any) -> dict[str, Any]:
    """The example of the document with other fields; None removes one."""
    changed = {**example_answer("get_limit"), **fields}
    return {name: value for name, value in changed.items() if value is not None}


def test_a_limit_that_is_new_is_only_created(sjm: Sjm, server: StandIn) -> None:
    server.replies += [Reply(404, NOT_FOUND), Reply(201, limit(version=1))]
    done = sjm("limits", "put", "billing/db-main", "--slots", "3", "--description", "connections")

    assert (done.code, done.out) == (0, "")
    assert done.err == "billing/db-main is created, and is at version 1.\n"
    assert server.received[1].body == {"slots": 3, "description": "connections"}
    assert server.received[1].headers["if-none-match"] == "*"


def test_a_change_keeps_the_fields_that_it_does_not_name(sjm: Sjm, server: StandIn) -> None:
    server.replies += [Reply(body=limit(version=4)), Reply(body=limit(version=5))]
    done = sjm("limits", "put", "billing/db-main", "--slots", "5", "--unset", "description", "-o", "json")

    assert server.received[1].body == {"slots": 5, "per_second": 10}
    assert server.received[1].headers["if-match"] == '"4"'
    assert json.loads(done.out)["version"] == 5
    assert done.err == "billing/db-main is changed, and is at version 5.\n"


def test_a_limit_of_starts_a_second_shows_no_slots(sjm: Sjm, server: StandIn) -> None:
    server.replies.append(
        Reply(body=limit(slots=None, description=None, holders=[], held=0, waiting=0, next_start_at=None))
    )
    done = sjm("limits", "show", "billing/db-main")

    assert [line.split()[0] for line in done.out.splitlines()] == ["name", "a", "version"]
    assert "a second  10\n" in done.out


def test_one_execution_waits(sjm: Sjm, server: StandIn) -> None:
    server.replies.append(Reply(body=limit(waiting=1)))

    assert "3 of 3 are held, 1 execution waits\n" in sjm("limits", "show", "billing/db-main").out


def test_a_limit_is_shown_as_json(sjm: Sjm) -> None:
    assert json.loads(sjm("limits", "show", "billing/db-main", "-o", "jsonl").out) == limit()


def test_a_service_without_limits_says_so(sjm: Sjm, server: StandIn) -> None:
    server.replies.append(Reply(body={"results": [], "paging": {}}))

    assert sjm("limits", "list", "billing").err == "billing has no limits.\n"


def test_a_deletion_asks_and_says_who_would_start(sjm: Sjm, server: StandIn) -> None:
    done = sjm("limits", "delete", "billing/db-main")

    assert done.code == ExitCode.USAGE
    assert "Delete the limit billing/db-main? 2 executions that wait for it start then." in done.err
    assert [each.method for each in server.received] == ["GET"]
    sjm("limits", "delete", "billing/db-main", "--yes")
    assert server.received[-1].headers["if-match"] == '"2"'


def test_a_limit_is_named_with_its_service(sjm: Sjm) -> None:
    for name in ("db-main", "billing/", "billing/a/b", "billing/.."):
        done = sjm("limits", "show", name)
        assert (done.code, "Expected SERVICE/LIMIT" in done.err) == (ExitCode.USAGE, True)


def test_a_job_names_its_limit(sjm: Sjm, server: StandIn) -> None:
    done = sjm("jobs", "set", "billing/nightly", "--limit", "db-main")

    assert done.code == 0, done.err
    put = next(each for each in server.received if each.method == "PUT")
    assert isinstance(put.body, dict)
    assert put.body["limit"] == "db-main"
