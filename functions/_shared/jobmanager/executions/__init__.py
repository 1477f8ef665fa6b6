"""Executions: records, attempts, ticks, outcomes, settlement, history."""
