"""Deletes a limit that no job names."""

from itertools import islice

from jobmanager.api.preconditions import Expected
from jobmanager.jobs import store
from jobmanager.limits import changes

_MAX_NAMES = 11


def delete_limit(service_name: str, limit_name: str, expected: Expected | None = None) -> None:
    """Deletes a limit. Raises Conflict if jobs name it, NotFound and PreconditionFailed.

    A job that is put at the same moment may still name the limit. It then runs without one.
    """

    def users() -> list[str]:
        return list(islice(store.names_with_limit(service_name, limit_name), _MAX_NAMES))

    changes.delete(service_name, limit_name, users, expected)
