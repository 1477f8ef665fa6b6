"""Scripts of others are taken from the registry by their hash, once, and nothing else is written."""

import base64
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tools import console_assets
from tools.console_assets import Asset, AssetError, Package, pinned, put_in_place

SCRIPT, LICENCE = b"htmx()", b"Zero-Clause BSD"


def archive(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as packed:
        for name, content in {"package/dist/other.js": b"other()", **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return stream.getvalue()


CONTENT = archive(**{"package/dist/htmx.min.js": SCRIPT, "package/LICENSE": LICENCE})


class Registry(ThreadingHTTPServer):
    """A registry of npm on this machine."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.content = CONTENT
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(registry.content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def environment(self) -> dict[str, str]:
        return {"npm_config_registry": f"http://127.0.0.1:{self.server_address[1]}/npm/"}


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def package(directory: Path, content: bytes = CONTENT, script: bytes = SCRIPT) -> Package:
    files = {"dist/htmx.min.js": script, "LICENSE": LICENCE}
    assets = tuple(
        Asset(source, directory / "vendor" / Path(source).name, hashlib.sha256(data).hexdigest())
        for source, data in files.items()
    )
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    return Package("htmx.org", "2.0.0", integrity, assets)


def written(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_only_the_named_files_are_written_and_only_once(registry: Registry, tmp_path: Path) -> None:
    wanted = package(tmp_path)

    assert [path.name for path in put_in_place(wanted, registry.environment)] == ["htmx.min.js", "LICENSE"]
    assert written(tmp_path) == {"htmx.min.js": SCRIPT, "LICENSE": LICENCE}
    assert put_in_place(wanted, registry.environment) == []
    assert registry.asked == ["/npm/htmx.org/-/htmx.org-2.0.0.tgz"]


def test_a_file_that_differs_is_replaced(registry: Registry, tmp_path: Path) -> None:
    wanted = package(tmp_path)
    put_in_place(wanted, registry.environment)
    (tmp_path / "vendor" / "htmx.min.js").write_bytes(b"changed")

    assert [path.name for path in put_in_place(wanted, registry.environment)] == ["htmx.min.js"]
    assert written(tmp_path)["htmx.min.js"] == SCRIPT


@pytest.mark.parametrize(
    ("content", "script", "said"),
    [
        (CONTENT + b"x", SCRIPT, "expects sha512-"),
        (archive(), SCRIPT, "has no file dist/htmx.min.js"),
        (CONTENT, b"of before", "another hash"),
    ],
    ids=["another package", "a package without the file", "another file"],  # each process packs its own
)
def test_what_is_not_as_pinned_is_refused(
    registry: Registry, tmp_path: Path, content: bytes, script: bytes, said: str
) -> None:
    registry.content = content
    pinned_content = CONTENT if content == CONTENT + b"x" else content

    with pytest.raises(AssetError, match=said):
        put_in_place(package(tmp_path, pinned_content, script), registry.environment)
    assert written(tmp_path) == {}


def test_without_a_network_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="Connect to the network once, or set npm_config_registry"):
        put_in_place(package(tmp_path), {"npm_config_registry": "http://127.0.0.1:9"})
    with pytest.raises(AssetError, match="Expected the https URL"):
        put_in_place(package(tmp_path), {"npm_config_registry": "file:///etc"})


@pytest.mark.parametrize("group", [console_assets.CONSOLE, console_assets.TESTS])
def test_the_pins_name_a_licence_and_the_public_registry(group: str) -> None:
    wanted = pinned(group)

    assert {"LICENSE"} < {asset.source for asset in wanted.assets}
    assert wanted.integrity.startswith("sha512-") and len(base64.b64decode(wanted.integrity[7:])) == 64
    assert wanted.url("https://registry.npmjs.org/").endswith(f"/{wanted.name}-{wanted.version}.tgz")
