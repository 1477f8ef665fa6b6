"""Limits: how many executions of a service's jobs run at once, and how many start in a second."""
