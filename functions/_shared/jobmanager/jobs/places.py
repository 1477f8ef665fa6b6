"""Where jobs are defined as code: in the stage's own Terraform, or in the repository of their service.

The stage's Terraform invokes manage_job. A service calls the API with ``managed_by``, by a right on its own
jobs. The name of a service's place shows whose it is, so neither can pass itself off as the other.
"""

from jobmanager.api.fields import bad_field

MAX_LENGTH = 256
_OF_SERVICE = "service "


def place_of_service(service_name: str, managed_by: str) -> str:
    """Returns the place that a service calls ``managed_by``, as jobs show it. Raises BadRequest."""
    if not 1 <= len(managed_by) <= MAX_LENGTH or not managed_by.isprintable():
        raise bad_field(
            "managed_by", f"expected the place that defines the job, 1 to {MAX_LENGTH} printable characters"
        )
    return f"{_OF_SERVICE}{service_name}, {managed_by}"


def place_of_stage(managed_by: str) -> str:
    """Returns the place that the stage's Terraform calls ``managed_by``. Raises BadRequest."""
    if not managed_by:
        raise bad_field("managed_by", "expected the name of the place that defines the job")
    if managed_by.startswith(_OF_SERVICE):
        raise bad_field("managed_by", f'expected a name that does not begin with "{_OF_SERVICE}"')
    return managed_by


def may_change(place: str, other: str | None) -> bool:
    """Whether ``other``, a place or None for a caller of the API, may change the jobs of a place.

    A place may rename itself, so the places of the stage may change each other's jobs, as those of a service
    may.
    """
    return other is not None and place.startswith(_OF_SERVICE) == other.startswith(_OF_SERVICE)
