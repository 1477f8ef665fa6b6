"""Problems, pages, and answers that are not the API's."""

from typing import Any

import pytest

from sjm import client
from sjm.client import Listing, Problem, SavedJob, UnexpectedAnswer
from tests.unit.sjm.stand_in import DOCUMENT, Reply, StandIn, example_answer

RESPONSES = {
    f"{name}: {title}": example["value"]
    for name, response in DOCUMENT.content["components"]["responses"].items()
    for title, example in response["content"]
    .get("application/problem+json", {"examples": {}})["examples"]
    .items()
}


@pytest.mark.parametrize("document", RESPONSES.values(), ids=RESPONSES)
def test_each_problem_of_the_document_is_an_exception_that_carries_it(
    server: StandIn, document: dict[str, Any]
) -> None:
    server.replies = [Reply(document["status"], document)] * 9
    with server.manager() as manager, pytest.raises(Problem) as raised:
        manager.get_job("billing", "nightly")

    problem = raised.value
    assert problem.document == document
    assert (problem.status, problem.type) == (document["status"], document["type"])
    assert type(problem) is client.errors.BY_TYPE[document["type"]]
    assert document["detail"] in str(problem)
    assert str(problem).endswith("(GET /services/billing/jobs/nightly)")


def test_the_message_of_a_problem_names_the_fields() -> None:
    document = RESPONSES["BadRequest: bad_field"] | {"more_errors": 2}

    assert str(client.errors.problem_of(400, document, "PUT /x")) == (
        "400 The request does not fit the API: 2 fields are not as expected; /ttl_seconds: expected at least"
        " 10; /retries: unknown field: expected one of schedule, invocation_type; and 2 more errors (PUT /x)"
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, client.Forbidden),
        (404, client.NotFound),
        (429, client.Throttled),
        (500, client.InternalError),
        (503, client.Unavailable),
    ],
)
def test_what_api_gateway_answers_is_a_problem_too(server: StandIn, status: int, kind: type[Problem]) -> None:
    server.replies = [Reply(status, {"message": "So it is"}, content_type="application/json")] * 9
    with server.manager() as manager, pytest.raises(kind, match="So it is") as raised:
        manager.get_job("billing", "nightly")

    assert raised.value.type == "about:blank"
    assert raised.value.document.keys() == {"type", "title", "status", "detail"}


def test_a_problem_of_a_type_to_come_is_known_by_its_status(server: StandIn) -> None:
    document = {"type": "/problems/limit-reached", "title": "T", "status": 409, "detail": "D", "slots": 3}
    server.replies = [Reply(409, document)]
    with server.manager() as manager, pytest.raises(client.Conflict) as raised:
        manager.start_execution("billing", "nightly")

    assert raised.value.document == document


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>no</html>", "text/html"),
        (b"{", "application/problem+json"),
        (b"[]", "application/problem+json"),
        ({"type": 1, "title": None, "detail": []}, "application/problem+json"),
        ({"message": None}, "application/json"),
        (None, None),
        (b"\xff\xfe", "application/json"),
    ],
)
def test_a_refusal_that_cannot_be_read_is_known_by_its_status(
    server: StandIn, body: Any, content_type: str | None
) -> None:
    server.replies = [Reply(404, body, content_type=content_type)]
    with server.manager() as manager, pytest.raises(client.NotFound) as raised:
        manager.get_job("billing", "nightly")

    assert raised.value.document == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "the answer does not say why",
    }


def test_errors_that_are_no_list_are_left_out() -> None:
    document = {"type": "/problems/bad-request", "title": "T", "status": 400, "detail": "D", "errors": "none"}

    assert client.errors.problem_of(400, document, "GET /jobs").errors == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>log in</html>", content_type="text/html"),
        Reply(200, b'{"a": ', content_type="application/json"),
        Reply(200, [], content_type="application/json"),
        Reply(200, None),
        Reply(204),
        Reply(302, b"", {"location": "http://127.0.0.1:1/"}),
    ],
    ids=lambda reply: f"{reply.status} {reply.body!r}",
)
def test_an_answer_that_is_not_the_apis_is_told_apart(server: StandIn, reply: Reply) -> None:
    server.replies = [reply]
    with server.manager() as manager, pytest.raises(UnexpectedAnswer, match="Expected a") as raised:
        manager.get_job("billing", "nightly")

    assert raised.value.status == reply.status
    assert len(server.received) == 1


