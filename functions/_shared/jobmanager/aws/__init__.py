"""Access to AWS: clients, tables, topics."""
