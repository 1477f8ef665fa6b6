"""Validates the body of a PUT, and turns it into the definition of a job."""

import json
import re
from typing import Any, cast

from jobmanager.api.fields import size_error
from jobmanager.api.schema import schema_errors
from jobmanager.core.errors import BadRequest, FieldError, counted
from jobmanager.core.mappings import picked
from jobmanager.core.names import NAME_EXPECTED, is_name, limit_name_errors, name_errors
from jobmanager.core.settings import is_on, setting
from jobmanager.jobs.after import after_errors, canonical_after, own_name_errors, start_errors
from jobmanager.jobs.definition import (
    DEFINITION_FIELDS,
    MAX_PAYLOAD_BYTES,
    MAX_SYNC_SECONDS,
    OVERLAPS,
    JobDefinition,
    is_chained,
    is_exclusive,
)
from jobmanager.jobs.timing import canonical_timing, schedule_key, timing_errors
from jobmanager.limits import store as limits
from jobmanager.schedules.zones import UTC
from jobmanager.targets.target import Resolver, system_resolver, target_error

# Standard topics only: a message to a FIFO topic needs a message group, which a job does not have.
_TOPIC_ARN = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}")

_DEFAULTS: dict[str, Any] = {
    "payload": "",
    "async": True,
    "enabled": True,
    "exclusive": False,
    "ttl_seconds": 300,
    "max_duration_seconds": 86_400,
    "catch_up": "none",
}
_CATCH_UP_WINDOW_SECONDS = 86_400
_RETRY_DEFAULTS: dict[str, Any] = {"interval_seconds": 60, "backoff_rate": 2, "on": ["fail"]}
_MAX_TAGS_BYTES = 80 * 1024
_SYNC_DEFAULTS = {"ttl_seconds": MAX_SYNC_SECONDS}


def validate(change: dict[str, Any]) -> dict[str, Any]:
    """Returns the change with its ``job`` in canonical form, ``schedule_key`` and ``test_target``.

    ``schedule_key`` is the key of the job's schedule, if it has one. ``test_target`` is whether to test its
    target: the stage's own topic needs no test. Raises BadRequest, also if the job names a limit that does
    not exist.
    """
    errors = name_errors(change["service_name"], change["job_name"]) + job_errors(change["job"])
    errors += _missing_limit_errors(change["service_name"], change["job"])
    errors += own_name_errors(change["job"], change["job_name"])
    if errors:
        raise BadRequest(counted(len(errors), "field", "not as expected"), errors=errors)
    own_topic = setting("NOTIFICATIONS_TOPIC_ARN")
    job = definition({"workflow_type": setting("DEFAULT_WORKFLOW_TYPE"), **change["job"]}, own_topic)
    wants_test = change["job"].get("test_invocation", True)
    return {
        **change,
        "job": job,
        **({} if is_chained(job) else {"schedule_key": schedule_key(job)}),
        "test_target": wants_test and job["invocation_target"] != own_topic,
    }


def job_errors(body: Any, resolve: Resolver = system_resolver) -> list[FieldError]:
    """Returns all errors in the body of a PUT.

    It resolves the host of a webhook's target, which may take seconds.
    """
    errors = schema_errors("job", body)
    if not isinstance(body, dict):
        return errors
    wrong = {error["pointer"] for error in errors}
    valid = {name: value for name, value in body.items() if f"/{name}" not in wrong}
    is_after_wrong = any(f"{pointer}/".startswith("/after/") for pointer in wrong)
    errors += start_errors(body) + timing_errors(valid) + ([] if is_after_wrong else after_errors(valid))
    errors += _target_errors(valid, wrong, resolve) + _limit_errors(valid)
    return errors + (_sync_errors(valid) if valid.get("async") is False else [])


def _missing_limit_errors(service_name: str, body: Any) -> list[FieldError]:
    limit_name = body.get("limit") if isinstance(body, dict) else None
    if not isinstance(limit_name, str) or limit_name_errors(service_name, limit_name):
        return []
    if limits.find(service_name, limit_name) is not None:
        return []
    detail = (
        f"{service_name} has no limit of this name: PUT /services/{service_name}/limits/{limit_name} first"
    )
    return [FieldError(pointer="/limit", detail=detail)]


def definition(body: dict[str, Any], notifications_topic_arn: str) -> JobDefinition:
    """Builds the definition of a job from a body without errors."""
    described = _defaults(body) | body
    described |= {"after": canonical_after(body)} if is_chained(body) else canonical_timing(body)
    if described.get("time_zone") == UTC:
        del described["time_zone"]
    if is_chained(body):
        del described["catch_up"]
    if described.get("catch_up") == "all":
        described.setdefault("catch_up_window_seconds", _CATCH_UP_WINDOW_SECONDS)
    if "overlap" in body:
        described["exclusive"] = is_exclusive(body["overlap"])
    if described.get("overlap") in ("allow", "skip"):
        del described["overlap"]
    if described.get("spread_seconds") == 0:
        del described["spread_seconds"]
    if "retry" in body:
        described["retry"] = _RETRY_DEFAULTS | body["retry"]
    if body["invocation_type"] == "sns":
        described.setdefault("invocation_target", notifications_topic_arn)
    return cast(JobDefinition, picked(described, DEFINITION_FIELDS))


def _defaults(body: dict[str, Any]) -> dict[str, Any]:
    return _DEFAULTS | (_SYNC_DEFAULTS if body.get("async") is False else {})


