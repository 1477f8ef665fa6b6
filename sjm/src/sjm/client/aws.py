"""What the client uses of botocore: credentials, signatures, connections, and the stage's address in SSM.

Import this module only when a request is to be sent, because to import botocore takes a tenth of a second.
"""

import os
import platform
import threading
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.httpsession import URLLib3Session
from botocore.session import Session
from botocore.utils import get_environ_proxies

import sjm
from sjm.client.errors import NoAnswer, NotConfigured
from sjm.client.messages import Answer, Request

_SERVICE = "execute-api"
_MAX_CONNECTIONS = 10


class Account:
    """Who calls, and from where: the credentials and the region that are given, or that botocore finds."""

    def __init__(self, profile: str | None, credentials: Credentials | None) -> None:
        try:
            self.session = Session(profile=profile)
            self.ca_bundle = self.session.get_config_variable("ca_bundle")
        except BotoCoreError as error:
            raise NotConfigured(f"The AWS configuration cannot be read: {error}") from error
        self._credentials = credentials
        self._lock = threading.Lock()

    def caller(self) -> ReadOnlyCredentials:
        """The credentials as they are now: temporary ones are renewed in time."""
        try:
            with self._lock:
                self._credentials = self._credentials or self.session.get_credentials()
            if self._credentials is not None:
                return self._credentials.get_frozen_credentials()
        except BotoCoreError as error:
            raise NotConfigured(f"The AWS credentials cannot be read: {error}") from error
        raise NotConfigured(
            "There are no AWS credentials. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,"
            " or run `aws sso login`, or pass a profile or credentials."
        )

    def region(self) -> str:
        """The region of the environment or the profile."""
        # botocore, unlike the CLI and other SDKs, does not read AWS_REGION.
        region = self.session.get_config_variable("region") or os.environ.get("AWS_REGION")
        if not region:
            raise NotConfigured("There is no AWS region. Set AWS_REGION, or pass a region.")
        return str(region)

    def published_url(self, parameter: str, region: str, timeout_seconds: float) -> str:
        """The address of a stage, which Terraform publishes as an SSM parameter."""
        caller = self.caller()
        what = f"The SSM parameter {parameter} in {region}, which has the address of the stage,"
        otherwise = "Otherwise pass url, the address itself."
        try:
            ssm: Any = self.session.create_client(
                "ssm",
                region_name=region,
                aws_access_key_id=caller.access_key,
                aws_secret_access_key=caller.secret_key,
                aws_session_token=caller.token,
                config=Config(connect_timeout=timeout_seconds, read_timeout=timeout_seconds),
            )
            try:
                found: str = ssm.get_parameter(Name=parameter)["Parameter"]["Value"]
            finally:
                ssm.close()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ParameterNotFound":
                raise NotConfigured(
                    f"{what} does not exist. Expected a stage of version 1.1 or later in this account and"
                    f" region: check stage, region and credentials. {otherwise}"
                ) from error
            if code == "AccessDeniedException":
                raise NotConfigured(
                    f"{what} is not for you. Expected ssm:GetParameter on it. {otherwise}"
                ) from error
            raise NotConfigured(f"{what} cannot be read: {error}. {otherwise}") from error
        except BotoCoreError as error:
            raise NotConfigured(f"{what} cannot be read: {error}. {otherwise}") from error
        return found


class Http:
    """Sends requests over connections that it keeps open. It may be used by several threads."""

    def __init__(self, account: Account, connect_timeout_seconds: float, timeout_seconds: float) -> None:
        self._account = account
        self._timeout_seconds = timeout_seconds
        self._timeouts = (connect_timeout_seconds, timeout_seconds)
        self._lock = threading.Lock()
        self._pools: dict[str, URLLib3Session] = {}

    def close(self) -> None:
        """Closes the connections. A later request opens new ones."""
        with self._lock:
            pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.close()

    def send(self, request: Request, url: str, region: str | None) -> Answer:
        """Sends a request once, and signs it for the region, if there is one. Raises NoAnswer."""
        headers = {
            "Accept": "application/json, application/problem+json",
            "User-Agent": f"sjm/{sjm.__version__} python/{platform.python_version()}",
            **request.headers,
        }
        content = request.content()
        if content is not None:
            headers["Content-Type"] = "application/json"
        whole = AWSRequest(method=request.method, url=url, data=content, headers=headers)
        if region is not None:
            SigV4Auth(self._account.caller(), _SERVICE, region).add_auth(whole)
        response = self._response(request, whole.prepare(), self._pool(url))
        received = cast(Mapping[str, Any], response.headers)
        lowered = {str(name).lower(): str(value) for name, value in received.items()}
        return Answer(response.status_code, lowered, response.content)

    def _pool(self, url: str) -> URLLib3Session:
        """The connections to the host of the URL."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        with self._lock:
            if origin not in self._pools:
                settings: dict[str, Any] = {
                    "verify": self._account.ca_bundle or True,
                    "proxies": get_environ_proxies(origin),
                    "timeout": self._timeouts,
                    "max_pool_connections": _MAX_CONNECTIONS,
                }
                self._pools[origin] = URLLib3Session(**settings)
            return self._pools[origin]

    def _response(self, request: Request, prepared: AWSPreparedRequest, pool: URLLib3Session) -> AWSResponse:
        # botocore's messages repeat the URL, which may hold the token of a callback. So only causes are told.
        try:
            return pool.send(prepared)
        except (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError) as error:
            raise NoAnswer(
                f"{request.name} did not reach the API ({_cause(error)}). Check the address and the network.",
                may_have_acted=False,
            ) from None
        except SSLError as error:
            raise NotConfigured(
                f"{request.name} was not sent, because the connection is not safe: {_reason(error)}. Check"
                " the address, and the certificates that AWS_CA_BUNDLE names."
            ) from None
        except ReadTimeoutError:
            raise NoAnswer(
                f"{request.name} was not answered within {self._timeout_seconds:g} s. It may have been done.",
                may_have_acted=True,
            ) from None
        except HTTPClientError as error:
            raise NoAnswer(
                f"{request.name} was sent, and the connection broke before the end of the answer"
                f" ({_cause(error)}). It may have been done.",
                may_have_acted=True,
            ) from None


def _cause(error: Any) -> str:
    return type(error.kwargs.get("error", error)).__name__


def _reason(error: Any) -> str:
    """Why TLS failed, such as an expired certificate."""
    inner = error.kwargs.get("error", error)
    return str(getattr(inner, "reason", None) or inner).partition(" (_ssl.c")[0]
