"""An execution that takes the place of a running one, as a job with ``overlap`` ``cancel_running`` has it."""

from dataclasses import replace

from sjm.rehearsal.answers import always_gone
from sjm.rehearsal.judgement import GOOD_SERVICE, answer_of, no_result, untaken
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict, failed, passed

_FIRST, _SECOND = 0, 1


class Replaced(Scene):
    """The receiver does not know yet that one execution is over, when another one comes."""

    name = "replaced"
    about = "another execution while one runs, whose callbacks get 410"
    link = GOOD_SERVICE
    needs_lock = True

    def play(self, manager: PlayedManager) -> Seen:
        """Begins an execution, and runs another one, which has a higher fencing token."""
        first = manager.execution(always_gone, manager.settings.long_payload)
        second = manager.execution()
        if first.deliver(first.notification()).is_taken and second.run():
            first.wait_for_callback()
        of_first, of_second = first.seen(), second.seen()
        callbacks = [replace(each, url=_FIRST) for each in of_first.callbacks]
        callbacks += [replace(each, url=_SECOND) for each in of_second.callbacks]
        deliveries = (*of_first.deliveries, *of_second.deliveries)
        return replace(of_second, deliveries=deliveries, callbacks=tuple(callbacks))

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants the work of the new one. The scene ``stop`` judges what becomes of the other one."""
        if wrong := untaken(seen.deliveries[0]):
            return wrong
        taken = seen.deliveries[1]
        fix = (
            "Take a new execution also while one runs: the manager has cancelled that one, so stop it on 410."
        )
        if wrong := untaken(taken, fix):
            return wrong
        of_new = replace(
            seen,
            deliveries=seen.deliveries[1:],
            callbacks=[each for each in seen.callbacks if each.url == _SECOND],
        )
        if of_new.result_of(1) is None:
            wrong = no_result(of_new, waits)
            return failed(f"the new execution: {wrong.seen}", fix, *wrong.fixes)
        stopped = any(each.url == _FIRST for each in seen.callbacks)
        of_first = ", and the other one got 410" if stopped else ""
        return passed(f"the new execution: {answer_of(taken)}, and it worked{of_first}")
