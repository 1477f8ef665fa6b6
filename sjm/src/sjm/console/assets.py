"""The style sheets, scripts and icons of the pages, in memory: no page is painted before it has them."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_FOLDER = Path(__file__).parent / "static"
_DIGITS = 12


@dataclass(frozen=True)
class Asset:
    """A file of ``static/``. ``digest`` changes with its content."""

    content: bytes
    compressed: bytes
    media_type: str
    digest: str


@cache
def assets() -> dict[str, Asset]:
    """All files by their path below ``static/``, such as ``vendor/htmx.min.js``. They are read once."""
    return {
        path.relative_to(_FOLDER).as_posix(): _read(path) for path in _FOLDER.rglob("*") if path.is_file()
    }


def static_url(name: str) -> str:
    """The address of a file. It changes with the content, so that browsers may keep the file."""
    asset = assets().get(name)
    return f"/static/{name}?v={asset.digest if asset else 'missing'}"


async def serve(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a request for a file. Raises HTTPException: there is no such file, or the method is another."""
    if scope["method"] not in ("GET", "HEAD"):
        raise HTTPException(405)
    asset = assets().get(scope["path"].removeprefix(scope["root_path"]).removeprefix("/"))
    if asset is None:
        raise HTTPException(404)
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    content = asset.content
    if "gzip" in Headers(scope=scope).get("accept-encoding", ""):
        content = asset.compressed
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    await Response(content, headers=headers, media_type=asset.media_type)(scope, receive, send)


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(
        content,
        gzip.compress(content, mtime=0),
        mimetypes.guess_type(path.name)[0] or "text/plain",
        hashlib.sha256(content).hexdigest()[:_DIGITS],
    )
