"""Schedules: their expressions and fire times, how many jobs share each, and their EventBridge rules."""
