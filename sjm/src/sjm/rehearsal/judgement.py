"""Judges what several scenes have in common. A function returns None if it finds nothing wrong."""

from collections.abc import Sequence
from itertools import pairwise

from sjm.rehearsal.observed import Callback, Delivery, Seen
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict, failed, passed

SIGNATURES = "docs/api.md#signatures"
BE_NOTIFIED = "docs/api.md#be-notified"
CALL_BACK = "docs/api.md#call-back"
SYNC_JOBS = "docs/api.md#sync-jobs"
ATTEMPTS = "docs/api.md#retries"
ANSWERS = "docs/integrate.md#calling-back-from-a-shell"
GOOD_SERVICE = "docs/integrate.md#rules-for-a-good-service"

_REMEMBER = (
    "Note `execution_id` and `attempt` before you work, in one step that fails if they are there already."
    " Answer a duplicate with 2xx, and do nothing."
)


def answer_of(delivery: Delivery) -> str:
    """The answer to a webhook in words."""
    if delivery.trouble:
        return delivery.trouble
    if delivery.status is None:
        return "its answer was lost"
    return f"answered {delivery.status} after {span(delivery.seconds)}"


def span(seconds: float) -> str:
    """A duration, such as ``12 ms`` or ``3.4 s``."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def counted(count: int, what: str) -> str:
    """A count with its noun: ``1 result``, ``3 results``."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def untaken(delivery: Delivery, fix: str = "") -> Verdict | None:
    """Whether the receiver refused a webhook that it should have taken."""
    return None if delivery.is_taken else refusal(delivery, fix)


def refusal(delivery: Delivery, fix: str = "") -> Verdict:
    """The receiver refused a webhook that it should have taken. ``fix`` says why, if it is known."""
    if delivery.is_busy:
        return failed(
            answer_of(delivery),
            "It is busy, although it was notified again and again. Let it work on more at once, or begin the"
            " rehearsal while it has nothing else to do.",
        )
    if delivery.status is None and delivery.trouble:
        default = "Let it listen at this URL, and answer within 10 seconds, before it works."
    elif delivery.status in (401, 403):
        default = (
            "Rehearse with the receiver's secret, in WEBHOOK_SECRET, and verify the bytes of the body as they"
            " came."
        )
    elif delivery.status == 404:
        default = "Check the path of the URL, and give --service and --job the names that the receiver knows."
    else:
        default = "Answer 2xx: the manager takes any other answer as a refusal, or sends the webhook again."
    return failed(answer_of(delivery), fix or default)


def unfinished(seen: Seen, waits: Waits, attempt: int = 1) -> Verdict | None:
    """Whether no result of an attempt was accepted."""
    return None if not seen.is_async or seen.result_of(attempt) else no_result(seen, waits, attempt)


def no_result(seen: Seen, waits: Waits, attempt: int = 1) -> Verdict:
    """No result of an attempt was accepted."""
    of_attempt = [each for each in seen.callbacks if each.attempt == attempt]
    if refused := _refused(of_attempt):
        return refused
    if not of_attempt:
        return failed(
            f"{answer_of(seen.deliveries[-1])}, and no callback came for {waits.ttl_seconds} s",
            "POST the result to `callback_url` when the job is done, also if it failed.",
            "If the job takes longer, send heartbeats, or rehearse it with a smaller --payload"
            " or a larger --timeout.",
        )
    if any(each.is_result for each in of_attempt):
        return failed(
            f"the result got {_statuses(of_attempt)}, and was not sent again for {waits.ttl_seconds} s",
            "Repeat a result after 429, 5xx and no answer, with growing pauses, until it is answered.",
        )
    if seen.until - of_attempt[-1].at < waits.ttl_seconds:
        return failed(
            f"{counted(len(of_attempt), 'heartbeat')}, and no result within {waits.longest_seconds:g} s",
            "Rehearse the job with a --payload with which it takes less time, or with a larger --timeout.",
        )
    return failed(
        f"{counted(len(of_attempt), 'heartbeat')}, then silence for {waits.ttl_seconds} s",
        "POST the result to `callback_url` when the job is done, also if it failed.",
    )


def refused_callback(seen: Seen) -> Verdict | None:
    """Whether the manager refused a callback, because its body is wrong."""
    return _refused(seen.callbacks)


