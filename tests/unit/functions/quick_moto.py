"""Makes moto faster without changing its answers. Each patch says what moto wastes without it."""

import urllib.parse
from functools import cache
from typing import Any

import botocore.useragent
import moto.backend_index
import moto.core.models
import moto.core.responses
import moto.core.utils
import pytest
from botocore.loaders import JSONFileLoader
from botocore.signers import RequestSigner


def apply(patch: pytest.MonkeyPatch) -> None:
    """Patches moto, and botocore where moto makes it repeat work."""
    read_files_once(patch)
    find_methods_once(patch)
    compare_likely_services_first(patch)
    read_json_as_json_only(patch)
    describe_botocore_once(patch)
    mock_botocore_only(patch)


def read_files_once(patch: pytest.MonkeyPatch) -> None:
    """Each new session reads botocore's large data files again."""
    read = cache(JSONFileLoader().load_file)
    patch.setattr(JSONFileLoader, "load_file", lambda loader, path: read(path))


def find_methods_once(patch: pytest.MonkeyPatch) -> None:
    """For each call, moto lists the methods of the class that answers it."""
    patch.setattr(
        moto.core.responses, "method_names_from_class", cache(moto.core.utils.method_names_from_class)
    )


def compare_likely_services_first(patch: pytest.MonkeyPatch) -> None:
    """For each request, moto compares the URL with the patterns of one service after the other."""
    likely = {"dynamodb", "sns", "kms", "scheduler", "events", "sqs", "lambda"}
    ordered = sorted(moto.backend_index.backend_url_patterns, key=lambda each: each[0] not in likely)
    patch.setattr(moto.backend_index, "backend_url_patterns", ordered)


def read_json_as_json_only(patch: pytest.MonkeyPatch) -> None:
    """moto first reads each body as a form, even if it is JSON."""
    parse = urllib.parse.parse_qsl

    def parse_form(body: str, **options: Any) -> list[tuple[str, str]]:
        return [(body, "")] if body.startswith("{") else parse(body, **options)

    patch.setattr("moto.core.responses.parse_qsl", parse_form)


def send_without_signatures(patch: pytest.MonkeyPatch) -> None:
    """botocore signs each request. moto reads no signature. Only for tests without real calls."""
    patch.setattr(RequestSigner, "sign", lambda *arguments, **named: None)


def describe_botocore_once(patch: pytest.MonkeyPatch) -> None:
    """For each request, botocore builds a header that describes it."""
    clean = cache(botocore.useragent.sanitize_user_agent_string_component)
    patch.setattr(botocore.useragent, "sanitize_user_agent_string_component", clean)


def mock_botocore_only(patch: pytest.MonkeyPatch) -> None:
    """Each time moto starts, it also mocks thousands of URLs for the package requests."""
    patch.setattr(moto.core.models, "RESPONSES_METHODS", [])