def _target_errors(body: dict[str, Any], wrong: set[str], resolve: Resolver) -> list[FieldError]:
    kind, target = body.get("invocation_type"), body.get("invocation_target")
    detail = None
    if kind == "http" and target is None and "/invocation_target" not in wrong:
        detail = "this field is required if invocation_type is http"
    elif kind == "http" and target is not None:
        detail = target_error(target, resolve)
    elif kind == "sns" and target is not None and not _TOPIC_ARN.fullmatch(target):
        detail = (
            "expected the ARN of a standard SNS topic, such as arn:aws:sns:us-east-1:111122223333:billing"
        )
    elif kind == "sns" and target is not None:
        detail = _region_error(target)
    return [FieldError(pointer="/invocation_target", detail=detail)] if detail else []


def _region_error(topic_arn: str) -> str | None:
    """SNS accepts a message only in the region of its topic; elsewhere it answers ``Invalid parameter``."""
    region, of_topic = (arn.split(":")[3] for arn in (setting("NOTIFICATIONS_TOPIC_ARN"), topic_arn))
    if region == of_topic:
        return None
    return f"expected a topic in {region}, the region of this stage, not in {of_topic}"


def _limit_errors(body: dict[str, Any]) -> list[FieldError]:
    errors = size_error("/payload", body.get("payload", ""), MAX_PAYLOAD_BYTES)
    errors += _tags_errors(body.get("tags", {})) + _tick_errors(body)
    ttl = body.get("ttl_seconds", _defaults(body)["ttl_seconds"])
    if body.get("heartbeat_interval_seconds", 0) > ttl:
        detail = f"expected at most ttl_seconds, {ttl}"
        errors.append(FieldError(pointer="/heartbeat_interval_seconds", detail=detail))
    if body.get("max_duration_seconds", _DEFAULTS["max_duration_seconds"]) <= ttl:
        detail = f"expected more than ttl_seconds, {ttl}"
        errors.append(FieldError(pointer="/max_duration_seconds", detail=detail))
    elif "retry" in body:
        errors += _retry_errors(body, ttl)
    return errors + _warning_errors(body)


def _warning_errors(body: dict[str, Any]) -> list[FieldError]:
    longest = body.get("max_duration_seconds", _DEFAULTS["max_duration_seconds"])
    if body.get("warn_after_seconds", 0) < longest:
        return []
    detail = f"expected less than max_duration_seconds, {longest}: then the execution ends"
    return [FieldError(pointer="/warn_after_seconds", detail=detail)]


def _tick_errors(body: dict[str, Any]) -> list[FieldError]:
    """Returns the errors in the fields that say how a job goes by its ticks."""
    errors = _overlap_errors(body)
    if not is_name(body.get("limit", "-")):
        errors.append(FieldError(pointer="/limit", detail=NAME_EXPECTED))
    if is_chained(body):
        return errors  # it has none of the other fields
    if body.get("spread_seconds", 0) > 0 and not is_on("SPREAD"):
        detail = "expected 0: this stage cannot spread jobs, because its Terraform variable spread is false"
        errors.append(FieldError(pointer="/spread_seconds", detail=detail))
    if "catch_up_window_seconds" in body and body.get("catch_up", _DEFAULTS["catch_up"]) != "all":
        detail = "expected no such field unless catch_up is all"
        errors.append(FieldError(pointer="/catch_up_window_seconds", detail=detail))
    return errors


def _overlap_errors(body: dict[str, Any]) -> list[FieldError]:
    """``exclusive`` is an older name, so beside ``overlap`` it has to say the same."""
    if "overlap" not in body or "exclusive" not in body or body["exclusive"] == is_exclusive(body["overlap"]):
        return []
    kinds = [kind for kind in OVERLAPS if is_exclusive(kind) == body["exclusive"]]
    given = json.dumps(body["exclusive"])
    detail = f"expected {' or '.join(kinds)} if exclusive is {given}, or no exclusive: overlap replaces it"
    return [FieldError(pointer="/overlap", detail=detail)]


def _tags_errors(tags: dict[str, str]) -> list[FieldError]:
    """JSON Schema counts characters, and a control character takes six bytes in JSON."""
    size = len(json.dumps(tags, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if size <= _MAX_TAGS_BYTES:
        return []
    detail = f"expected at most {_MAX_TAGS_BYTES} bytes as JSON, not {size}"
    return [FieldError(pointer="/tags", detail=detail)]


def _retry_errors(body: dict[str, Any], ttl: int) -> list[FieldError]:
    """An attempt starts only if a full ``ttl_seconds`` remains, so the wait before the second is limited."""
    longest = body.get("max_duration_seconds", _DEFAULTS["max_duration_seconds"]) - ttl - 1
    if body["retry"].get("interval_seconds", _RETRY_DEFAULTS["interval_seconds"]) <= longest:
        return []
    detail = f"expected at most {longest}, so that a second attempt fits into max_duration_seconds"
    return [FieldError(pointer="/retry/interval_seconds", detail=detail)]


def _sync_errors(body: dict[str, Any]) -> list[FieldError]:
    """Returns the errors in fields that a sync job cannot have."""
    errors = []
    if body.get("invocation_type") == "sns":
        errors.append(FieldError(pointer="/async", detail="expected true if invocation_type is sns"))
    if body.get("ttl_seconds", 0) > MAX_SYNC_SECONDS:
        detail = f"expected at most {MAX_SYNC_SECONDS} if async is false"
        errors.append(FieldError(pointer="/ttl_seconds", detail=detail))
    if "heartbeat_interval_seconds" in body:
        detail = "expected no such field if async is false: a sync job sends no heartbeats"
        errors.append(FieldError(pointer="/heartbeat_interval_seconds", detail=detail))
    return errors
