"""A further attempt of the same execution, as a job with ``retry`` has it."""

from sjm.rehearsal.judgement import ATTEMPTS, answer_of, no_result, unfinished, untaken
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict, failed, passed


class SecondAttempt(Scene):
    """It has the same ``execution_id``, another ``attempt``, and another ``callback_url``."""

    name = "second-attempt"
    about = "attempt 2 of an execution"
    link = ATTEMPTS

    def play(self, manager: PlayedManager) -> Seen:
        """Runs both attempts."""
        execution = manager.execution()
        if execution.run():
            execution.run(execution.notification(2))
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants work for attempt 2, and its result at its own URL."""
        if wrong := untaken(seen.deliveries[0]) or unfinished(seen, waits):
            return wrong
        again = seen.deliveries[1]
        if wrong := untaken(again, "Answer attempt 2 with 2xx: it is no duplicate of attempt 1."):
            return wrong
        if seen.result_of(2):
            return passed(f"attempt 2: {answer_of(again)}, and it worked")
        if any(each.attempt == 1 and each.at > again.at for each in seen.callbacks):
            return failed(
                "the result of attempt 2 came to the callback_url of attempt 1",
                "Keep `callback_url` with each attempt. The URL of an attempt that has ended answers 410.",
            )
        fix = "Drop duplicates by `execution_id` and `attempt` together, not by `execution_id` alone."
        return failed(f"attempt 2: {no_result(seen, waits, attempt=2).seen}", fix)
