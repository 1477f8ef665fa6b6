"""Metrics: they follow CloudWatch's format, and their dimensions have few values."""

import json
from typing import Any, cast

import pytest

from jobmanager.executions.begin import begin
from jobmanager.executions.metrics import count_heartbeat, count_late, count_outcome, count_waiting
from jobmanager.executions.outcome import stored_result
from jobmanager.executions.record import FINAL_STATUSES, Execution, Result
from jobmanager.runtime.emf import Metric, emit
from jobmanager.runtime.function_metrics import Environment
from jobmanager.runtime.stage_metrics import count
from tests.unit.functions.examples import NOON_MS, due, lambda_context, save_job

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
MOST_DIMENSIONS = 30
UNITS = {"Count", "Milliseconds", "Percent"}


@pytest.fixture
def emitted(capsys: pytest.CaptureFixture[str]) -> Any:
    """Returns the metrics written since the last call, after checking them against CloudWatch's format."""

    def read() -> dict[str, tuple[float, list[list[str]]]]:
        found = {}
        for text in capsys.readouterr().out.splitlines():
            line = json.loads(text)
            if "_aws" not in line:
                continue
            assert isinstance(line["_aws"]["Timestamp"], int)
            for directive in line["_aws"]["CloudWatchMetrics"]:
                assert directive.keys() == {"Namespace", "Dimensions", "Metrics"}
                assert directive["Namespace"] == "ServerlessJobManager"
                for dimensions in directive["Dimensions"]:
                    assert 1 <= len(dimensions) <= MOST_DIMENSIONS
                    assert all(isinstance(line[name], str) and line[name] for name in dimensions)
                for metric in directive["Metrics"]:
                    assert metric["Unit"] in UNITS
                    (value,) = line[metric["Name"]]
                    found[metric["Name"]] = (value, directive["Dimensions"])
        return found

    return read


def ended(status: str, **fields: Any) -> Execution:
    record = {
        "service_name": "billing",
        "job_name": "nightly",
        "execution_id": "e",
        "status": status,
        "scheduled_time_ms": NOON_MS,
        "ttl_seconds": 60,
        "finished_at_ms": NOON_MS + 5_000,
        **({"reason": {"code": "lock_held", "detail": "d"}} if status == "skipped" else {}),
        **fields,
    }
    return cast(Execution, record)


def test_an_outcome_has_metrics_of_its_latency_and_duration(emitted: Any) -> None:
    count_outcome(ended("success", service_invoked_at_ms=NOON_MS + 1_500))
    of_stage = [["stage"]]
    assert emitted() == {
        "Succeeded": (1, of_stage),
        "InvocationLatency": (1500, of_stage),
        "InvocationLatencyPct": (2.5, of_stage),
        "Duration": (3500, of_stage),
    }


def test_an_execution_that_had_to_wait_tells_for_how_long_instead_of_its_latency(emitted: Any) -> None:
    """The manager was not slow: the lock was held, or all slots were."""
    waited = {"waiting_since_ms": NOON_MS + 100, "started_at_ms": NOON_MS + 60_100}
    count_outcome(ended("success", service_invoked_at_ms=NOON_MS + 1_500, **waited))
    assert emitted() == {
        "Succeeded": (1, [["stage"]]),
        "Waited": (60_000, [["stage"]]),
        "Duration": (3500, [["stage"]]),
    }


def test_an_execution_that_begins_to_wait_is_counted(emitted: Any) -> None:
    count_waiting(ended("waiting"))
    assert emitted() == {"Waiting": (1, [["stage"]])}


def test_an_execution_that_never_reached_its_service_has_no_latency(emitted: Any) -> None:
    count_outcome(ended("timeout"))
    assert emitted().keys() == {"TimedOut"}


@pytest.mark.parametrize(
    ("switch", "dimensions"),
    [
        ("METRICS_BY_STAGE", ["stage"]),
        ("METRICS_BY_SERVICE", ["stage", "service"]),
        ("METRICS_BY_JOB", ["stage", "service", "job"]),
    ],
)
def test_metrics_have_the_dimensions_that_the_stage_switches_on(
    emitted: Any, monkeypatch: pytest.MonkeyPatch, switch: str, dimensions: list[str]
) -> None:
    monkeypatch.setenv("METRICS_BY_STAGE", "false")
    monkeypatch.setenv(switch, "true")
    count_outcome(ended("cancelled"))
    count_heartbeat(ended("running"))
    assert emitted() == {"Cancelled": (1, [dimensions]), "Heartbeats": (1, [dimensions])}


