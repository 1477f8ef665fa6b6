"""Runs the benchmarks against the stage that `python -m local.stage run` provides.

make bench                  runs all of them
make bench ARGS=routes      runs one
"""

import argparse
import logging
import sys

from bench import cold_starts, fan_out, latency, own_time, routes, runs, scale
from bench.report import MissedTarget

BENCHMARKS = {
    "routes": routes.run,
    "cold_starts": cold_starts.run,
    "own_time": own_time.run,
    "units": runs.run,
    "fan_out": fan_out.run,
    "latency": latency.run,
    "scale": scale.run,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the named benchmarks, or all, and prints their pages. Returns 1 if one missed its target."""
    parser = argparse.ArgumentParser("python -m bench", description="Runs the benchmarks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(BENCHMARKS)}")
    # Importing the functions' code instruments botocore here too, and the SDK complains without a trace.
    logging.getLogger("aws_xray_sdk").setLevel(logging.CRITICAL)
    chosen = parser.parse_args(arguments).names or list(BENCHMARKS)
    if unknown := set(chosen) - set(BENCHMARKS):
        parser.error(f"unknown benchmark: {', '.join(sorted(unknown))}; choose from: {', '.join(BENCHMARKS)}")
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
