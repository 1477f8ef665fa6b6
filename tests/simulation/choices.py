"""The choices of a run: everything that chance decides, each under a label of its own.

A choice depends on the seed and on its label only, and on no choice made before. So one that is taken away
leaves all others as they were, by which a broken run can be shrunk. The first option is the calm one; any
other is a deviation.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

_WHOLE = float(1 << 64)


class Choices:
    """Chooses by a seed, or, with ``given``, deviates only as told."""

    def __init__(self, seed: int, given: Mapping[str, str] | None = None) -> None:
        self.seed = seed
        self.deviations: dict[str, str] = {}
        self.labels_seen = 0
        self.is_calm = False
        self._given = given
        self._key = seed.to_bytes(8, "big", signed=True)

    def fraction(self, label: str) -> float:
        """A number from 0 to 1 that depends on the seed and the label; it is no deviation."""
        digest = blake2b(label.encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "big") / _WHOLE

    def between(self, label: str, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``; it is no deviation."""
        return low + int(self.fraction(label) * (high - low + 1))

    def one_of[T](self, label: str, options: Sequence[T]) -> T:
        """One of the options, each as likely as the others; it is no deviation."""
        return options[int(self.fraction(label) * len(options))]

    def deviates(self, label: str, options: Sequence[str], likelihood: float) -> str:
        """One of the options, or the empty string, which is the calm choice."""
        self.labels_seen += 1
        if self._given is not None:
            chosen = self._given.get(label, "")
            if chosen not in options:
                return ""
        else:
            if self.is_calm or not likelihood or not options:
                return ""  # whatever the number were
            number = self.fraction(label)
            if number >= likelihood:
                return ""
            chosen = options[int(number / likelihood * len(options))]
        self.deviations[label] = chosen
        return chosen
