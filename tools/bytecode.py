"""Compiles modules to pyc files that Python imports directly. Equal sources give equal bytes.

The pyc files are hash-based and unchecked (PEP 552), so Python uses them whatever the modification times of
the unpacked files are. A Python with another magic number ignores them and compiles the source, which is
always beside them.
"""

import importlib.util
import marshal
import sys
import warnings
from functools import cache
from pathlib import PurePosixPath

CACHE_TAG = sys.implementation.cache_tag

_UNCHECKED_HASH = (0b01).to_bytes(4, "little")
# Later versions of marshal write references to objects, depending on the objects' reference counts. So the
# bytes would depend on what else this process imported. https://docs.python.org/3/library/marshal.html
_WITHOUT_REFERENCES = 2


def name_of_compiled(name: str) -> str:
    """The name of the pyc file that Python looks for beside a module's file."""
    path = PurePosixPath(name)
    return str(path.parent / "__pycache__" / f"{path.stem}.{CACHE_TAG}.pyc")


@cache
def compiled(name: str, source: bytes) -> bytes:
    """The pyc of a module's source. Tracebacks call the module ``name``. Raises SyntaxError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this build does not care about warnings in third-party sources
        code = compile(source, name, "exec", dont_inherit=True)
    header = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + importlib.util.source_hash(source)
    return header + marshal.dumps(code, _WITHOUT_REFERENCES)
