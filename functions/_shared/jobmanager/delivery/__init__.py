"""Notifications of services, signatures and their secrets, and the archive and replay of events."""
