"""A job that works for longer than the receiver may be silent."""

from itertools import pairwise

from sjm.rehearsal.judgement import GOOD_SERVICE, counted, span, unfinished, untaken
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict, failed, not_tried, passed

# A heartbeat of another thread may be on its way when the result comes.
_ON_THEIR_WAY = 1


class Heartbeats(Scene):
    """It uses the long payload, if there is one."""

    name = "heartbeats"
    about = "heartbeats within heartbeat_interval_seconds"
    link = GOOD_SERVICE

    def play(self, manager: PlayedManager) -> Seen:
        """Runs the job, and looks for heartbeats after its end."""
        execution = manager.execution(payload=manager.settings.long_payload)
        if execution.run():
            manager.watch(execution, is_long=True)
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants no silence longer than ``heartbeat_interval_seconds``, and silence after the result."""
        if wrong := untaken(seen.deliveries[0]):
            return wrong
        limit, began = waits.heartbeat_seconds, seen.deliveries[0].at
        result = seen.result_of(1)
        until = result.at if result else seen.until
        times = [began, *(each.at for each in seen.callbacks if each.at <= until), until]
        longest = max(later - earlier for earlier, later in pairwise(times))
        if longest > limit:
            return failed(
                f"no callback for {span(longest)}, and heartbeat_interval_seconds was {limit}",
                "Send a heartbeat after half of the notification's heartbeat_interval_seconds, from a thread"
                " or a timer, for as long as the job works.",
            )
        if wrong := unfinished(seen, waits):
            return wrong
        late = sum(each.at > until and not each.is_result for each in seen.callbacks)
        if late > _ON_THEIR_WAY:
            return failed(
                f"{counted(late, 'heartbeat')} after the result",
                "End the heartbeats of an attempt before you report its result.",
            )
        if until - began <= limit:
            return not_tried(
                f"the job was done after {span(until - began)}, and a heartbeat is due after {limit} s",
                f"Pass --long-payload: one with which the job works for more than {limit} s.",
            )
        beats = sum(not each.is_result for each in seen.callbacks) - late
        return passed(
            f"{counted(beats, 'heartbeat')} in {span(until - began)}, at most {span(longest)} apart"
        )
