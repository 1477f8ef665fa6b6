"""Alerts: which problems are open, and the messages that tell people about them."""
