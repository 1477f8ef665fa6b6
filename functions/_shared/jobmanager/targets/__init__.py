"""The targets of webhooks: which are allowed, and how a webhook is sent."""
