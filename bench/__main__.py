"""Runs the benchmarks against the stage that `python -m local.stage run` provides.

make bench                  runs all of them
make bench ARGS=routes      runs one
make bench ARGS="units fan_out --docs"   also puts their plots into docs/
"""

import argparse
import logging
import shutil
import sys
from collections.abc import Collection

from bench import cold_starts, fan_out, latency, own_time, receiver, routes, runs, scale
from bench.report import DIRECTORY, DOCS, MissedTarget

BENCHMARKS = {
    "routes": routes.run,
    "cold_starts": cold_starts.run,
    "own_time": own_time.run,
    "units": runs.run,
    "fan_out": fan_out.run,
    "latency": latency.run,
    "scale": scale.run,
    "receiver": receiver.run,
}

PLOTS_OF_DOCS = {"units": ("units.svg", "cost.svg"), "fan_out": ("fan_out_seconds.svg", "fan-out.svg")}


def put_plots_into_docs(chosen: Collection[str]) -> None:
    """Copies the plots of these benchmarks that docs/ shows."""
    for name, (made, shown) in PLOTS_OF_DOCS.items():
        if name in chosen:
            shutil.copyfile(DIRECTORY / made, DOCS / shown)


def main(arguments: list[str] | None = None) -> int:
    """Runs the named benchmarks, or all, and prints their pages. Returns 1 if one missed its target."""
    parser = argparse.ArgumentParser("python -m bench", description="Runs the benchmarks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--docs", action="store_true", help="put the plots of docs/ there")
    # Importing the functions' code instruments botocore here too, and the SDK complains without a trace.
    logging.getLogger("aws_xray_sdk").setLevel(logging.CRITICAL)
    given = parser.parse_args(arguments)
    chosen = given.names or list(BENCHMARKS)
    if unknown := set(chosen) - set(BENCHMARKS):
        parser.error(f"unknown benchmark: {', '.join(sorted(unknown))}; choose from: {', '.join(BENCHMARKS)}")
    pages, missed = [], []
    for name in dict.fromkeys(chosen):
        try:
            pages.append(BENCHMARKS[name]())
        except MissedTarget as error:
            pages.append(error.page)
            missed.append(f"{name}: {error}")
    if given.docs:
        put_plots_into_docs(chosen)
    print("", *pages, sep="\n", flush=True)
    print(*missed, sep="\n", file=sys.stderr, end="\n" if missed else "")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
