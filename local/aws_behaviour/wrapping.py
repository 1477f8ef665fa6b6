"""Wraps functions of the emulator."""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any


def around(owner: ModuleType | type, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a function that replaces `owner.name`. It gets the original as its first argument."""

    def decorate(ours: Callable[..., Any]) -> Callable[..., Any]:
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            return ours(original, *arguments, **named)

        setattr(owner, name, wrapped)
        return ours

    return decorate
