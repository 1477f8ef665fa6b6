"""Notifications: how a service is notified, signed webhooks and their secrets, and events sent elsewhere."""