@pytest.mark.parametrize(
    "body", [{}, {"results": {}, "paging": {}}, {"results": []}, {"results": [], "paging": {"more": 7}}]
)
def test_a_page_without_results_or_paging_is_told_apart(server: StandIn, body: Any) -> None:
    server.replies = [Reply(200, body)]
    with server.manager() as manager, pytest.raises(UnexpectedAnswer, match="a page with results and paging"):
        list(manager.list_jobs())


def page(names: str, more: str | None = None) -> Reply:
    return Reply(
        200, {"results": [{"job_name": name} for name in names], "paging": {"more": more} if more else {}}
    )


def names(listing: Listing[SavedJob]) -> str:
    return "".join(job["job_name"] for job in listing)


def test_a_list_goes_on_through_short_and_empty_pages(server: StandIn) -> None:
    server.replies = [page("ab", "1"), page("", "2"), page("c", "3"), page("")]
    with server.manager() as manager:
        assert names(manager.list_jobs(owner="ann", limit=2)) == "abc"

    assert [dict(each.query) for each in server.received] == [
        {"owner": "ann", "limit": "2"},
        {"owner": "ann", "limit": "2", "more": "1"},
        {"owner": "ann", "limit": "2", "more": "2"},
        {"owner": "ann", "limit": "2", "more": "3"},
    ]


def test_a_search_repeats_its_body_with_more(server: StandIn) -> None:
    server.replies = [page("a", "1"), page("b")]
    with server.manager() as manager:
        assert names(manager.search_jobs({"owner": ["ann"], "more": "0"})) == "ab"

    assert [each.body for each in server.received] == [
        {"owner": ["ann"], "more": "0"},
        {"owner": ["ann"], "more": "1"},
    ]


def test_a_page_is_asked_for_when_it_is_needed(server: StandIn) -> None:
    server.replies = [page("ab", "1"), page("c")]
    with server.manager() as manager:
        jobs = iter(manager.list_jobs())
        assert server.received == []
        assert [next(jobs)["job_name"], next(jobs)["job_name"]] == ["a", "b"]
        assert len(server.received) == 1
        assert next(jobs)["job_name"] == "c"


def test_a_page_can_be_read_alone_and_the_list_continued_later(server: StandIn) -> None:
    server.replies = [page("ab", "1"), page("c")]
    with server.manager() as manager:
        first = next(manager.list_jobs().pages())
        assert names(manager.list_jobs(more=first["paging"]["more"])) == "c"


def test_a_listing_can_be_read_again(server: StandIn) -> None:
    server.replies = [page("a"), page("b")]
    with server.manager() as manager:
        jobs = manager.list_jobs()
        assert names(jobs) + names(jobs) == "ab"


def test_a_list_that_leads_in_a_circle_ends(server: StandIn) -> None:
    server.replies = [page("a", "1"), page("b", "1"), page("b", "1")]
    with server.manager() as manager, pytest.raises(UnexpectedAnswer, match="same page again"):
        names(manager.list_jobs())
    assert len(server.received) == 2


def test_a_failure_in_the_middle_of_a_list_is_raised_after_what_came(server: StandIn) -> None:
    server.replies = [page("a", "1"), Reply(400, RESPONSES["BadRequest: bad_field"])]
    found = []
    with server.manager() as manager, pytest.raises(client.BadRequest):
        for job in manager.list_jobs():
            found.append(job["job_name"])
    assert found == ["a"]


def test_connections_are_reused_and_closed(server: StandIn) -> None:
    with server.manager() as manager:
        for _ in range(3):
            assert manager.get_job("billing", "nightly") == example_answer("get_job")
    manager.get_job("billing", "nightly")  # a closed Manager opens new connections
    manager.close()
    assert len({each.port for each in server.received}) == 2
