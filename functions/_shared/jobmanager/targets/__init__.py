"""Where a webhook goes, whether it may go there, and how one is sent."""