def not_worked(seen: Seen, waits: Waits, fix: str) -> Verdict | None:
    """Whether the receiver refused a good webhook, or did not finish its work. ``fix`` is for that."""
    delivery = seen.deliveries[0]
    if refused := untaken(delivery, "" if delivery.trouble else fix):
        return refused
    if delivery.body_error:
        return unread_answer(delivery)
    if wrong := unfinished(seen, waits):
        return failed(wrong.seen, fix, *wrong.fixes)
    return None


def unread_answer(delivery: Delivery) -> Verdict:
    """The answer of a sync job's service cannot be read."""
    return failed(
        f"{answer_of(delivery)}, and the answer cannot be read: {delivery.body_error}",
        'Answer `{"state": "…", "summary": "…"}` as JSON in UTF-8: at most 64 KiB and 1 KiB, or no body.',
    )


def rejected(seen: Seen, what: str, fix: str) -> Verdict:
    """Whether a webhook that nobody may trust was rejected, and led to no work."""
    delivery = seen.deliveries[0]
    if seen.callbacks:
        return failed(
            f"it worked: {answer_of(delivery)}, and {counted(len(seen.callbacks), 'callback')} came", fix
        )
    if delivery.is_taken:
        return failed(f"{answer_of(delivery)} to {what}", fix)
    if delivery.status is None or not 400 <= delivery.status < 500:
        return failed(
            f"{answer_of(delivery)}, where 401 was expected",
            "Answer 401. The manager repeats a webhook after 5xx and after silence.",
        )
    return passed(f"{answer_of(delivery)}, and did no work")


def worked_twice(seen: Seen) -> Verdict | None:
    """Whether notifications with the same execution and attempt led to work more than once.

    Each of them has its own callback_url, and who works once uses only one.
    """
    urls = {each.url for each in seen.callbacks}
    if len(urls) > 1:
        return failed(f"it worked {len(urls)} times: callbacks came to {len(urls)} URLs", _REMEMBER)
    return two_results(seen)


def two_results(seen: Seen) -> Verdict | None:
    """Whether a result came again after it was accepted."""
    results = seen.results
    accepted = next((at for at, each in enumerate(results) if each.is_accepted), len(results))
    if len(results) > accepted + 1:
        return failed(f"{counted(len(results) - accepted, 'result')} of one attempt", _REMEMBER)
    return None


def called_after(seen: Seen, moment: float) -> Verdict | None:
    """Whether a callback came after a duplicate, when all was done."""
    late = [each for each in seen.callbacks if each.at > moment]
    if not late:
        return None
    return failed(f"it worked again: {counted(len(late), 'callback')} came after the duplicate", _REMEMBER)


def refused_duplicate(delivery: Delivery, may_be_busy: bool = False) -> Verdict | None:
    """Whether a duplicate got an answer that would fail the run."""
    if delivery.is_taken or (may_be_busy and delivery.is_busy):
        return None
    return failed(
        f"the duplicate: {answer_of(delivery)}",
        "Answer a duplicate with 2xx: the manager may have lost your first answer, and takes a refusal as a"
        " failure.",
    )


def repeated(seen: Seen, waits: Waits) -> Verdict:
    """Whether a result was repeated until it was answered."""
    if wrong := untaken(seen.deliveries[0]) or unfinished(seen, waits):
        return wrong
    results = seen.results
    before = [each for each in results if not each.is_accepted]
    pauses = [later.at - earlier.answered_at for earlier, later in pairwise(results)]
    after = ", ".join(span(each) for each in pauses[: len(before)])
    return passed(f"the result got {_statuses(before)}, and came again after {after}")


def _refused(callbacks: Sequence[Callback]) -> Verdict | None:
    for each in callbacks:
        if each.refusal:
            what = "a result" if each.is_result else "a callback"
            return failed(
                f"{what} was refused with {each.status}: {each.refusal}",
                "Send the fields that the API knows, as JSON with Content-Type: application/json.",
            )
    return None


def _statuses(callbacks: Sequence[Callback]) -> str:
    """The answers to results in words, such as ``500 twice``."""
    of_results = [each.status for each in callbacks if each.is_result]
    named = "no answer" if of_results[0] is None else str(of_results[0])
    return named if len(of_results) == 1 else f"{named} {len(of_results)} times"
