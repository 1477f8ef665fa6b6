"""Finds the API of a stage, and repeats what is safe to repeat."""

import os
import re
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sjm.client.errors import Contended, ManagerError, NoAnswer, NotConfigured, problem_of
from sjm.client.messages import Answer, Request, unexpected
from sjm.client.retries import Retries

if TYPE_CHECKING:
    from botocore.credentials import Credentials

    from sjm.client.aws import Account, Http

URL_VARIABLE = "SJM_URL"
_REGION_IN_HOST = re.compile(r"\.execute-api\.([a-z0-9-]+)\.(?:amazonaws\.com|amazonaws\.com\.cn|api\.aws)$")
_TRANSIENT = {429, 500, 502, 503, 504}


class Connection:
    """The API of one stage, called by one caller. It may be used by several threads."""

    def __init__(
        self,
        stage: str | None,
        url: str | None,
        name: str,
        region: str | None,
        profile: str | None,
        credentials: "Credentials | None",
        connect_timeout_seconds: float,
        timeout_seconds: float,
        retries: Retries,
    ) -> None:
        self._stage = stage
        self._given_url = url
        self._name = name
        self._given_region = region
        self._profile = profile
        self._credentials = credentials
        self._connect_timeout_seconds = connect_timeout_seconds
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        # One thread looks for each of these, and the others wait.
        self._lock = threading.RLock()
        self._account: Account | None = None
        self._http: Http | None = None
        self._url: str | None = None
        self._region: str | None = None

    def close(self) -> None:
        """Closes the open connections. A later request opens new ones."""
        if self._http is not None:
            self._http.close()

    @property
    def url(self) -> str:
        """The address of the API, without a trailing slash."""
        with self._lock:
            if self._url is None:
                if self._given_url:
                    self._url = _checked_url(self._given_url, "url")
                elif self._stage is None and (in_environment := os.environ.get(URL_VARIABLE)):
                    self._url = _checked_url(in_environment, URL_VARIABLE)
                else:
                    self._url = self._published_url()
            return self._url

    @property
    def region(self) -> str:
        """The region for which requests are signed."""
        with self._lock:
            if self._region is None:
                in_host = _REGION_IN_HOST.search(urlsplit(self.url).hostname or "")
                of_url = in_host[1] if in_host else None
                self._region = self._given_region or of_url or self._of_account().region()
            return self._region

    def send(self, request: Request) -> Answer:
        """Sends a request until it is answered with 2xx. Raises ManagerError if it is not."""
        attempt = 0
        may_have_acted = False
        while True:
            attempt += 1
            retry_after = None
            failure: ManagerError
            try:
                answer = self._send_once(request)
            except NoAnswer as error:
                failure, acted = error, error.may_have_acted
            else:
                if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
                    return answer
                if answer.status < HTTPStatus.BAD_REQUEST:
                    raise unexpected(request, answer, "a status of 2xx, 4xx or 5xx")
                if answer.status == HTTPStatus.NOT_FOUND and may_have_acted and request.may_be_gone:
                    return Answer(HTTPStatus.NO_CONTENT, {}, b"")  # an earlier try deleted it
                failure = problem_of(answer.status, answer.json(), request.name)
                if answer.status not in _TRANSIENT:
                    raise failure
                acted = answer.status != HTTPStatus.TOO_MANY_REQUESTS and not isinstance(failure, Contended)
                retry_after = answer.headers.get("retry-after")
            may_have_acted |= acted
            wait = self._retries.wait_after(attempt, retry_after)
            if wait is None or (acted and not request.is_repeatable):
                raise failure
            self._retries.sleep(wait)

    def _send_once(self, request: Request) -> Answer:
        url = request.url(self.url if request.path.startswith("/") else "")
        return self._of_http().send(request, url, self.region if request.is_signed else None)

    def _of_account(self) -> "Account":
        with self._lock:
            if self._account is None:
                try:
                    from sjm.client import aws
                except ModuleNotFoundError as error:
                    raise NotConfigured(
                        f"{error.name} is not installed. Install it with the extra:"
                        " pip install 'serverless-job-manager[client]'"
                    ) from error
                self._account = aws.Account(self._profile, self._credentials)
            return self._account

    def _of_http(self) -> "Http":
        account = self._of_account()
        with self._lock:
            if self._http is None:
                from sjm.client import aws

                self._http = aws.Http(account, self._connect_timeout_seconds, self._timeout_seconds)
            return self._http

    def _published_url(self) -> str:
        if not self._stage:
            raise NotConfigured(
                f"There is no address of a manager. Pass stage or url, or set {URL_VARIABLE}."
            )
        account = self._of_account()
        region = self._given_region or account.region()
        parameter = f"/{self._name}/{self._stage}/api-url"
        found = account.published_url(parameter, region, self._connect_timeout_seconds)
        return _checked_url(found, f"The SSM parameter {parameter}")


def _checked_url(url: str, source: str) -> str:
    parts = urlsplit(url)
    is_address = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    if not is_address or parts.query or parts.fragment:
        raise NotConfigured(
            f"{source} does not hold the address of a manager. Expected https://, a host and perhaps a path,"
            " such as Terraform's output api_url."
        )
    return url.rstrip("/")
