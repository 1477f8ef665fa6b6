"""What an examination finds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

State = Literal["ok", "warning", "wrong", "not looked at"]
T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``advice`` says what to do, a sentence or a command each."""

    check: str
    state: State
    detail: str
    advice: Sequence[str] = field(default=())

    def document(self) -> dict[str, Any]:
        """The finding for programs."""
        return {
            "check": self.check,
            "state": self.state,
            "detail": self.detail,
            "advice": list(self.advice),
        }


@dataclass(frozen=True)
class Unknown:
    """A fact that could not be had, and why."""

    why: str


@dataclass(frozen=True)
class Some(Generic[T]):
    """Things of a stage, perhaps only the first ones."""

    found: Sequence[T]
    is_complete: bool = True

    def at_least(self) -> str:
        """``at least `` if there may be more."""
        return "" if self.is_complete else "at least "


def counted(count: int, what: str, plural: str | None = None) -> str:
    """A count with its noun: ``1 rule``, ``3 rules``."""
    return f"{count:,} {what if count == 1 else plural or f'{what}s'}"
