"""All scenes, in the order of the report card."""

from collections.abc import Sequence

from sjm.rehearsal.scene import Scene
from sjm.rehearsal.scenes.altered import Altered
from sjm.rehearsal.scenes.duplicate import Duplicate
from sjm.rehearsal.scenes.forged import Forged
from sjm.rehearsal.scenes.good import Good
from sjm.rehearsal.scenes.heartbeats import Heartbeats
from sjm.rehearsal.scenes.lost_answer import LostAnswer
from sjm.rehearsal.scenes.odd_payload import OddPayload
from sjm.rehearsal.scenes.replaced import Replaced
from sjm.rehearsal.scenes.rotated import Rotated
from sjm.rehearsal.scenes.second_attempt import SecondAttempt
from sjm.rehearsal.scenes.server_error import ServerError
from sjm.rehearsal.scenes.simultaneous import Simultaneous
from sjm.rehearsal.scenes.slow_answer import SlowAnswer
from sjm.rehearsal.scenes.stale import Stale
from sjm.rehearsal.scenes.stop import Stop
from sjm.rehearsal.scenes.sync_answer import SyncAnswer
from sjm.rehearsal.scenes.target_test import TargetTest
from sjm.rehearsal.scenes.throttled import Throttled
from sjm.rehearsal.scenes.unknown_fields import UnknownFields
from sjm.rehearsal.scenes.unreachable import Unreachable
from sjm.rehearsal.scenes.unsigned import Unsigned

FIRST: Sequence[Scene] = (Good(), SyncAnswer())
"""If one of these fails, the others are not played, because they would fail for the same reason."""

ALONE: Sequence[Scene] = (SlowAnswer(),)
"""A receiver that fails here may block the others that are played at the same time."""

TOGETHER: Sequence[Scene] = (
    TargetTest(),
    Unsigned(),
    Forged(),
    Altered(),
    Stale(),
    Rotated(),
    Duplicate(),
    Simultaneous(),
    LostAnswer(),
    SecondAttempt(),
    Heartbeats(),
    Stop(),
    Replaced(),
    Throttled(),
    ServerError(),
    Unreachable(),
    UnknownFields(),
    OddPayload(),
)

NAMES = tuple(scene.name for scene in (*FIRST, *ALONE, *TOGETHER))
