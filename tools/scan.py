"""Scans Terraform for unsafe settings with checkov: `make scan`.

checkov has a virtual environment of its own. This uses checkov as a library, because its command line loads
all its frameworks before it begins. To allow an exception, state it and its reason in the resource:
``#checkov:skip=CKV_AWS_1: because``.
"""

import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from checkov.common.output.report import Report
from checkov.runner_filter import RunnerFilter
from checkov.terraform.runner import Runner

_NO_REASON = "No comment provided"
_IGNORED = shutil.ignore_patterns("environments", ".terraform")
_FILTER = RunnerFilter(framework=["terraform"], download_external_modules=False)


def scanned(directory: Path) -> list[Report]:
    """The reports of checkov on every resource under the directory. It sends and downloads nothing.

    The environments are scanned separately. Each of them calls the stage as a module, and the stage's
    resources would be scanned again for each.
    """
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(directory, scratch, ignore=_IGNORED, dirs_exist_ok=True)
        reports = [Runner().run(root_folder=scratch, runner_filter=_FILTER)]
    callers = [file for file in (directory / "environments").rglob("*.tf") if ".terraform" not in file.parts]
    if callers:
        files = [str(file) for file in sorted(callers)]
        reports.append(Runner().run(root_folder=None, files=files, runner_filter=_FILTER))
    return [report for report in reports if isinstance(report, Report)]


def findings(reports: Sequence[Report]) -> list[str]:
    """What you must fix or explain, each with its resources."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for record in _all(reports, "failed_checks"):
        found[f"{record.check_id}: {record.check_name} ({_place(record)})"].append(record.resource)
    for record in _all(reports, "skipped_checks"):
        if record.check_result.get("suppress_comment") in (None, "", _NO_REASON):
            found[f"{record.check_id}: skipped without a reason ({_place(record)})"].append(record.resource)
    for file in _all(reports, "parsing_errors"):
        found[f"could not be parsed: {file}"].append("all resources in the file")
    return [f"{what}\n  {_shortened(resources)}" for what, resources in sorted(found.items())]


def _all(reports: Sequence[Report], what: str) -> list[Any]:
    return [each for report in reports for each in getattr(report, what)]


def _place(record: Any) -> str:
    return f"{record.file_path}:{record.file_line_range[0]}"


def _shortened(resources: list[str]) -> str:
    named = sorted(set(resources))
    more = f" and {len(named) - 3} more" if len(named) > 3 else ""
    return ", ".join(named[:3]) + more


def main(arguments: Sequence[str]) -> int:
    """Prints the findings. Returns 1 if there are any, and 2 if there was nothing to scan."""
    if len(arguments) != 1:
        print("usage: python -m tools.scan DIRECTORY", file=sys.stderr)
        return 2
    reports = scanned(Path(arguments[0]))
    passed, skipped = len(_all(reports, "passed_checks")), len(_all(reports, "skipped_checks"))
    found = findings(reports)
    if not passed and not found:
        print(f"{arguments[0]} has no Terraform to scan; name a directory with .tf files", file=sys.stderr)
        return 2
    for each in found:
        print(each, file=sys.stderr)
    print(f"{passed} checks passed, {skipped} skipped with a reason, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
