"""A Python like Lambda's: this version, with boto3 and its requirements, and none of our other packages."""

import importlib.util
import os
import venv
from pathlib import Path

IN_THE_RUNTIME = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3")


def make(directory: Path) -> Path:
    """Creates it in a directory, which is emptied first. Returns the interpreter's path."""
    venv.create(directory, with_pip=False, symlinks=os.name != "nt", clear=True)
    (site_packages,) = directory.glob("[Ll]ib/**/site-packages")
    for name in IN_THE_RUNTIME:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None, f"{name} is not installed"
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (site_packages / source.name).symlink_to(source)
    return next(directory.glob("[bS][ic][nr]*/python*"))
