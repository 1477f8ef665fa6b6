"""What a scene showed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

State = Literal["passed", "failed", "not tried"]


@dataclass(frozen=True)
class Verdict:
    """Whether the receiver did well. ``fixes`` says what to change, a sentence each."""

    state: State
    seen: str
    fixes: Sequence[str] = field(default=())


def passed(seen: str) -> Verdict:
    """The receiver did well."""
    return Verdict("passed", seen)


def failed(seen: str, *fixes: str) -> Verdict:
    """The receiver did something wrong. Say what to change."""
    return Verdict("failed", seen, fixes)


def not_tried(why: str, *fixes: str) -> Verdict:
    """Nobody knows. Say what is missing."""
    return Verdict("not tried", why, fixes)


@dataclass(frozen=True)
class Result:
    """The verdict about one scene. ``link`` is the section of the documentation with the rule."""

    scene: str
    about: str
    link: str
    verdict: Verdict

    def document(self) -> dict[str, Any]:
        """The result for programs."""
        return {
            "scene": self.scene,
            "about": self.about,
            "verdict": self.verdict.state,
            "seen": self.verdict.seen,
            "fixes": list(self.verdict.fixes),
            "link": self.link,
        }

    def lines(self) -> list[str]:
        """The result for people: what was seen, and if it failed what to change and where to read."""
        first = f"{self.verdict.state:<9}  {self.scene:<14}  {self.verdict.seen}"
        link = [self.link] if self.verdict.state == "failed" else []
        return [first, *(f"{'':27}→ {fix}" for fix in (*self.verdict.fixes, *link))]

    def assert_passed(self) -> None:
        """Raises AssertionError if it failed, with what to change."""
        __tracebackhide__ = True  # pytest then shows the line of the test
        if self.verdict.state == "failed":
            raise AssertionError("\n".join(self.lines()))


@dataclass(frozen=True)
class ReportCard:
    """The results of a rehearsal."""

    HEADER: ClassVar[str] = f"{'VERDICT':<9}  {'SCENE':<14}  SEEN, AND WHAT TO DO"

    url: str
    results: Sequence[Result]

    def __getitem__(self, scene: str) -> Result:
        """The result of a scene by its name; raises KeyError if it was left out."""
        for result in self.results:
            if result.scene == scene:
                return result
        raise KeyError(scene)

    @property
    def failures(self) -> list[Result]:
        """The results that failed."""
        return [each for each in self.results if each.verdict.state == "failed"]

    @property
    def summary(self) -> str:
        """How many scenes passed, failed and were not tried."""
        counts = [
            (sum(each.verdict.state == state for each in self.results), state)
            for state in ("passed", "failed", "not tried")
        ]
        return ", ".join(f"{count} {state}" for count, state in counts if count or state == "passed")

    def assert_passed(self) -> None:
        """Raises AssertionError with what failed, and what to change."""
        __tracebackhide__ = True
        if self.failures:
            lines = [line for each in self.failures for line in each.lines()]
            raise AssertionError("\n".join([f"{self.url}: {self.summary}", *lines]))
