"""Serverless Job Manager in Python.

``sjm.receiver`` is a service's side, ``sjm.rehearsal`` tries a service, ``sjm.client`` calls the API of a
stage, and ``sjm.cli`` is the command.
"""


def __getattr__(name: str) -> str:
    """Gives ``__version__``. It is looked up on first use, because that would slow each import."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import metadata

    try:
        return metadata.version("serverless-job-manager")
    except metadata.PackageNotFoundError:  # not installed: imported from the source
        return "unknown"
