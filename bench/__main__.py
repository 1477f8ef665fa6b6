"""Runs benchmarks against the stage that `python -m local.stage run` gives: all, or those that are named.

make bench                  runs all
make bench ARGS=routes      runs that one
"""

import argparse
import logging
import sys

from bench import cold_starts, fan_out, own_time, routes, runs
from bench.report import MissedTarget

BENCHMARKS = {
    "routes": routes.run,
    "cold_starts": cold_starts.run,
    "own_time": own_time.run,
    "units": runs.run,
    "fan_out": fan_out.run,
}


def main(arguments: list[str] | None = None) -> int:
    """The command line: runs each benchmark, which writes its results, and prints them; 1 if one missed."""
    parser = argparse.ArgumentParser("python -m bench", description="The benchmarks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(BENCHMARKS)}")
    # The functions' code has botocore instrumented in this process too, where nothing is traced.
    logging.getLogger("aws_xray_sdk").setLevel(logging.CRITICAL)
    chosen = parser.parse_args(arguments).names or list(BENCHMARKS)
    if unknown := set(chosen) - set(BENCHMARKS):
        parser.error(f"no benchmark: {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}")
    pages, missed = [], []
    for name in dict.fromkeys(chosen):
        try:
            pages.append(BENCHMARKS[name]())
        except MissedTarget as error:
            pages.append(error.page)
            missed.append(f"{name}: {error}")
    print("", *pages, sep="\n", flush=True)
    print(*missed, sep="\n", file=sys.stderr, end="\n" if missed else "")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
