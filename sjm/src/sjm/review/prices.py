"""What a million runs cost: AWS's list prices in us-east-1, without free tiers, as docs/cost.md has them.

A test compares these figures with the tables of that page, which `make bench ARGS=units` measures.
"""

from typing import Literal

WorkflowType = Literal["standard", "express"]
Kind = Literal["sns", "http", "sync"]

REGION = "us-east-1"
AS_OF = "2026-11-23"

# Dollars of a million runs that succeed, without heartbeats.
RUNS: dict[WorkflowType, dict[Kind, float]] = {
    "standard": {"sns": 63.86, "http": 63.51, "sync": 62.00},
    "express": {"sns": 13.71, "http": 13.36, "sync": 11.18},
}
# What a million runs of an exclusive job by webhook cost: the lock is the difference to "http" above.
EXCLUSIVE: dict[WorkflowType, float] = {"standard": 68.36, "express": 17.57}
# Dollars of a million ticks. Jobs that share a schedule share its ticks.
TICKS = 1.46
# More for a million ticks that EventBridge Scheduler sends: in a time zone, once, or with bounds.
SCHEDULER = 1.00
