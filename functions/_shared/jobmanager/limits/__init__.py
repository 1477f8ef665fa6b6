"""Limits: how many executions of a service's jobs run at once, and how many are notified in a second."""
