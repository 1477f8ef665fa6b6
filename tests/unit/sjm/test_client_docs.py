"""The examples of the pages on the client run, against a manager on this machine."""

import re

import pytest

from sjm import client
from tests.unit.sjm.examples import EXAMPLES, PAGE
from tests.unit.sjm.stand_in import CREDENTIALS, REGION, StandIn, errors_of_request


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: re.sub(r"\W+", "-", text)[:60])
def test_an_example_runs_and_sends_what_the_document_describes(
    server: StandIn, example: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sjm.client.aws.Account.published_url", lambda *_: server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", CREDENTIALS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CREDENTIALS.secret_key)
    monkeypatch.setenv("AWS_REGION", REGION)
    exec(compile(example, "client.md", "exec"), {})

    assert server.received
    assert [error for received in server.received for error in errors_of_request(received)] == []


def test_the_page_names_each_method_and_each_error() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE))
    methods = {name for name in vars(client.Manager) if not name.startswith("_")} - {"close", "url"}
    raised = {
        name
        for name in client.__all__
        if isinstance(value := getattr(client, name), type) and issubclass(value, client.ManagerError)
    }

    assert len(EXAMPLES) > 5
    assert methods - named == set()
    assert raised - named == set()


def test_each_class_of_a_problem_has_the_status_of_the_page() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d{3})", PAGE, re.MULTILINE))

    assert {name: int(status) for name, status in rows.items()} == {
        kind.__name__: status for status, kind in client.errors.BY_STATUS.items()
    }
