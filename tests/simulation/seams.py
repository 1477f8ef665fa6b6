"""Where the real functions meet the simulated world: clock, chance, threads, clients, webhooks, logs.

The seams are put in place once, for as many runs as follow; each asks for the world of the run that is on.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import random
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import jobmanager
from jobmanager.aws import clients, items
from jobmanager.core import clock
from jobmanager.delivery import secrets as webhook_secrets
from jobmanager.executions import tick, tick_parts
from jobmanager.runtime import emf, logs, step, tracing
from jobmanager.schedules import cron
from jobmanager.targets import target, webhook
from tests.function_settings import SETTINGS
from tests.stand_ins import values

if TYPE_CHECKING:
    from tests.simulation.world import World

FUNCTIONS = Path(__file__).resolve().parents[2] / "functions"
ACCOUNT = "123456789012"
_REGION = "us-east-1"
PREFIX = "sjm-sim"
MACHINE = f"arn:aws:states:{_REGION}:{ACCOUNT}:stateMachine:run-job"

ENVIRONMENT = SETTINGS | {
    "AWS_XRAY_SDK_ENABLED": "false",
    "STAGE": "sim",
    "PREFIX": PREFIX,
    "POWERTOOLS_SERVICE_NAME": "simulation",
    "STATE_MACHINE_ARN": MACHINE,
    "EXPRESS_STATE_MACHINE_ARN": f"{MACHINE}-express",
    "UPDATE_JOB_STATE_MACHINE_ARN": f"arn:aws:states:{_REGION}:{ACCOUNT}:stateMachine:update-job",
    "NOTIFICATIONS_TOPIC_ARN": f"arn:aws:sns:{_REGION}:{ACCOUNT}:notifications",
    "EVENTS_TOPIC_ARN": f"arn:aws:sns:{_REGION}:{ACCOUNT}:events",
    "START_DUE_EXECUTIONS_ARN": f"arn:aws:lambda:{_REGION}:{ACCOUNT}:function:start_due_executions",
    "PAUSE_FAILING_JOB_ARN": f"arn:aws:lambda:{_REGION}:{ACCOUNT}:function:pause_failing_job",
    "START_WAITING_EXECUTIONS_ARN": f"arn:aws:lambda:{_REGION}:{ACCOUNT}:function:start_waiting_executions",
    "START_CHILDREN_ARN": f"arn:aws:lambda:{_REGION}:{ACCOUNT}:function:start_children",
    "TICK_DEAD_LETTER_QUEUE_ARN": f"arn:aws:sqs:{_REGION}:{ACCOUNT}:ticks",
    "SCHEDULER_ROLE_ARN": f"arn:aws:iam::{ACCOUNT}:role/scheduler",
    "SPREAD": "true",
    "SPREAD_QUEUE_URL": f"https://sqs.{_REGION}.amazonaws.com/{ACCOUNT}/spread",
    "SECRETS_KEY_ARN": f"arn:aws:kms:{_REGION}:{ACCOUNT}:key/stage",
}

# A tick of two jobs is split, so that three jobs show what happens to a tick of thousands.
_SMALL = ((tick, "_PAGE", 1), (tick_parts, "MIN_JOBS", 2), (tick_parts, "_MIN_JOBS_OF_A_PART", 1))

# What depends on its arguments alone, and is asked for the same again and again. No mutant can be of these.
_parsed_cron = cache(cron.parsed)
_second_in_utc = lru_cache(10_000)(clock._in_utc)

_world: World | None = None


def world() -> World:
    """The world of the run that is on."""
    assert _world is not None, "no run is on"
    return _world


@contextmanager
def run_in(this: World) -> Iterator[None]:
    """Makes a world the one that the functions run in."""
    global _world  # noqa: PLW0603
    _world = this
    os.environ["REAP_GRACE_SECONDS"] = str(this.grace_seconds)
    os.environ["MISSED_TICK_GRACE_SECONDS"] = str(this.missed_grace_seconds)
    os.environ["TRIGGER_TYPE"] = this.trigger_type
    webhook_secrets._decrypted.cache_clear()
    try:
        yield
    finally:
        _world = None


class _Pool:
    """In the place of ThreadPoolExecutor: a task of the simulation for each piece of work."""

    def __init__(self, max_workers: int, initializer: Callable[[], None] | None = None) -> None:
        self._max_workers = max_workers
        self._begun: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for task in self._begun:
            world().scheduler.wait(task.over)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Begins one piece of work, whose result nobody asks for."""
        self._begun.append(world().begin_task(lambda: function(*arguments)))

    def map(self, function: Callable[..., Any], *arguments: Iterable[Any]) -> list[Any]:
        """Does all pieces of work at once, and returns when all are done."""
        results: dict[int, Any] = {}
        work = list(zip(*arguments, strict=True))

        def one(number: int) -> Callable[[], None]:
            def do() -> None:
                results[number] = function(*work[number])

            return do

        tasks = [world().begin_task(one(number)) for number in range(len(work))]
        for task in tasks:
            world().scheduler.wait(task.over)
            if task.error is not None:
                raise task.error
        return [results[number] for number in range(len(work))]