def test_with_all_switches_off_only_what_an_alarm_watches_is_written(
    emitted: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("METRICS_BY_STAGE", "false")
    count_outcome(ended("success", service_invoked_at_ms=NOON_MS))
    count_outcome(ended("skipped"))
    count_heartbeat(ended("running"))
    assert capsys.readouterr().out == ""
    count_outcome(ended("fail", fault="manager"))
    count_late(ended("running"))
    assert emitted() == {"ManagerFailed": (1, [["stage"]]), "Late": (1, [["stage"]])}


def test_a_late_execution_counts_for_its_stage_once(emitted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    count_late(ended("running"))
    assert emitted() == {"Late": (1, [["stage"]])}
    monkeypatch.setenv("METRICS_BY_STAGE", "false")
    monkeypatch.setenv("METRICS_BY_SERVICE", "true")
    count_late(ended("running"))
    assert emitted() == {"Late": (1, [["stage"], ["stage", "service"]])}


def test_metrics_of_the_stages_own_work_have_no_service(emitted: Any) -> None:
    count("Reconciled", 3)
    assert emitted() == {"Reconciled": (3, [["stage"]])}


@pytest.mark.parametrize(
    ("result", "is_the_managers"),
    [
        ({"error": "KeyError", "cause": "'ttl_seconds'", "fault": "manager"}, True),
        ({"error": "Manager.NoOutcome", "fault": "manager"}, True),
        ({"error": "NotificationUndelivered", "cause": "HTTP 503"}, False),
        ({"error": "Manager.LooksLikeIt", "cause": "x"}, False),
        ({"error": "Runtime.ExitError", "cause": "x"}, False),
        ({"error": {"name": "Manager.LooksLikeIt", "fault": "manager"}, "cause": "x"}, False),
        ({}, False),
    ],
)
def test_failures_of_the_manager_are_recognized_by_the_fault_and_not_by_a_name(
    emitted: Any, result: dict[str, Any], is_the_managers: bool
) -> None:
    count_outcome(ended("fail", **stored_result(cast(Result, result))))
    assert ("ManagerFailed" in emitted()) == is_the_managers


def reason_of(emitted: Any, capsys: pytest.CaptureFixture[str], record: Execution) -> str:
    capsys.readouterr()
    count_outcome(record)
    (line,) = (json.loads(text) for text in capsys.readouterr().out.splitlines())
    assert line["SkippedBecause"] == line["Skipped"] == [1]
    reason: str = line["reason"]
    return reason


@pytest.mark.usefixtures("cloud")
def test_a_skip_is_counted_by_the_code_of_its_reason(
    emitted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def skipped(job_name: str, at_ms: int = NOON_MS) -> str:
        record = begin(due(job_name, at_ms=at_ms), at_ms)
        assert record["status"] == "skipped"
        return reason_of(emitted, capsys, record)

    save_job("disabled", enabled=False)
    save_job("moved", schedule="rate(1 hour)")
    save_job("exclusive", exclusive=True)
    begin(due("exclusive"), NOON_MS)
    assert skipped("never-was") == "job_deleted"
    assert skipped("disabled") == "job_disabled"
    assert skipped("moved") == "schedule_changed"
    assert skipped("exclusive", NOON_MS + 1000) == "lock_held"


def test_a_skip_after_its_notification_was_prepared_has_no_latency(emitted: Any) -> None:
    reason = {"code": "lock_lost", "detail": "the lock expired before the service could be notified"}
    count_outcome(ended("skipped", reason=reason, service_invoked_at_ms=NOON_MS))
    assert emitted().keys() == {"Skipped", "SkippedBecause"}


def test_every_final_status_is_counted(emitted: Any) -> None:
    for status in FINAL_STATUSES:
        count_outcome(ended(status))
    assert {"Succeeded", "Failed", "TimedOut", "Skipped", "Cancelled"} <= emitted().keys()


def test_an_empty_list_of_metrics_writes_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    emit([])
    assert capsys.readouterr().out == ""


def test_metrics_with_the_same_dimensions_share_a_directive(capsys: pytest.CaptureFixture[str]) -> None:
    of_stage, by_function = (("stage",),), (("stage", "function"),)
    emit(
        [
            Metric("A", "Count", 1, of_stage),
            Metric("B", "Count", 2, by_function),
            Metric("C", "Count", 3, of_stage),
        ],
        function="f",
    )
    directives = json.loads(capsys.readouterr().out)["_aws"]["CloudWatchMetrics"]
    assert [[metric["Name"] for metric in d["Metrics"]] for d in directives] == [["A", "C"], ["B"]]


class TestFunctions:
    @pytest.fixture
    def peak_mb(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Sets the peak memory of the process."""

        def set_peak(megabytes: float) -> None:
            usage = type("Usage", (), {"ru_maxrss": megabytes * 1024})
            monkeypatch.setattr("resource.getrusage", lambda who: usage)

        return set_peak

    @pytest.fixture
    def by_function(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Switches the functions' own metrics on; returns their dimensions."""
        monkeypatch.setenv("METRICS_BY_FUNCTION", "true")
        return ["stage", "function"]

    def test_only_the_first_invocation_counts_as_a_cold_start(
        self, emitted: Any, peak_mb: Any, by_function: list[str]
    ) -> None:
        peak_mb(64)
        environment = Environment()
        assert environment.is_cold
        environment.emit_metrics(lambda_context())
        assert emitted() == {"ColdStarts": (1, [by_function]), "MemoryUsed": (25.0, [by_function])}
        assert not environment.is_cold
        environment.emit_metrics(lambda_context())
        assert emitted() == {}

    @pytest.mark.usefixtures("by_function")
    def test_memory_is_reported_when_its_peak_rises(self, emitted: Any, peak_mb: Any) -> None:
        environment = Environment()
        seen = []
        for megabytes in (64, 65, 66, 128, 128, 250):
            peak_mb(megabytes)
            environment.emit_metrics(lambda_context())
            seen.append(emitted().get("MemoryUsed", (None,))[0])
        assert seen == [25.0, None, None, 50.0, None, 97.7]

    def test_without_its_own_metrics_a_function_writes_only_memory_that_raises_the_alarm(
        self, emitted: Any, peak_mb: Any
    ) -> None:
        environment = Environment()
        seen = []
        for megabytes in (64, 128, 226, 232):
            peak_mb(megabytes)
            environment.emit_metrics(lambda_context())
            seen.append(emitted())
        assert seen == [{}, {}, {}, {"MemoryUsed": (90.6, [["stage"]])}]

    @pytest.mark.usefixtures("by_function")
    def test_the_measured_memory_is_plausible(self, emitted: Any) -> None:
        Environment().emit_metrics(lambda_context())
        value, _ = emitted()["MemoryUsed"]
        assert 5 < value < 1000
