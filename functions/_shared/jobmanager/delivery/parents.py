"""The parents of an execution, with their states, as its notification tells them."""

from collections.abc import Iterable
from typing import Any

from jobmanager.core.json_text import dumps
from jobmanager.executions import store
from jobmanager.jobs.definition import Parent

# SNS takes 256 KiB, and the attributes of the message take less than 4 KiB of that. A webhook has the same
# limit, so that a job may change its invocation_type:
# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
_MAX_BYTES = 252 * 1024


def parents_with_states(parents: Iterable[Parent], bytes_of_others: int) -> list[dict[str, Any]]:
    """Returns the parents, each with the ``state`` that its execution ended with, if it has one.

    States that do not fit into the notification are left out, and ``state_is_left_out`` says so. The rest of
    it has ``bytes_of_others``.
    """
    views: list[dict[str, Any]] = [{**parent} for parent in parents]
    room = _MAX_BYTES - bytes_of_others - len(dumps(views).encode()) - 64 * (len(views) + 1)
    for view in views:
        record = store.find(view["execution_id"])
        state = None if record is None else store.whole(record, "state").get("state")
        if state is None:
            continue
        size = len(dumps(state).encode())
        if size <= room:
            view["state"] = state
            room -= size
        else:
            view["state_is_left_out"] = True
    return views
