"""The keys of one start of the console: what opens it, and what its pages act with."""

import hmac
import secrets


class Access:
    """The keys of one start. All are random, and live as long as the process.

    The entry key stands in the URL that the command prints, and works once: whoever opens it gets the session
    key as a cookie. The form key stands in each form, so that no other page can make the browser act.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.entry_key = secrets.token_urlsafe(32)
        self.session_key = secrets.token_urlsafe(32)
        self.form_key = secrets.token_urlsafe(32)
        self._is_entered = False

    @property
    def url(self) -> str:
        """The address that opens the console, once."""
        return f"{self.origin}/?key={self.entry_key}"

    @property
    def origin(self) -> str:
        """The address of the console, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def hosts(self) -> frozenset[str]:
        """The Host headers under which the console answers. Any other one is another site's name for it."""
        return frozenset({f"127.0.0.1:{self.port}", f"localhost:{self.port}"})

    @property
    def cookie_name(self) -> str:
        """Browsers do not keep the cookies of ports apart, so the name does."""
        return f"sjm-console-{self.port}"

    def enter(self, key: str) -> bool:
        """Whether the key opens the console. A key that did so does not do so again."""
        if self._is_entered or not _same(key, self.entry_key):
            return False
        self._is_entered = True
        return True

    def is_session(self, key: str) -> bool:
        """Whether a cookie's value is the session key."""
        return _same(key, self.session_key)

    def is_form(self, key: str) -> bool:
        """Whether a form came from a page of this console."""
        return _same(key, self.form_key)


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
