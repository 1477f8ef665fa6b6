"""Schedules: expressions, fire times, the number of jobs on each, EventBridge rules, missed ticks."""
