import subprocess
import sys
from pathlib import Path

import pytest
import typing_extensions

from tools.bytecode import compiled, name_of_compiled

SOURCE = b'''
"""A module."""
NAMES = frozenset({"one", "two", "three", "four"})
def greet(name, *, politely=False):
    return f"hello {name}" if not politely else ("good day", name, 1.5, 10**20, b"bytes")
'''
PRINTS_THE_PYC = """
import sys
{}
from tools.bytecode import compiled
sys.stdout.buffer.write(compiled("package/module.py", sys.stdin.buffer.read()))
"""


def compiled_elsewhere(source: bytes, seed: str, first: str = "") -> bytes:
    command = [sys.executable, "-c", PRINTS_THE_PYC.format(first)]
    environment = {"PYTHONHASHSEED": seed}
    done = subprocess.run(command, input=source, env=environment, capture_output=True, check=True)
    return done.stdout


def test_python_imports_the_compiled_form_unless_another_python_made_it(tmp_path: Path) -> None:
    module = tmp_path / "greeting.py"
    pyc = tmp_path / name_of_compiled("greeting.py")
    pyc.parent.mkdir()
    pyc.write_bytes(compiled("greeting.py", b"WORD = 'compiled'"))
    module.write_text("WORD = 'source'")

    def imported() -> str:
        command = [sys.executable, "-c", "import greeting; print(greeting.WORD)"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert imported() == "compiled"

    pyc.write_bytes(b"\0\0\r\n" + pyc.read_bytes()[4:])  # the magic number of another Python

    assert imported() == "source"


def test_a_traceback_shows_the_source(tmp_path: Path) -> None:
    source = b"def handler():\n    raise ValueError('no')  # here\n"
    (tmp_path / "handler.py").write_bytes(source)
    pyc = tmp_path / name_of_compiled("handler.py")
    pyc.parent.mkdir()
    pyc.write_bytes(compiled("handler.py", source))

    command = [sys.executable, "-c", "import handler; handler.handler()"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert f'{tmp_path / "handler.py"}", line 2' in done.stderr
    assert "# here" in done.stderr


@pytest.mark.parametrize(
    "source", [SOURCE, Path(typing_extensions.__file__).read_bytes()], ids=["short", "long"]
)
def test_equal_sources_give_equal_bytes_in_every_process(source: bytes) -> None:
    alone = compiled_elsewhere(source, "1")

    assert compiled_elsewhere(source, "2", "import asyncio, boto3, typing, importlib.util") == alone


def test_a_compiled_module_has_the_name_that_python_looks_for() -> None:
    tag = sys.implementation.cache_tag
    assert name_of_compiled("handler.py") == f"__pycache__/handler.{tag}.pyc"
    assert name_of_compiled("a/b/__init__.py") == f"a/b/__pycache__/__init__.{tag}.pyc"


def test_source_that_does_not_compile_is_an_error_with_the_files_name() -> None:
    with pytest.raises(SyntaxError, match=r"handler\.py"):
        compiled("handler.py", b"def")
