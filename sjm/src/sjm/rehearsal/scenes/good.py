"""A run without any trouble."""

from sjm.rehearsal.judgement import GOOD_SERVICE, refused_callback, span, two_results, unfinished, untaken
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict, failed, passed

_MAX_ERROR_CHARACTERS = 200


class Good(Scene):
    """The other scenes are played only if this one passes."""

    name = "good"
    about = "a webhook, the work, one result"
    link = GOOD_SERVICE

    def play(self, manager: PlayedManager) -> Seen:
        """Runs the job, and looks for further results."""
        execution = manager.execution()
        if execution.run():
            manager.remember(execution)
            manager.watch(execution)
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants one success, and no callback that the manager refuses."""
        if wrong := untaken(seen.deliveries[0]) or unfinished(seen, waits) or refused_callback(seen):
            return wrong
        result = seen.result_of(1)
        assert result is not None
        if result.body["status"] == "fail":
            error = str(result.body.get("error", result.body.get("summary", "")))
            return failed(
                f"the job called back fail: {error[:_MAX_ERROR_CHARACTERS]}",
                "Give the job with --service, --job and --payload what it needs for a success.",
            )
        if wrong := two_results(seen):
            return wrong
        delivery = seen.deliveries[0]
        took = span(result.at - delivery.at)
        return passed(f"answered {delivery.status} after {span(delivery.seconds)}, success after {took}")
