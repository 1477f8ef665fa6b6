"""Scans Terraform for what is unsafe: `make scan`. Runs where checkov is installed, apart from the project.

By its library, because its command line loads every framework that it knows before it begins. An exception
stands in the resource that it is for, with its reason: ``#checkov:skip=CKV_AWS_1: because``.
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
    """What checkov says of every resource under the directory; it asks nobody, and downloads nothing.

    The environments are scanned apart: each calls the stage, whose resources would be scanned again for it.
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
    """What is to be mended, or explained: each with the resources that it is about."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for record in _all(reports, "failed_checks"):
        found[f"{record.check_id}: {record.check_name} ({_place(record)})"].append(record.resource)
    for record in _all(reports, "skipped_checks"):
        if record.check_result.get("suppress_comment") in (None, "", _NO_REASON):
            found[f"{record.check_id}: skipped without a reason ({_place(record)})"].append(record.resource)
    for file in _all(reports, "parsing_errors"):
        found[f"not read: {file}"].append("all that is in it")
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
    """Prints what was found; 1 if there is anything, 2 if nothing could be scanned."""
    if len(arguments) != 1:
        print("usage: python -m tools.scan DIRECTORY", file=sys.stderr)
        return 2
    reports = scanned(Path(arguments[0]))
    passed, skipped = len(_all(reports, "passed_checks")), len(_all(reports, "skipped_checks"))
    found = findings(reports)
    if not passed and not found:
        print(f"there is no Terraform to scan in {arguments[0]}", file=sys.stderr)
        return 2
    for each in found:
        print(each, file=sys.stderr)
    print(f"{passed} checks passed, {skipped} skipped with a reason, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
