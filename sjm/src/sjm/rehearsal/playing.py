"""Plays scenes with a receiver, and judges them."""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from sjm.rehearsal.callbacks import CallbackServer
from sjm.rehearsal.manager import PlayedManager
from sjm.rehearsal.scene import Scene
from sjm.rehearsal.scenes import ALONE, FIRST, NAMES, TOGETHER
from sjm.rehearsal.settings import Settings
from sjm.rehearsal.verdict import ReportCard, Result, Verdict, not_tried


class SceneUnknown(ValueError):
    """There is no scene of this name."""


def play(settings: Settings, names: Collection[str]) -> ReportCard:
    """Plays the scenes with these names.

    The first ones are played one after the other, the others all at once; of an exclusive job, one after
    the other. Raises PortTaken.
    """
    with CallbackServer(settings.callback_host, settings.callback_port) as callbacks:
        manager = PlayedManager(settings, callbacks)
        results: list[Result] = []
        for scene in _chosen(FIRST, settings, names):
            results.append(_played(scene, manager))
        if any(each.verdict.state == "failed" for each in results):
            why = not_tried(f"{results[0].scene} failed: fix that first")
            rest = _chosen((*ALONE, *TOGETHER), settings, names)
            return ReportCard(settings.url, [*results, *(_result(scene, why) for scene in rest)])
        results += [_played(scene, manager) for scene in _chosen(ALONE, settings, names)]
        together = _chosen(TOGETHER, settings, names)
        results += _played_together(together, manager, callbacks.stop_executions)
        return ReportCard(settings.url, results)


def selected(only: Collection[str], skip: Collection[str]) -> list[str]:
    """The names of the scenes that are left; raises SceneUnknown."""
    for name in (*only, *skip):
        if name not in NAMES:
            raise SceneUnknown(f"{name!r} is no scene; expected one of {', '.join(NAMES)}")
    return [name for name in NAMES if (not only or name in only) and name not in skip]


def _chosen(scenes: Sequence[Scene], settings: Settings, names: Collection[str]) -> list[Scene]:
    """The scenes with these names that are for a job of this kind."""
    return [
        scene
        for scene in scenes
        if scene.name in names
        and (scene.for_async if settings.is_async else scene.for_sync)
        and (settings.exclusive or not scene.needs_lock)
    ]


def _played_together(
    scenes: Sequence[Scene], manager: PlayedManager, stop: Callable[[], None]
) -> list[Result]:
    if not scenes:
        return []
    with ThreadPoolExecutor(1 if manager.settings.exclusive else len(scenes)) as pool:
        try:
            futures = [pool.submit(_played, scene, manager) for scene in scenes]
            return [future.result() for future in futures]
        except BaseException:  # Ctrl-C, for example: the pool would wait for the scenes
            pool.shutdown(wait=False, cancel_futures=True)
            stop()
            raise


def _played(scene: Scene, manager: PlayedManager) -> Result:
    if scene.needs_secret and not manager.settings.secret:
        return _result(
            scene,
            not_tried(
                "it needs the service's webhook secret; without one, no webhook is signed",
                "Pass the secret, with the command in the environment variable WEBHOOK_SECRET.",
            ),
        )
    verdict = scene.judge(scene.play(manager), manager.waits)
    return _result(scene, _without_secret(verdict, manager.settings.secret))


def _result(scene: Scene, verdict: Verdict) -> Result:
    return Result(scene.name, scene.about, scene.link, verdict)


def _without_secret(verdict: Verdict, secret: str | None) -> Verdict:
    """A receiver may have called back with the secret, for example in an error."""
    if not secret:
        return verdict
    return replace(verdict, seen=verdict.seen.replace(secret.strip().removeprefix("whsec_"), "[secret]"))
