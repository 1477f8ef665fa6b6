"""Calls of one client for half of the CPU time that boto3 takes. A tick of many jobs is bound by its core.

For each call, boto3 resolves the endpoint, builds the name of the user agent, validates the parameters and
emits some ten events. Here all that stays the same from call to call. The signature, the connections with
their TLS, and the errors are still botocore's.

Parameters and answers are plain JSON, so this suits operations without binary parameters, and the times in
answers stay numbers. The calls are in no trace.
"""

import json
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.exceptions import ConnectionError, HTTPClientError
from botocore.hooks import first_non_none_response

from jobmanager.core.retry import tries

_MAX_TRIES = 3
_LONGEST_FIRST_PAUSE_SECONDS = 1.0
_THROTTLED = ("RequestLimitExceeded", "ThrottlingException", "TooManyRequestsException")


class LeanCalls:
    """Takes the place of a client's ``_make_api_call``. It tries three times and pauses, as the client does.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
    """

    def __init__(self, client: Any, session: Any) -> None:
        self._client = client
        self._credentials = session.get_credentials()
        self._connections = client._endpoint.http_session  # with its timeouts, proxies and certificates
        model = client.meta.service_model
        self._url = f"{client.meta.endpoint_url}/"
        self._target = model.metadata["targetPrefix"]
        self._signing_name = model.signing_name
        self._before_send = f"before-send.{model.service_id.hyphenize()}"
        self._headers = {
            "Content-Type": f"application/x-amz-json-{model.metadata['jsonVersion']}",
            "User-Agent": "serverless-job-manager",
        }

    def __call__(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Makes a call. Raises the client's exceptions, or botocore's if AWS did not answer."""
        body = json.dumps(parameters).encode()
        for number in tries(_MAX_TRIES, _LONGEST_FIRST_PAUSE_SECONDS):
            is_last = number + 1 == _MAX_TRIES
            try:
                response = self._send(operation, body)
            except (ConnectionError, HTTPClientError):
                if is_last:
                    raise
                continue
            answer = _answer_in(response)
            if response.status_code < 300:
                return answer
            code = str(answer.get("__type", response.status_code)).rpartition("#")[2]
            if is_last or not (code in _THROTTLED or response.status_code >= 500):
                raise self._error(operation, code, answer, response.status_code)
        raise AssertionError("the last try returns or raises")

    def _send(self, operation: str, body: bytes) -> AWSResponse:
        headers = {**self._headers, "X-Amz-Target": f"{self._target}.{operation}"}
        request = AWSRequest("POST", self._url, headers, body)
        credentials = self._credentials.get_frozen_credentials()
        SigV4Auth(credentials, self._signing_name, self._client.meta.region_name).add_auth(request)
        prepared = request.prepare()
        # By this event a stand-in for AWS answers.
        answers = self._client.meta.events.emit(f"{self._before_send}.{operation}", request=prepared)
        response: AWSResponse = first_non_none_response(answers) or self._connections.send(prepared)
        return response

    def _error(self, operation: str, code: str, answer: dict[str, Any], status: int) -> Exception:
        facts = {
            "Error": {"Code": code, "Message": answer.get("message", answer.get("Message", ""))},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }
        error: Exception = self._client.exceptions.from_code(code)(facts, operation)
        return error


def _answer_in(response: AWSResponse) -> dict[str, Any]:
    """Returns the JSON object of a response; empty if it has none, as from a proxy."""
    try:
        answer = json.loads(response.content)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
