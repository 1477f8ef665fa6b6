"""How much slower this process runs than it would alone with a processor and Python's lock.

A fixed piece of work always takes the same CPU time. It takes more time by the clock if it has to wait.
Slowness is the quotient: 1 on a quiet machine, 2 beside as much other work.
"""

import threading
import time
from collections.abc import Callable

LOOPS = 200_000
SECONDS_BETWEEN_LOOKS = 0.5
WEIGHT_OF_A_LOOK = 0.25
MOST = 20.0


def measured() -> float:
    """Works for about 5 ms. Returns the slowness, which is 1 or more."""
    began, cpu_began = time.perf_counter(), time.thread_time()
    for _ in range(LOOPS):
        pass
    cpu = time.thread_time() - cpu_began
    return max(1.0, (time.perf_counter() - began) / max(cpu, 1e-6))


class PatientClock:
    """A clock in seconds that runs slower if this process does, and stops while the process cannot run.

    Use it for limits that suit a quiet machine. It looks at the machine's speed when it is asked for the
    time, or in a thread of its own after ``start``. Ask often while you wait.
    """

    def __init__(
        self, look: Callable[[], float] = measured, time_of: Callable[[], float] = time.monotonic
    ) -> None:
        self._look, self._time_of = look, time_of
        self._seconds = 0.0
        self._looked_at = time_of()
        self._lock = threading.Lock()
        self._looks_by_itself = False
        self.slowness = 1.0

    def start(self) -> "PatientClock":
        """Measures the slowness from now on in a thread."""
        self._looks_by_itself = True
        threading.Thread(target=self._look_forever, name="patient-clock", daemon=True).start()
        return self

    def now(self) -> float:
        """Seconds since an arbitrary time."""
        self.look_if_due()
        with self._lock:
            return self._seconds + self._since_last_look()

    def look_if_due(self) -> None:
        """Measures the slowness, unless that was done recently."""
        if not self._looks_by_itself and self._time_of() - self._looked_at >= SECONDS_BETWEEN_LOOKS:
            self.look()

    def waited(self, seconds: float, is_over: Callable[[float], object]) -> bool:
        """Whether it is over within that time. ``is_over`` waits up to the seconds that it is given."""
        deadline = self.now() + seconds
        while (left := deadline - self.now()) > 0:
            if is_over(min(left, SECONDS_BETWEEN_LOOKS)):
                return True
        return bool(is_over(0))

    def look(self) -> None:
        """Measures the slowness."""
        found = min(self._look(), MOST)
        with self._lock:
            self._seconds += self._since_last_look()
            self._looked_at = self._time_of()
            self.slowness += WEIGHT_OF_A_LOOK * (found - self.slowness)

    def _since_last_look(self) -> float:
        # If the next measurement is overdue, this process could not run.
        return min(self._time_of() - self._looked_at, 2 * SECONDS_BETWEEN_LOOKS) / self.slowness

    def _look_forever(self) -> None:
        while True:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            self.look()


def wait_for(changed: threading.Condition, condition: Callable[[], bool], seconds: float) -> bool:
    """Like Condition.wait_for, with a time limit that a slow machine extends."""
    return PatientClock().waited(seconds, lambda left: changed.wait_for(condition, left))