def _log(level: str) -> Callable[..., None]:
    def log(message: str, extra: Mapping[str, Any] | None = None, exc_info: bool = False) -> None:
        if _world is not None and (exc_info or _world.story.is_told):
            _world.log(level, message, extra or {}, sys.exception() if exc_info else None)

    return log


def _post(*arguments: Any) -> webhook.Answer:
    return world().service.post(*arguments)


def _nothing(*_: Any, **__: Any) -> None:
    """Does nothing: for logs' keys, metrics and traces."""


class _NoTrace:
    """In the place of X-Ray's recorder."""

    @contextmanager
    def in_subsegment(self, *_: Any, **__: Any) -> Iterator[None]:
        yield

    def current_subsegment(self) -> None:
        return None

    get_trace_entity = set_trace_entity = _nothing


class _NoFunctionMetrics:
    """In the place of an execution environment, which asks the operating system at each invocation."""

    is_cold = False
    emit_metrics = _nothing


class Seams:
    """Puts the seams in place, and takes them away again."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []
        self._environment: dict[str, str] = {}
        self.handlers: dict[str, Callable[[Any, Any], Any]] = {}

    def __enter__(self) -> Self:
        self._environment = dict(os.environ)
        os.environ.update(ENVIRONMENT)
        _load_all()
        self.handlers = {path.parent.name: _handler(path) for path in sorted(FUNCTIONS.glob("*/handler.py"))}
        virtual = SimpleNamespace(
            time_ns=lambda: world().scheduler.now_ms * 1_000_000,
            time=lambda: world().scheduler.now_ms / 1000,
            monotonic=lambda: world().scheduler.now_ms / 1000,
            sleep=lambda seconds: world().scheduler.sleep(round(seconds * 1000)),
        )
        self._replace(time, virtual)
        self._replace(random, SimpleNamespace(uniform=lambda low, high: world().uniform(low, high)))
        self._replace(random.uniform, lambda low, high: world().uniform(low, high))
        self._replace(random.sample, lambda population, k: world().shuffled(population, k))
        self._replace(
            secrets,
            SimpleNamespace(
                token_hex=lambda size: world().token(size),
                token_urlsafe=lambda size: world().token(size),
            ),
        )
        self._replace(secrets.token_hex, lambda size: world().token(size))
        self._replace(secrets.token_bytes, lambda size: world().token(size).encode()[:size])
        self._replace(ThreadPoolExecutor, _Pool)
        self._replace(emf.emit, _nothing)
        self._replace(items.to_item, values.to_item)
        self._replace(items.from_item, values.from_item)
        self._replace(webhook.post, _post)
        self._replace(target.target_error, lambda target, resolve: None)
        self._replace(cron.parsed, _parsed_cron)
        self._replace(clock._in_utc, lambda ms, shape: _second_in_utc(ms // 1000 * 1000, shape))
        for module, name, small in _SMALL:
            self._set(module, name, small)
        self._set(clients, "_client", lambda service, *_, **__: world().client(service))
        self._set(step, "_environment", _NoFunctionMetrics())
        for recorded in (step, tracing):
            self._set(recorded, "xray_recorder", _NoTrace())
        for level in ("debug", "info", "warning", "error"):
            self._set(logs.logger, level, _log(level))
        for name in ("append_keys", "remove_keys", "set_correlation_id"):
            self._set(logs.logger, name, _nothing)
        for name in ("thread_safe_append_keys", "thread_safe_clear_keys"):
            self._set(logs.logger, name, _nothing)
        return self

    def __exit__(self, *_: object) -> None:
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()
        os.environ.clear()
        os.environ.update(self._environment)

    def _replace(self, original: Any, replacement: Any) -> None:
        """Replaces an object wherever the functions' modules have it, under whatever name."""
        for module in _modules():
            for name, value in list(vars(module).items()):
                if value is original:
                    self._set(module, name, replacement)

    def _set(self, owner: Any, name: str, value: Any) -> None:
        missing = object()
        old = vars(owner).get(name, missing)

        def undo() -> None:
            if old is missing:
                delattr(owner, name)
            else:
                setattr(owner, name, old)

        self._undo.append(undo)
        setattr(owner, name, value)


def _modules() -> list[ModuleType]:
    names = ("jobmanager.", "simulated_functions.")
    return [module for name, module in sorted(sys.modules.items()) if name.startswith(names)]


def _load_all() -> None:
    for found in pkgutil.walk_packages(jobmanager.__path__, "jobmanager."):
        importlib.import_module(found.name)


def _handler(path: Path) -> Callable[[Any, Any], Any]:
    name = f"simulated_functions.{path.parent.name}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    handler: Callable[[Any, Any], Any] = sys.modules[name].handler
    return handler
