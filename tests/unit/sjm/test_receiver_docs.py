"""The examples of docs/receiver.md run, against a manager on this machine. The page leaves nothing out."""

import inspect
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sjm import receiver
from sjm.receiver import Receiver, Run
from tests.unit.sjm.receiver.dynamodb import Table
from tests.unit.sjm.receiver.manager import SECRET, Manager, encoded, running_manager, signed

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "receiver.md").read_text()
README = (ROOT / "sjm" / "README.md").read_text()
EXAMPLES = [
    text
    for page in (PAGE, README)
    for text in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    if "sjm.receiver" in text
]


@pytest.fixture
def manager() -> Iterator[Manager]:
    with running_manager() as manager:
        yield manager


def invoices(after: int = 0) -> list[Any]:
    return [SimpleNamespace(number=number) for number in range(after + 1, after + 4)]


async def invoices_of_today() -> AsyncIterator[Any]:
    for invoice in invoices():
        yield invoice


async def close_soon(invoice: Any, fence: int) -> None:
    assert (invoice.number > 0, fence) == (True, 42)


def of_the_service(manager: Manager) -> dict[str, Any]:
    """What the service of the page has beside its jobs."""

    def close(invoice: Any, fence: int) -> None:
        assert (invoice.number > 0, fence) == (True, 42)

    message = SimpleNamespace(body=encoded(manager.notification()), delete=lambda: None)
    return {
        "__name__": __name__,
        "os": __import__("os"),
        "open_invoices": invoices,
        "invoices": invoices(),
        "invoices_of_today": invoices_of_today,
        "close": close,
        "write": close,
        "close_soon": close_soon,
        "close_the_books": lambda: "closed the books",
        "messages": lambda: [message, message],
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: re.sub(r"\W+", "-", text)[:60])
def test_an_example_runs_and_its_jobs_succeed(
    manager: Manager, example: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    table = Table()
    monkeypatch.setattr("sjm.receiver.DynamoDBSeen._connected", lambda _: table)
    names = of_the_service(manager)
    exec(compile(example, "receiver.md", "exec"), names)
    jobs: Receiver = names["jobs"]
    for job_name in list(jobs._jobs):
        notification = manager.notification(job_name)
        content = encoded(notification)
        if "secrets=None" in example:
            event = {"Records": [{"messageId": "m", "body": content.decode()}]}
            context = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
            assert names["handler"](event, context) == {"batchItemFailures": []}
        else:
            assert jobs.receive(content, signed(content)).status == 202
        assert manager.wait_for_result(notification["execution_id"])["status"] == "success"
    assert jobs.close()
    assert all(each["status"] == "success" for each in manager.results())
    assert len(manager.results()) == (1 if "messages()" in example else len(jobs._jobs))


def test_there_are_examples_of_each_door() -> None:
    assert len(EXAMPLES) > 8
    for door in (".wsgi()", ".asgi()", ".lambda_http", ".lambda_sqs", ".run(", ".receive(", ".lifespan"):
        assert any(door in example for example in EXAMPLES), door


def test_the_page_names_everything_that_is_public() -> None:
    named = set(re.findall(r"\b[A-Za-z_]+\b", PAGE))

    assert set(receiver.__all__) - named - {"Run", "HandedOver"} == set()
    of_the_receiver = {"beat", "begin", "end", "run_out_of_time"}
    assert {name for name in vars(Run) if not name.startswith("_")} - named <= of_the_receiver


def test_the_page_has_each_option_with_its_default() -> None:
    table = PAGE.partition("## Options")[2]
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (.+?) \|$", table, re.MULTILINE))
    options = inspect.signature(Receiver.__init__).parameters
    defaults = {"none": None, "`MemorySeen()`": None, "`False`": False, "required": inspect.Parameter.empty}

    assert rows.keys() == options.keys() - {"self"}
    for name, written in rows.items():
        default = defaults[written] if written in defaults else int(written.replace(",", ""))
        assert options[name].default == default, name
