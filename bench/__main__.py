"""Runs benchmarks against the stage that `python -m local.stage run` gives: all, or those that are named.

make bench                  runs all
make bench ARGS=routes      runs that one
"""

import argparse
import sys

from bench import routes

BENCHMARKS = {"routes": routes.run}


def main(arguments: list[str] | None = None) -> int:
    """The command line: runs each benchmark, which writes its results, and prints them."""
    parser = argparse.ArgumentParser("python -m bench", description="The benchmarks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(BENCHMARKS)}")
    chosen = parser.parse_args(arguments).names or list(BENCHMARKS)
    if unknown := set(chosen) - set(BENCHMARKS):
        parser.error(f"no benchmark: {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}")
    for page in [BENCHMARKS[name]() for name in dict.fromkeys(chosen)]:
        print(f"\n{page}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
