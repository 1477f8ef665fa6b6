"""Which jobs run after which: a job names its parents in ``after``, and each parent lists its ``children``.

Both change in one transaction, so that the end of a parent finds its children in the job that it reads
anyway. A deleted parent keeps its children, and has them again once it is created again.

The transaction that gives a job parents requires that each of its ancestors still has the version that was
read. Each job that gets parents gets a new version. So no two changes can close a circle together, and no
parent is deleted meanwhile.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NoReturn

from jobmanager.core.errors import BadRequest, FieldError
from jobmanager.jobs import store
from jobmanager.jobs.after import parents_of
from jobmanager.jobs.definition import Job, is_deleted

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

MAX_DEPTH = 20
"""The most jobs in a line of a chain, the first one included."""
MAX_CHILDREN = 100
"""The most jobs that run after the same one."""

# A transaction has at most 100 items. The job, its payload and two schedules take four, and parents that the
# job leaves at most ten: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
_MAX_ANCESTORS = 80
# So many descendants are read to find how deep a chain gets. Of a larger one, what is too deep is skipped
# when it begins.
_MAX_READ_DESCENDANTS = 100


def link_changes(old: Job | None, new: Job) -> "list[TransactWriteItemTypeDef]":
    """Builds the part of a job's transaction that changes the ``children`` of its parents.

    Reads nothing unless the parents change. Raises BadRequest if one does not exist, or if a chain would be a
    circle, too deep or too wide.
    """
    before, after = _linked_parents(old), _linked_parents(new)
    if before == after:
        return []
    changes = [
        _without_child(parent, new["job_name"])
        for name in before
        if name not in after and (parent := _find(new, name)) is not None
    ]
    if not after:
        return changes
    ancestors = _ancestors(new)
    _check_depth(new, ancestors)
    for name, ancestor in ancestors.items():
        children = ancestor.get("children", [])
        if name in after and new["job_name"] not in children:
            changes.append(_with_child(new, ancestor))
        else:
            # Only a condition. A ConditionCheck would need a permission of its own.
            values = {":key": ancestor["job_key"]}
            changes.append(store.change_if_same(ancestor, "SET job_key = :key", "", values))
    return changes


def linked_jobs(job: Job) -> dict[str, list[str]]:
    """Returns the jobs that run after a job, as ``children``, and its deleted parents, as ``orphaned_by``.

    A field without jobs is left out. Reads each parent.
    """
    gone = [name for name in parents_of(job) if _is_gone(_find(job, name))]
    linked = {"children": job.get("children", []), "orphaned_by": gone}
    return {field: names for field, names in linked.items() if names}


def _linked_parents(job: Job | None) -> list[str]:
    return [] if job is None or is_deleted(job) else parents_of(job)


def _find(job: Job, name: str) -> Job | None:
    return store.find_without_large_values(job["service_name"], name)


def _is_gone(job: Job | None) -> bool:
    return job is None or is_deleted(job)


def _ancestors(new: Job) -> dict[str, Job]:
    """Reads all jobs before this one, nearest first; raises BadRequest.

    A deleted job among them has no parents, because its own are checked again if it is created again.
    """
    found: dict[str, Job] = {}
    paths = {name: [new["job_name"], name] for name in parents_of(new)}
    while paths:
        name, path = next(iter(paths.items()))
        del paths[name]
        if name == new["job_name"]:
            _refuse(new, path, f"expected no circle, but it is one: {' after '.join(path)}")
        job = found.get(name) or _find(new, name)
        if job is None or (is_deleted(job) and len(path) == 2):
            _refuse(
                new, path, f"expected a job of {new['service_name']}, but there is no {name}: PUT it first"
            )
        found[name] = job
        if len(found) > _MAX_ANCESTORS:
            _refuse(new, path, f"expected at most {_MAX_ANCESTORS} jobs before this one in its chain")
        paths |= {
            before: [*path, before]
            for before in ([] if is_deleted(job) else parents_of(job))
            if before not in found and before not in paths
        }
    return found


def _check_depth(new: Job, ancestors: dict[str, Job]) -> None:
    depth = _longest(new, ancestors, parents_of) + _longest(new, _descendants(new), _children_of) - 1
    if depth > MAX_DEPTH:
        detail = f"expected at most {MAX_DEPTH} jobs in a line of the chain, not {depth}"
        _refuse(new, [new["job_name"], parents_of(new)[0]], detail)


def _children_of(job: Job) -> list[str]:
    return job.get("children", [])


def _descendants(new: Job) -> dict[str, Job]:
    found: dict[str, Job] = {}
    names = list(new.get("children", []))
    while names and len(found) < _MAX_READ_DESCENDANTS:
        name = names.pop(0)
        if name not in found and (job := _find(new, name)) is not None and not is_deleted(job):
            found[name] = job
            names += _children_of(job)
    return found


def _longest(job: Job, others: dict[str, Job], next_of: Callable[[Job], Iterable[str]]) -> int:
    """Returns how many jobs the longest line from a job has, the job included."""
    lengths: dict[str, int] = {}

    def length(each: Job) -> int:
        if each["job_name"] not in lengths:
            lengths[each["job_name"]] = 0  # so that it ends even if half of a table was restored
            following = [length(others[name]) for name in next_of(each) if name in others]
            lengths[each["job_name"]] = 1 + max(following, default=0)
        return lengths[each["job_name"]]

    return length(job)


def _with_child(new: Job, parent: Job) -> "TransactWriteItemTypeDef":
    children = parent.get("children", [])
    if len(children) >= MAX_CHILDREN:
        detail = f"expected at most {MAX_CHILDREN} jobs after {parent['job_name']}, which has so many"
        _refuse(new, [new["job_name"], parent["job_name"]], detail)
    return _with_children(parent, sorted([*children, new["job_name"]]))


def _without_child(parent: Job, child: str) -> "TransactWriteItemTypeDef":
    return _with_children(parent, [name for name in parent.get("children", []) if name != child])


def _with_children(parent: Job, children: list[str]) -> "TransactWriteItemTypeDef":
    """Replaces the children of a parent, unless somebody else has changed them since it was read."""
    seen = {":children": parent["children"]} if "children" in parent else {}
    condition = " AND children = :children" if seen else " AND attribute_not_exists(children)"
    return store.change_if_same(parent, "SET children = :new", condition, {":new": children, **seen})


def _refuse(new: Job, path: list[str], detail: str) -> NoReturn:
    """Refuses the parent through which a path goes; a path begins with the job itself."""
    pointer = f"/after/{parents_of(new).index(path[1])}/job"
    raise BadRequest("1 field is not as expected", errors=[FieldError(pointer=pointer, detail=detail)])
