"""Puts a function of ours around one of the emulator's."""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any


def around(owner: ModuleType | type, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates what takes the place of `owner.name`, and gets the original as its first argument."""

    def decorate(ours: Callable[..., Any]) -> Callable[..., Any]:
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            return ours(original, *arguments, **named)

        setattr(owner, name, wrapped)
        return ours

    return decorate
