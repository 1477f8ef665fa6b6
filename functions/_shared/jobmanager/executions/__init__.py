"""Executions: their records and attempts, from the tick that starts them to their settlement."""
