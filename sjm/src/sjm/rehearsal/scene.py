"""What every scene has."""

from abc import ABC, abstractmethod
from typing import ClassVar

from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.observed import Seen
from sjm.rehearsal.settings import Waits
from sjm.rehearsal.verdict import Verdict


class Scene(ABC):
    """Something that happens between the manager and a receiver.

    ``about`` says in words what happens. ``link`` is the section of the documentation that has the rule. One
    that ``needs_lock`` is only for jobs with a lock.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    link: ClassVar[str]
    needs_secret: ClassVar[bool] = False
    needs_lock: ClassVar[bool] = False
    for_async: ClassVar[bool] = True
    for_sync: ClassVar[bool] = False

    @abstractmethod
    def play(self, manager: PlayedManager) -> Seen:
        """Lets it happen, and returns what was seen."""

    @abstractmethod
    def judge(self, seen: Seen, waits: Waits) -> Verdict:
        """Says whether the receiver did well."""
