"""``sjm apply``: the review, the question, and what is sent."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sjm.cli.conftest import Sjm
from tests.unit.sjm.review.test_fields import JOB
from tests.unit.sjm.small_stage import SmallStage
from tests.unit.sjm.stand_in import serving


@pytest.fixture
def server() -> Iterator[SmallStage]:
    """A manager that keeps jobs."""
    with serving(SmallStage()) as stage:
        yield stage


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "jobs.yaml"


class Terminal(io.StringIO):
    """A user who types these lines."""

    def isatty(self) -> bool:
        return True


def write(file: Path, **jobs: dict[str, Any]) -> str:
    """A file of jobs of the service billing."""
    file.write_text(json.dumps({"jobs": {f"billing/{name}": {**JOB, **job} for name, job in jobs.items()}}))
    return str(file)


def changes(server: SmallStage) -> list[tuple[str, str]]:
    return server.requests("PUT", "DELETE")


def test_a_file_is_applied_and_again_changes_nothing(server: SmallStage, sjm: Sjm, file: Path) -> None:
    server.put("billing/old", JOB)
    name = write(file, old={"schedule": "rate(60 minutes)"}, new={"exclusive": True, "payload": {"a": 1}})

    done = sjm("apply", "--yes", "-f", name)
    assert (done.code, done.err) == (0, "")
    assert '    schedule: "cron(0 2 * * ? *)" → "rate(1 hour)"\n' in done.out
    assert "Jobs: 1 to create, 1 to change." in done.out
    assert done.out.endswith("billing/old: changed\nbilling/new: created\n")
    assert server.jobs["billing/new"]["payload"] == '{"a":1}'
    conditions = [
        (each.path[-3:], each.headers.get("if-match"), each.headers.get("if-none-match"))
        for each in server.received
        if each.method == "PUT"
    ]
    assert sorted(conditions, key=str) == [("new", None, "*"), ("old", '"1"', None)]

    server.received.clear()
    again = sjm("jobs", "apply", "--yes", "-f", name)
    assert (again.code, again.out) == (0, "Jobs: 2 as wanted.\n")
    assert changes(server) == []


def test_a_job_in_a_time_zone_is_applied_and_again_changes_nothing(
    server: SmallStage, sjm: Sjm, file: Path
) -> None:
    bounds = {"start_at": "2026-12-24T19:00:00+01:00", "end_at": "2027-12-24T00:00:00Z"}
    name = write(file, nightly={"time_zone": "europe/berlin", **bounds})

    done = sjm("apply", "--yes", "-f", name)
    assert (done.code, done.err) == (0, "")
    assert "    fires (Europe/Berlin): Fri 2026-12-25 02:00, " in done.out
    saved = server.jobs["billing/nightly"]
    assert (saved["time_zone"], saved["start_at"]) == ("Europe/Berlin", "2026-12-24T18:00:00Z")
    assert sjm("apply", "--check", "-f", name).code == 0


def test_a_wrong_time_zone_is_named_with_its_line(server: SmallStage, sjm: Sjm, file: Path) -> None:
    file.write_text(
        "jobs:\n  billing/nightly:\n    schedule: cron(0 2 * * ? *)\n    invocation_type: sns\n"
        "    time_zone: Europe/Berlinn\n"
    )
    done = sjm("apply", "--yes", "-f", str(file))

    assert done.code != 0
    assert f"{file}:5: " in done.err
    assert "the nearest: Europe/Berlin" in done.err
    assert changes(server) == []


def test_a_check_changes_nothing_and_its_exit_code_says_whether_anything_would(
    server: SmallStage, sjm: Sjm, file: Path
) -> None:
    server.put("billing/old", JOB)

    assert sjm("apply", "--check", "-f", write(file, old={})).code == 0
    assert sjm("apply", "--dry-run", "-f", write(file, old={"exclusive": True})).code == 1
    assert changes(server) == []


def test_it_asks_before_it_changes_and_before_it_deletes(
    server: SmallStage, sjm: Sjm, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put("billing/old", JOB)
    name = write(file, new={})
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    done = sjm("apply", "-f", name)
    assert (done.code, changes(server)) == (0, [])
    assert "Create or change 1 jobs? [y/N]" in done.err and "Not done." in done.err

    monkeypatch.setattr("sys.stdin", Terminal("y\nn\n"))
    done = sjm("apply", "--prune", "-f", name)
    assert "- billing/old is deleted" in done.out
    assert "Delete 1 jobs, which the file does not have? [y/N]" in done.err
    assert set(server.jobs) == {"billing/old", "billing/new"}

    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert sjm("apply", "--prune", "-f", name).out.endswith("billing/old: deleted\n")
    assert set(server.jobs) == {"billing/new"}


def write_chain(file: Path, **parents: list[str]) -> str:
    """A file of jobs of billing, each of which runs after others, or by a schedule if there are none."""
    schedule = JOB["schedule"]
    jobs = {
        f"billing/{name}": {
            **{field: value for field, value in JOB.items() if field != "schedule"},
            **({"after": [{"job": each} for each in after]} if after else {"schedule": schedule}),
        }
        for name, after in parents.items()
    }
    file.write_text(json.dumps({"jobs": jobs}))
    return str(file)


DIAMOND = {
    "report": ["invoices", "payments"],
    "payments": ["nightly"],
    "invoices": ["nightly"],
    "nightly": [],
}


def test_parents_are_put_before_the_jobs_after_them_and_deleted_after_them(
    server: SmallStage, sjm: Sjm, file: Path
) -> None:
    """The stage refuses a job whose parent it does not have, and notes the orphans of a deletion."""
    done = sjm("apply", "--yes", "-f", write_chain(file, **DIAMOND))
    assert (done.code, done.err) == (0, "")
    assert len(changes(server)) == 4
    assert [each["job"] for each in server.jobs["billing/report"]["after"]] == ["invoices", "payments"]
    assert sjm("apply", "--check", "-f", str(file)).code == 0

    server.received.clear()
    done = sjm("apply", "--yes", "--prune", "-f", write(file, other={}))
    assert (done.code, done.err) == (0, "")
    deleted = [path.rpartition("/")[2] for method, path in changes(server) if method == "DELETE"]
    assert (deleted[0], set(deleted[1:3]), deleted[3]) == ("report", {"invoices", "payments"}, "nightly")
    assert server.orphaned == []


def test_a_job_leaves_its_parent_before_that_is_deleted(server: SmallStage, sjm: Sjm, file: Path) -> None:
    assert sjm("apply", "--yes", "-f", write_chain(file, b=["a"], a=[])).code == 0
    done = sjm("apply", "--yes", "--prune", "-f", write_chain(file, b=[]))
    assert (done.code, done.err) == (0, "")
    assert set(server.jobs) == {"billing/b"}
    assert server.orphaned == []


def test_of_a_chain_whose_first_job_fails_each_other_is_tried_and_told(
    server: SmallStage, sjm: Sjm, file: Path
) -> None:
    name = write_chain(file, c=["b"], b=["a"], a=[], other=[])
    server.refused = {"billing/a"}
    done = sjm("apply", "--yes", "-f", name)
    assert done.code != 0
    assert "There is no job billing/a." in done.out + done.err
    assert set(server.jobs) == {"billing/other"}
    assert "3 of 4 changes failed: billing/a, billing/b, billing/c." in done.err


def test_a_circle_is_left_to_the_api_which_shows_it(server: SmallStage, sjm: Sjm, file: Path) -> None:
    done = sjm("apply", "--yes", "-f", write_chain(file, a=["b"], b=["a"], other=[]))
    assert done.code != 0
    assert "2 of 3 changes failed" in done.err
    assert set(server.jobs) == {"billing/other"}


@pytest.mark.parametrize("arguments", [(), ("-o", "json")])
def test_without_anybody_to_ask_it_changes_nothing(
    server: SmallStage, sjm: Sjm, file: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    done = sjm("apply", "-f", write(file, new={}), *arguments)

    assert done.code == 2
    assert "Nobody can answer questions here. Pass --yes, or --check to change nothing." in done.err
    assert server.received == []


def test_a_prune_leaves_other_services_and_jobs_that_are_code_elsewhere(
    server: SmallStage, sjm: Sjm, file: Path
) -> None:
    for key in ("billing/old", "payroll/other"):
        server.put(key, JOB)
    server.put("billing/code", JOB, managed_by="terraform/environments/dev/jobs.tf")
    done = sjm("apply", "--yes", "--prune", "-f", write(file, new={}))

    assert done.code == 1
    assert set(server.jobs) == {"billing/new", "billing/code", "payroll/other"}
    assert (
        "billing/code: not deleted: it is defined as code in terraform/environments/dev/jobs.tf: delete it"
        " there\n" in done.out
    )
    assert done.err == "Error: 1 of 3 changes failed: billing/code.\n"


def test_wrong_files_change_nothing_and_name_every_mistake(
    server: SmallStage, sjm: Sjm, file: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("jobs: {a/b: {schedul: x}}")
    name = write(file, new={"ttl_seconds": "5 minutes"})
    done = sjm("apply", "--yes", "-f", name, "-f", str(other), "-f", str(tmp_path / "none.yaml"))

    assert (done.code, server.received) == (2, [])
    assert "Error: The file is not valid, so nothing was changed.\n" in done.err
    assert '/ttl_seconds: expected a whole number from 10 to 43200, not "5 minutes"' in done.err
    assert f"{other}:1: a/b: /schedul: unknown field" in done.err
    assert f"{tmp_path / 'none.yaml'}: No such file or directory" in done.err


def test_a_job_in_two_files_is_refused(sjm: Sjm, file: Path, tmp_path: Path) -> None:
    name, other = write(file, new={}), write(tmp_path / "other.yaml", new={})

    assert (
        f"{other}:1: billing/new is there twice, first in {name}:1"
        in sjm("apply", "--yes", "-f", name, "-f", other).err
    )


def test_a_wrong_schedule_is_found_before_anything_is_put(server: SmallStage, sjm: Sjm, file: Path) -> None:
    file.write_text(
        "jobs:\n"
        "  billing/good: {schedule: rate(1 hour), invocation_type: sns}\n"
        "  billing/bad:\n    invocation_type: sns\n    schedule: rate(1 hours)\n"
    )
    done = sjm("apply", "--yes", "-f", str(file))

    assert (done.code, changes(server)) == (2, [])
    assert f"{file}:5: billing/bad: /schedule: rate(1 hours): expected rate(1 hour)" in done.err


def test_one_that_fails_does_not_stop_the_others(server: SmallStage, sjm: Sjm, file: Path) -> None:
    for name in ("first", "code", "last"):
        server.put(f"billing/{name}", JOB)
    server.jobs["billing/code"]["managed_by"] = "the platform's repository"
    change = {"exclusive": True}
    done = sjm("apply", "--yes", "-f", write(file, first=change, code=change, last=change))

    assert done.code == 1
    assert (
        "    cannot be changed here: it is defined as code in the platform's repository: change it there\n"
        in done.out
    )
    assert done.out.endswith(
        "billing/first: changed\n"
        "billing/code: not changed: it is defined as code in the platform's repository: change it there\n"
        "billing/last: changed\n"
    )
    assert done.err == "Error: 1 of 3 changes failed: billing/code.\n"
    assert changes(server) == [("PUT", f"/services/billing/jobs/{name}") for name in ("first", "last")] or (
        changes(server) == [("PUT", f"/services/billing/jobs/{name}") for name in ("last", "first")]
    )


class ChangedMeanwhile(SmallStage):
    """Somebody else changes a job right after it was reviewed."""

    def answer(self, received: Any) -> Any:
        if received.method == "PUT":
            self.jobs["billing/old"]["version"] += 1
            self.jobs["billing/new"] = {**self.jobs["billing/old"], "job_name": "new"}
        return super().answer(received)


def test_a_change_by_somebody_else_is_not_overwritten(
    sjm: Sjm, file: Path, server: SmallStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(ChangedMeanwhile()) as busy:
        busy.put("billing/old", JOB)
        monkeypatch.setenv("SJM_URL", busy.url)
        done = sjm("apply", "--yes", "-f", write(file, old={"exclusive": True}, new={}))

        assert done.code == 1
        assert (
            "billing/old: not changed: it was changed since its review: run the command again\n" in done.out
        )
        assert (
            "billing/new: not created: it was created since its review: run the command again\n" in done.out
        )
        assert busy.jobs["billing/old"]["exclusive"] is False


def test_programs_get_the_reviews_and_results_as_json(server: SmallStage, sjm: Sjm, file: Path) -> None:
    server.put("billing/old", JOB)
    server.others = {"cron(0 2 * * ? *)": 7}
    name = write(file, old={}, new={"schedule": "cron(0 2 ? * MON-FRI *)"})

    checked = json.loads(sjm("apply", "--check", "-o", "json", "-f", name).out)
    assert checked[0] == {"job": "billing/old", "action": "none"}
    assert checked[1]["action"] == "create" and "result" not in checked[1]
    assert checked[1]["neighbours"]["jobs"] == 8

    done = sjm("apply", "--yes", "-o", "jsonl", "-f", name)
    applied = [json.loads(line) for line in done.out.splitlines()]
    assert [each.get("result") for each in applied] == [None, "created"]


def test_without_rights_on_schedules_it_says_what_is_not_known(
    server: SmallStage, sjm: Sjm, file: Path
) -> None:
    server.forbidden = {"/schedules", "/schedules/preview"}
    done = sjm("apply", "--yes", "-f", write(file, new={}))

    assert done.code == 0
    assert "Not known: fire times: they need execute-api:Invoke on GET /schedules/preview\n" in done.err
    assert (
        "Not known: other jobs in the same minute: they need execute-api:Invoke on GET /schedules\n"
        in done.err
    )
    assert "fires (UTC)" not in done.out


def test_requests_are_bounded_by_the_schedules_in_the_file(server: SmallStage, sjm: Sjm, file: Path) -> None:
    sjm("apply", "--yes", "-f", write(file, **{f"job{number}": {} for number in range(30)}))

    asked = [path for _, path in server.requests("GET")]
    assert asked.count("/schedules/preview") == 1
    assert asked.count("/schedules") == 1


def test_a_stage_whose_default_is_express_changes_no_job_of_the_file(
    server: SmallStage, sjm: Sjm, file: Path
) -> None:
    server.default_workflow_type = "express"
    name = write(file, new={})
    sjm("apply", "--yes", "-f", name)

    assert server.jobs["billing/new"]["workflow_type"] == "express"
    assert sjm("apply", "--check", "-f", name).code == 0
