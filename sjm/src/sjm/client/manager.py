"""The API of a stage: one method for each of its operations."""

import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from sjm.client.connection import Connection
from sjm.client.messages import Request, json_object, json_page, path_of
from sjm.client.paging import Listing
from sjm.client.retries import Retries
from sjm.client.types import (
    Backfill,
    BulkAnswer,
    By,
    Callback,
    CallbackAnswer,
    CancelMany,
    CancelManyOfService,
    Chain,
    Execution,
    ExecutionSearch,
    Job,
    JobSearch,
    LimitDefinition,
    NewWebhookSecret,
    Page,
    Preview,
    Reconciliation,
    RerunMany,
    RerunManyOfService,
    SavedJob,
    SavedLimit,
    Schedule,
    SkipCode,
    Status,
    TargetTest,
    WebhookSecret,
)

if TYPE_CHECKING:
    from botocore.credentials import Credentials

T = TypeVar("T")
Texts = str | Sequence[str]
Time = str | datetime | date
_KEY = re.compile(r"[!-~]{1,255}")


class Manager:
    """The API of one stage, called with your AWS credentials.

    The address is ``url``; without it, what Terraform published for ``stage`` as the SSM parameter
    ``/<name>/<stage>/api-url``, which is looked up once, with the first request. Without both, it is the
    environment variable ``SJM_URL``.

    Every method raises a :class:`~sjm.client.Problem` if the API refuses, and a
    :class:`~sjm.client.NoAnswer` if it does not answer. A request is repeated if that is safe: after
    throttling, after a failure of the manager, and without an answer, as ``retries`` says. A request is not
    repeated if it may have been done and a second one would do more, such as another webhook secret.

    One Manager may be used by several threads. Close it, or use it in a ``with`` block.
    """

    def __init__(
        self,
        stage: str | None = None,
        *,
        url: str | None = None,
        name: str = "sjm",
        region: str | None = None,
        profile: str | None = None,
        credentials: "Credentials | None" = None,
        connect_timeout_seconds: float = 5,
        timeout_seconds: float = 35,
        retries: Retries | None = None,
    ) -> None:
        """Sends nothing yet.

        Args:
            stage: The stage, such as ``prod``.
            url: The address of the API, as in Terraform's output ``api_url``.
            name: The stage's ``name`` in Terraform.
            region: The stage's region; by default, that of the address, else of your AWS configuration.
            profile: A profile of your AWS configuration; by default, what botocore finds.
            credentials: Credentials of botocore or boto3, such as ``boto3.Session().get_credentials()``.
            connect_timeout_seconds: How long to wait for a connection.
            timeout_seconds: How long to wait for an answer. The API answers within 30 seconds.
            retries: How often to repeat a request, and after which wait.
        """
        self._connection = Connection(
            stage,
            url,
            name,
            region,
            profile,
            credentials,
            connect_timeout_seconds,
            timeout_seconds,
            retries or Retries(),
        )

    def __enter__(self) -> "Manager":
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()

    def close(self) -> None:
        """Closes the open connections."""
        self._connection.close()

    @property
    def url(self) -> str:
        """The address of the API, without a trailing slash."""
        return self._connection.url

    # Jobs

    def put_job(
        self,
        service_name: str,
        job_name: str,
        job: Job,
        *,
        managed_by: str | None = None,
        if_match: int | Sequence[int] | Literal["*"] | None = None,
        only_if_new: bool = False,
    ) -> SavedJob:
        """Creates or replaces a job. A field that ``job`` does not have gets its default.

        ``managed_by`` says where the service defines the job as code, such as a repository. From then on, a
        call without it fails with ManagedElsewhere.

        With ``if_match``, it fails with PreconditionFailed unless the job is at this version, or at one of
        these; ``"*"`` is any. With ``only_if_new``, it fails with PreconditionFailed if the job exists.
        """
        headers = _conditions(if_match, only_if_new)
        # If an earlier try has created the job, the next one would be told that it exists.
        path = _job_path(service_name, job_name)
        query = _joined(managed_by=managed_by)
        request = Request("PUT", path, query, headers, job, is_repeatable=not only_if_new)
        return cast(SavedJob, self._object(request))

    def get_job(self, service_name: str, job_name: str) -> SavedJob:
        """Returns a job, with its next fire times."""
        return cast(SavedJob, self._object(Request("GET", _job_path(service_name, job_name))))

    def delete_job(
        self,
        service_name: str,
        job_name: str,
        *,
        managed_by: str | None = None,
        if_match: int | Sequence[int] | Literal["*"] | None = None,
    ) -> None:
        """Deletes a job, also if it is deleted already. Its history stays.

        ``if_match`` is as for ``put_job``. With ``managed_by``, it fails with Conflict if the job is not
        defined there.
        """
        path, query = _job_path(service_name, job_name), _joined(managed_by=managed_by)
        self._connection.send(Request("DELETE", path, query, headers=_if_match(if_match)))

    def pause_job(
        self, service_name: str, job_name: str, reason: str, *, until: Time | None = None
    ) -> SavedJob:
        """Stops a job from firing, until a time or until you resume it. Others read the reason."""
        body = {"reason": reason} | ({} if until is None else {"until": _time(until)})
        return cast(
            SavedJob, self._object(Request("POST", _job_path(service_name, job_name, "pause"), body=body))
        )

    def resume_job(self, service_name: str, job_name: str) -> SavedJob:
        """Lets a paused job fire again."""
        return cast(SavedJob, self._object(Request("POST", _job_path(service_name, job_name, "resume"))))

    def test_job(self, service_name: str, job_name: str) -> TargetTest:
        """Sends a test notification to the job's target. Raises TargetTestFailed if it does not take it."""
        request = Request("POST", _job_path(service_name, job_name, "test"), is_repeatable=False)
        return cast(TargetTest, self._object(request))

    def backfill_job(
        self,
        service_name: str,
        job_name: str,
        *,
        since: Time,
        until: Time | None = None,
        only_missed: bool = True,
        dry_run: bool = False,
        idempotency_key: str | None = None,
    ) -> Backfill:
        """Starts a job for the times from ``since`` to before ``until`` that it missed, oldest first.

        With ``only_missed`` false, it runs for all times of its schedule, which ``until`` must bound. Then
        another ``idempotency_key`` runs the same times once more. The same call starts nothing twice. It
        starts a thousand at most; ``next_since`` of the answer begins the next call.
        """
        body = {"since": _time(since), "only_missed": only_missed, "dry_run": dry_run}
        if until is not None:
            body["until"] = _time(until)
        headers = {} if idempotency_key is None else _idempotency(idempotency_key)
        path = _job_path(service_name, job_name, "backfill")
        return cast(Backfill, self._object(Request("POST", path, headers=headers, body=body)))

    def list_jobs(
        self,
        *,
        service_name: Texts | None = None,
        job_name: Texts | None = None,
        job_guid: Texts | None = None,
        owner: Texts | None = None,
        tags: Mapping[str, str] | None = None,
        schedule: str | None = None,
        limit: int | None = None,
        more: str | None = None,
    ) -> Listing[SavedJob]:
        """Lists the jobs of the stage, by their names. ``limit`` is the size of a page."""
        query = [
            *_joined(service_name=service_name, job_name=job_name, job_guid=job_guid),
            *_filters_of_jobs(owner, tags, schedule, limit),
        ]
        return self._listing("/jobs", query, more)

    def list_jobs_of_service(
        self,
        service_name: str,
        *,
        job_name: Texts | None = None,
        job_guid: Texts | None = None,
        owner: Texts | None = None,
        tags: Mapping[str, str] | None = None,
        schedule: str | None = None,
        limit: int | None = None,
        more: str | None = None,
    ) -> Listing[SavedJob]:
        """Lists the jobs of a service, by their names. This needs no rights on other services."""
        query = [
            *_joined(job_name=job_name, job_guid=job_guid),
            *_filters_of_jobs(owner, tags, schedule, limit),
        ]
        return self._listing(path_of("services", service_name, "jobs"), query, more)

    def search_jobs(self, search: JobSearch) -> Listing[SavedJob]:
        """Lists jobs like ``list_jobs``, by a POST, which has room for long searches."""
        return self._search("/jobs", search)

    # Executions

    def start_execution(
        self,
        service_name: str,
        job_name: str,
        *,
        payload: str | None = None,
        idempotency_key: str | None = None,
    ) -> Execution:
        """Runs a job now, also a disabled or a paused one. ``payload`` replaces the job's own.

        Within a day, the same call with the same ``idempotency_key`` returns the same execution. Without a
        key, each call starts an execution, and gets a key for its own retries.
        """
        path = _job_path(service_name, job_name, "executions")
        body = None if payload is None else {"payload": payload}
        request = Request("POST", path, headers=_idempotency(idempotency_key), body=body)
        return cast(Execution, self._object(request))

    def get_execution(self, service_name: str, job_name: str, execution_id: str) -> Execution:
        """Returns an execution, with its payload and result."""
        path = _job_path(service_name, job_name, "executions", execution_id)
        return cast(Execution, self._object(Request("GET", path)))

    def get_chain(self, service_name: str, job_name: str, execution_id: str) -> Chain:
        """Returns the executions before an execution, up to the first ones, and all that run after these."""
        path = _job_path(service_name, job_name, "executions", execution_id, "chain")
        return cast(Chain, self._object(Request("GET", path)))

    def cancel_execution(
        self, service_name: str, job_name: str, execution_id: str, *, reason: str | None = None
    ) -> Execution:
        """Ends an execution that runs, and frees its lock. Its callbacks get 410."""
        path = _job_path(service_name, job_name, "executions", execution_id, "cancel")
        body = None if reason is None else {"reason": reason}
        return cast(Execution, self._object(Request("POST", path, body=body)))

    def rerun_execution(
        self, service_name: str, job_name: str, execution_id: str, *, idempotency_key: str | None = None
    ) -> Execution:
        """Runs a job again with the payload of an execution. ``idempotency_key`` is as for a start."""
        path = _job_path(service_name, job_name, "executions", execution_id, "rerun")
        return cast(Execution, self._object(Request("POST", path, headers=_idempotency(idempotency_key))))

    def list_executions(
        self,
        *,
        service_name: Texts | None = None,
        job_name: Texts | None = None,
        job_guid: Texts | None = None,
        status: Status | Sequence[Status] | None = None,
        reason: SkipCode | Sequence[SkipCode] | None = None,
        since: Time | None = None,
        until: Time | None = None,
        by: By | None = None,
        limit: int | None = None,
        more: str | None = None,
    ) -> Listing[Execution]:
        """Lists executions of the stage, newest first. ``limit`` is the size of a page.

        ``since`` and ``until`` limit ``scheduled_time``, or with ``by="started_at"`` the start. Give a day,
        or a time with its offset from UTC.
        """
        query = [
            *_joined(service_name=service_name, job_name=job_name, job_guid=job_guid),
            *_filters_of_executions(status, reason, since, until, by, limit),
        ]
        return self._listing("/executions", query, more)

    def list_executions_of_service(
        self,
        service_name: str,
        *,
        job_name: Texts | None = None,
        status: Status | Sequence[Status] | None = None,
        reason: SkipCode | Sequence[SkipCode] | None = None,
        since: Time | None = None,
        until: Time | None = None,
        by: By | None = None,
        limit: int | None = None,
        more: str | None = None,
    ) -> Listing[Execution]:
        """Lists executions of a service, newest first. This needs no rights on other services."""
        query = [
            *_joined(job_name=job_name),
            *_filters_of_executions(status, reason, since, until, by, limit),
        ]
        return self._listing(path_of("services", service_name, "executions"), query, more)

    def list_executions_of_job(
        self,
        service_name: str,
        job_name: str,
        *,
        status: Status | Sequence[Status] | None = None,
        reason: SkipCode | Sequence[SkipCode] | None = None,
        since: Time | None = None,
        until: Time | None = None,
        by: By | None = None,
        limit: int | None = None,
        more: str | None = None,
    ) -> Listing[Execution]:
        """Lists executions of a job, newest first."""
        query = _filters_of_executions(status, reason, since, until, by, limit)
        return self._listing(_job_path(service_name, job_name, "executions"), query, more)

    def search_executions(self, search: ExecutionSearch) -> Listing[Execution]:
        """Lists executions like ``list_executions``, by a POST, which has room for long searches."""
        return self._search("/executions", search)

    def rerun_executions(self, search: RerunMany, *, idempotency_key: str | None = None) -> BulkAnswer:
        """Reruns many executions with their payloads, and returns what was done to each.

        One call handles at most a thousand, and what 15 seconds allow. If ``paging`` of the answer has
        ``more``, call again with it: ``{**search, "more": …}``. What was rerun before is left, unless the
        search says ``again``; then the same call with the same ``idempotency_key`` starts nothing twice.
        """
        headers = _idempotency(idempotency_key)
        return cast(
            BulkAnswer, self._object(Request("POST", "/executions/rerun", headers=headers, body=search))
        )

    def rerun_executions_of_service(
        self, service_name: str, search: RerunManyOfService, *, idempotency_key: str | None = None
    ) -> BulkAnswer:
        """Reruns many executions of a service. This needs no rights on other services."""
        path = path_of("services", service_name, "executions", "rerun")
        request = Request("POST", path, headers=_idempotency(idempotency_key), body=search)
        return cast(BulkAnswer, self._object(request))

    def cancel_executions(self, search: CancelMany) -> BulkAnswer:
        """Ends many executions that run. The answer is like that of ``rerun_executions``."""
        return cast(BulkAnswer, self._object(Request("POST", "/executions/cancel", body=search)))

    def cancel_executions_of_service(self, service_name: str, search: CancelManyOfService) -> BulkAnswer:
        """Ends many executions of a service. This needs no rights on other services."""
        path = path_of("services", service_name, "executions", "cancel")
        return cast(BulkAnswer, self._object(Request("POST", path, body=search)))

    # Schedules

    def list_schedules(self, *, limit: int | None = None, more: str | None = None) -> Listing[Schedule]:
        """Lists the schedules in use, with their rules and next fire times.

        Each of its ``pages()`` is a SchedulePage: it also tells how many schedules the stage may have.
        """
        return self._listing("/schedules", _joined(limit=limit), more)

    def preview_schedule(
        self,
        schedule: str,
        *,
        time_zone: str | None = None,
        from_: str | datetime | None = None,
        count: int | None = None,
        start_at: str | datetime | None = None,
        end_at: str | datetime | None = None,
    ) -> Preview:
        """Tells when a schedule would fire next. Saves nothing.

        Args:
            schedule: ``cron(0 2 * * ? *)``, ``rate(5 minutes)`` or, once, ``at(2026-12-24T18:00:00)``.
            time_zone: Whose clock it goes by, such as ``Europe/Berlin``. By default UTC.
            from_: The earliest time to list. By default now.
            count: How many times to list, at most 100. By default 10.
            start_at: It does not fire before. A rate is counted from it.
            end_at: It does not fire after.
        """
        given = {"from": from_, "start_at": start_at, "end_at": end_at}
        times = {name: _time(value) for name, value in given.items() if value is not None}
        query = _joined(schedule=schedule, time_zone=time_zone, count=count, **times)
        return cast(Preview, self._object(Request("GET", "/schedules/preview", query)))

    def reconcile_schedules(self) -> Reconciliation:
        """Makes the rules match the jobs now, and looks for missed ticks."""
        return cast(Reconciliation, self._object(Request("POST", "/schedules/reconcile")))

    # Limits

    def put_limit(
        self,
        service_name: str,
        limit_name: str,
        limit: LimitDefinition,
        *,
        if_match: int | Sequence[int] | Literal["*"] | None = None,
        only_if_new: bool = False,
    ) -> SavedLimit:
        """Creates or replaces a limit that several jobs of the service share.

        Executions keep the slots that they hold. ``if_match`` and ``only_if_new`` are as for ``put_job``.
        """
        headers = _conditions(if_match, only_if_new)
        path = _limit_path(service_name, limit_name)
        request = Request("PUT", path, [], headers, limit, is_repeatable=not only_if_new)
        return cast(SavedLimit, self._object(request))

    def get_limit(self, service_name: str, limit_name: str) -> SavedLimit:
        """Returns a limit, with the executions that hold its slots now."""
        return cast(SavedLimit, self._object(Request("GET", _limit_path(service_name, limit_name))))

    def list_limits(
        self, service_name: str, *, limit: int | None = None, more: str | None = None
    ) -> Listing[SavedLimit]:
        """Lists the limits of a service, sorted by name."""
        return self._listing(path_of("services", service_name, "limits"), _joined(limit=limit), more)

    def delete_limit(
        self,
        service_name: str,
        limit_name: str,
        *,
        if_match: int | Sequence[int] | Literal["*"] | None = None,
    ) -> None:
        """Deletes a limit. Raises Conflict while jobs name it. Executions that wait for it are started."""
        path = _limit_path(service_name, limit_name)
        self._connection.send(Request("DELETE", path, headers=_if_match(if_match), may_be_gone=True))

    # Webhook secrets

    def create_webhook_secret(
        self, service_name: str, *, overlap_seconds: int | None = None
    ) -> NewWebhookSecret:
        """Creates a secret that signs the service's webhooks. This is the only answer that shows it.

        Earlier secrets stay valid for ``overlap_seconds``, by default a day. If the answer is lost, this
        raises NoAnswer: create another secret, because nobody knows the lost one.
        """
        path = path_of("services", service_name, "webhook-secrets")
        body = None if overlap_seconds is None else {"overlap_seconds": overlap_seconds}
        return cast(NewWebhookSecret, self._object(Request("POST", path, body=body, is_repeatable=False)))

    def list_webhook_secrets(self, service_name: str) -> Listing[WebhookSecret]:
        """Lists the valid secrets of a service, without what is secret."""
        return self._listing(path_of("services", service_name, "webhook-secrets"), [], None)

    def delete_webhook_secret(self, service_name: str, secret_id: str, *, force: bool = False) -> None:
        """Deletes a secret at once. Without ``force``, raises Conflict for the last one without an end."""
        path = path_of("services", service_name, "webhook-secrets", secret_id)
        query = [("force", "true")] if force else []
        self._connection.send(Request("DELETE", path, query, may_be_gone=True))

    # Others

    def call_back(self, callback_url: str, callback: Callback) -> CallbackAnswer:
        """Reports progress or a result to the ``callback_url`` of a notification, which needs no credentials.

        Raises ExecutionOver if the service is to stop working on the execution.
        """
        if not callback_url.startswith(("http://", "https://")):
            raise ValueError("callback_url: expected the URL of a notification")
        request = Request("POST", callback_url, body=callback, is_signed=False, shown="/callback/…")
        return cast(CallbackAnswer, self._object(request))

    def get_openapi(self) -> dict[str, Any]:
        """Returns the OpenAPI document of the stage, which needs no credentials."""
        return self._object(Request("GET", "/openapi.json", is_signed=False))

    def _object(self, request: Request) -> dict[str, Any]:
        return json_object(request, self._connection.send(request))

    def _listing(self, path: str, query: Sequence[tuple[str, str]], more: str | None) -> Listing[Any]:
        def fetch(token: str | None) -> Page[Any]:
            return self._page(Request("GET", path, [*query, *_joined(more=token)]))

        return Listing(fetch, more)

    def _search(self, path: str, search: JobSearch | ExecutionSearch) -> Listing[Any]:
        def fetch(token: str | None) -> Page[Any]:
            return self._page(Request("POST", path, body={**search, **({"more": token} if token else {})}))

        return Listing(fetch, search.get("more"))

    def _page(self, request: Request) -> Page[Any]:
        return cast("Page[Any]", json_page(request, self._connection.send(request)))


