"""A payload that is as large and as strange as a payload may be."""

from sjm.rehearsal.judgement import BE_NOTIFIED, answer_of, not_worked
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict, passed

MAX_BYTES = 32 * 1024
_ODD = (
    "".join(map(chr, range(32)))  # all control characters
    + "\x7f\x85\xa0"
    + "\"'`\\{}[]<>&%$#;|\r\n</script><!--{{}}${x}%s%00"  # lone quotes, and what other languages obey
    + "a\u0301\u0323\u200b\u200d\ufeff\u2028\u2029\ufffd\ufffe\uffff"  # what is not seen, or joins
    # Right to left, emoji of several code points, and beyond 16 bits.
    + "\u202egnp.exe\u202c\u2067\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627\u2069"
    + "\U0001f469\u200d\U0001f469\u200d\U0001f467\U0001f1fa\U0001f1f3\U00020000\U0010ffff"
    + "\ufdfa\u0130\u0131\xdf\u01c5\ufb03"  # grow or change with their case
)


def odd_text() -> str:
    """A text of exactly 32 KiB of UTF-8."""
    times = MAX_BYTES // len(_ODD.encode())
    text = _ODD * times
    return text + "~" * (MAX_BYTES - len(text.encode()))


class OddPayload(Scene):
    """The job may fail with it. The receiver has to take it, and to say so."""

    name = "odd-payload"
    about = "a payload of 32 KiB of odd characters"
    link = BE_NOTIFIED
    for_sync = True

    def play(self, manager: PlayedManager) -> Seen:
        """Runs the job."""
        execution = manager.execution(payload=odd_text())
        execution.run()
        return execution.seen()

    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Wants 2xx, and a success or a failure."""
        delivery = seen.deliveries[0]
        if not seen.is_async and delivery.status is not None and 400 <= delivery.status < 500:
            return passed(f"{answer_of(delivery)}: the job failed with it")
        fix = (
            "Take bodies of at least 256 KiB, verify and parse them as UTF-8 without changing a character,"
            " and call back fail if the job cannot work with its payload."
        )
        if wrong := not_worked(seen, waits, fix):
            return wrong
        result = seen.result_of(1)
        ended = f", and called back {result.body['status']}" if result else ""
        return passed(f"{answer_of(delivery)}{ended}")
