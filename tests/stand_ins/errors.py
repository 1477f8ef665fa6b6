"""The errors of AWS's clients, as botocore raises them."""

from functools import cache
from typing import Any

from botocore.exceptions import ClientError


class Unsupported(BaseException):
    """The stand-in does not know this: teach it. Not an Exception, so that no code under test catches it."""


class ByName:
    """``client.exceptions``: a class for each code."""

    def __getattr__(self, code: str) -> type[ClientError]:
        return error_class(code)


@cache
def error_class(code: str) -> type[ClientError]:
    """One class for each code, for all clients."""
    return type(code, (ClientError,), {})


def client_error(code: str, message: str, operation: str = "", **more: Any) -> ClientError:
    """An error that a service answers."""
    response: Any = {"Error": {"Code": code, "Message": message}, **more}
    return error_class(code)(response, operation)
