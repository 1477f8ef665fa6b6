"""Forms as browsers send them."""

from collections.abc import Sequence
from urllib.parse import parse_qsl

from starlette.requests import Request

MAX_FIELDS = 1000


class BadForm(ValueError):
    """The body is not a form. The message says why."""


class Form:
    """The fields of a form, in their order. A name may come more than once."""

    def __init__(self, fields: Sequence[tuple[str, str]] = ()) -> None:
        self.fields = list(fields)

    def text(self, name: str, default: str = "") -> str:
        """The first value of a field. Browsers send CRLF for a line break; this has LF."""
        return next((value for key, value in self.fields if key == name), default).replace("\r\n", "\n")

    def texts(self, name: str) -> list[str]:
        """All values of a field."""
        return [value for key, value in self.fields if key == name]

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self.fields)


def parsed(body: bytes) -> Form:
    """Reads an ``application/x-www-form-urlencoded`` body. Raises BadForm."""
    try:
        text = body.decode("ascii")
        return Form(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"))
    except ValueError as error:
        raise BadForm(f"The form cannot be read: expected at most {MAX_FIELDS} fields in UTF-8.") from error


def form_of(request: Request) -> Form:
    """The form of a POST, as the guard read it."""
    form: Form = request.state.form
    return form
