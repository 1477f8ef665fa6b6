"""Scans Terraform for what is unsafe: `make scan`. Runs where checkov is installed, apart from the project.

By its library, because its command line loads every framework that it knows before it begins. An exception
stands in the resource that it is for, with its reason: ``#checkov:skip=CKV_AWS_1: because``.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from checkov.common.output.report import Report
from checkov.runner_filter import RunnerFilter
from checkov.terraform.runner import Runner

_NO_REASON = "No comment provided"


def scanned(directory: Path) -> Report:
    """What checkov says of every resource under the directory; it asks nobody, and downloads nothing."""
    only_terraform = RunnerFilter(framework=["terraform"], download_external_modules=False)
    report = Runner().run(root_folder=str(directory), runner_filter=only_terraform)
    assert isinstance(report, Report)
    return report


def findings(report: Report) -> list[str]:
    """What is to be mended, or explained: each with the resources that it is about."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for record in report.failed_checks:
        found[f"{record.check_id}: {record.check_name} ({_place(record)})"].append(record.resource)
    for record in report.skipped_checks:
        if record.check_result.get("suppress_comment") in (None, "", _NO_REASON):
            found[f"{record.check_id}: skipped without a reason ({_place(record)})"].append(record.resource)
    for file in report.parsing_errors:
        found[f"not read: {file}"].append("all that is in it")
    return [f"{what}\n  {_shortened(resources)}" for what, resources in sorted(found.items())]


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
    report = scanned(Path(arguments[0]))
    if not report.passed_checks and not report.failed_checks:
        print(f"there is no Terraform to scan in {arguments[0]}", file=sys.stderr)
        return 2
    found = findings(report)
    print(*found, sep="\n", file=sys.stderr)
    seen = f"{len(report.passed_checks)} checks passed, {len(report.skipped_checks)} skipped with a reason"
    print(f"{seen}, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
