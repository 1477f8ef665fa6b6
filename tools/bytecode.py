"""Compiles modules so that Python imports them without compiling, and equal sources to equal bytes.

The pyc is hash-based and unchecked (PEP 552): Python takes it as it is, whatever times unpacking gave the
files. A Python of another magic number ignores it and compiles the source, which is always beside it.
"""

import importlib.util
import marshal
import sys
import warnings
from functools import cache
from pathlib import PurePosixPath

CACHE_TAG = sys.implementation.cache_tag

_UNCHECKED_HASH = (0b01).to_bytes(4, "little")
# Later versions refer back to what was written before, by how often this process happens to use an object;
# so their bytes depend on what else it has imported. https://docs.python.org/3/library/marshal.html
_WITHOUT_REFERENCES = 2


def name_of_compiled(name: str) -> str:
    """Where Python looks for the compiled form of a module's file."""
    path = PurePosixPath(name)
    return str(path.parent / "__pycache__" / f"{path.stem}.{CACHE_TAG}.pyc")


@cache
def compiled(name: str, source: bytes) -> bytes:
    """The pyc of a module's source; ``name`` is what tracebacks call it. Raises SyntaxError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Python thinks of third-party sources is not for this build
        code = compile(source, name, "exec", dont_inherit=True)
    header = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + importlib.util.source_hash(source)
    return header + marshal.dumps(code, _WITHOUT_REFERENCES)
