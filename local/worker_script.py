"""Loads modules of this project into the processes in which the emulator runs functions.

Functions cannot import modules of this project. So a module for their processes is loaded from its file, and
uses only the standard library and boto3.
"""

from types import ModuleType

from ministack.core import lambda_runtime

READY = "    try:\n        mod = importlib"
INVOKED = "            result = handler_fn(event, context)"


def install(module: ModuleType) -> str:
    """Calls the module's ``install`` before the handler is imported. Returns the module's name there."""
    name = module.__name__.replace(".", "_")
    load = f"""
    import importlib.util
    {name}_spec = importlib.util.spec_from_file_location("{name}", {module.__file__!r})
    {name} = importlib.util.module_from_spec({name}_spec)
    {name}_spec.loader.exec_module({name})
    {name}.install()
"""
    _insert_before(READY, load)
    return name


def call_before_each_invocation(statement: str) -> None:
    """Runs a statement before each call of the handler. It may use the script's ``init`` and ``event``."""
    _insert_before(INVOKED, f"            {statement}\n")


def _insert_before(place: str, text: str) -> None:
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    assert place in script
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(place, text + place)
