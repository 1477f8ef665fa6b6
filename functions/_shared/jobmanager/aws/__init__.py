"""AWS as this project uses it: clients, tables, topics."""