def _job_path(service_name: str, job_name: str, *more: str) -> str:
    return path_of("services", service_name, "jobs", job_name, *more)


def _limit_path(service_name: str, limit_name: str) -> str:
    return path_of("services", service_name, "limits", limit_name)


def _conditions(if_match: int | Sequence[int] | Literal["*"] | None, only_if_new: bool) -> dict[str, str]:
    return {**_if_match(if_match), **({"If-None-Match": "*"} if only_if_new else {})}


def _if_match(versions: int | Sequence[int] | Literal["*"] | None) -> dict[str, str]:
    if versions is None:
        return {}
    if isinstance(versions, str):
        if versions != "*":
            raise ValueError("if_match: expected a version such as 3, several versions, or '*'")
        return {"If-Match": "*"}
    several = [versions] if isinstance(versions, int) else versions
    if not several:
        raise ValueError("if_match: expected at least one version")
    return {"If-Match": ", ".join(f'"{int(version)}"' for version in several)}


def _idempotency(key: str | None) -> dict[str, str]:
    if key is not None and not _KEY.fullmatch(key):
        raise ValueError("idempotency_key: expected 1 to 255 visible ASCII characters")
    return {"Idempotency-Key": key or str(uuid.uuid4())}


def _time(value: Time) -> str:
    """A time as the API takes it. A text stays as it is."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError(f"{value} has no time zone. Expected one, such as datetime.now(timezone.utc).")
        return value.isoformat()
    return value.isoformat() if isinstance(value, date) else value


def _joined(**values: Texts | int | None) -> list[tuple[str, str]]:
    """Parameters of a query string: several values are joined by commas, which these values cannot hold."""
    return [
        (name, ",".join(value) if isinstance(value, Sequence) and not isinstance(value, str) else str(value))
        for name, value in values.items()
        if value is not None
    ]


def _filters_of_jobs(
    owner: Texts | None, tags: Mapping[str, str] | None, schedule: str | None, limit: int | None
) -> list[tuple[str, str]]:
    # An owner may hold a comma, so each has a parameter of its own.
    owners = [owner] if isinstance(owner, str) else owner or []
    return [
        *(("owner", each) for each in owners),
        *((f"tags[{name}]", value) for name, value in (tags or {}).items()),
        *_joined(schedule=schedule, limit=limit),
    ]


def _filters_of_executions(
    status: Status | Sequence[Status] | None,
    reason: SkipCode | Sequence[SkipCode] | None,
    since: Time | None,
    until: Time | None,
    by: By | None,
    limit: int | None,
) -> list[tuple[str, str]]:
    times = {name: _time(value) for name, value in (("since", since), ("until", until)) if value is not None}
    return _joined(status=status, reason=reason, **times, by=by, limit=limit)
