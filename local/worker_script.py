"""Puts modules of this project into the processes in which the emulator runs functions.

Functions find no module of this project. A module for their processes is loaded from its file, is on no path,
and uses only the standard library and boto3.
"""

from types import ModuleType

from ministack.core import lambda_runtime

READY = "    try:\n        mod = importlib"
INVOKED = "            result = handler_fn(event, context)"


def install(module: ModuleType) -> str:
    """Has the module's ``install`` called before the handler is imported; answers the module's name there."""
    name = module.__name__.replace(".", "_")
    load = f"""
    import importlib.util
    {name}_spec = importlib.util.spec_from_file_location("{name}", {module.__file__!r})
    {name} = importlib.util.module_from_spec({name}_spec)
    {name}_spec.loader.exec_module({name})
    {name}.install()
"""
    _put_before(READY, load)
    return name


def call_before_each_invocation(statement: str) -> None:
    """Has a statement run before each call of the handler; ``init`` and ``event`` are what they are there."""
    _put_before(INVOKED, f"            {statement}\n")


def _put_before(place: str, text: str) -> None:
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    assert place in script
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(place, text + place)
