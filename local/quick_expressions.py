"""Lets the emulator parse each DynamoDB expression once, and not once for each item that it looks at."""

from functools import lru_cache

from ministack.services import dynamodb

_DIFFERENT_EXPRESSIONS = 2000


def apply() -> None:
    """Call this before the emulator serves."""
    # Both depend only on the expression's text, and nobody changes the list of tokens.
    for name in ("_tokenize", "_condition_syntax_error"):
        setattr(dynamodb, name, lru_cache(_DIFFERENT_EXPRESSIONS)(getattr(dynamodb, name)))
