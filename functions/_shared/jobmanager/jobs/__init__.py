"""Jobs: definitions, the jobs table, locks, changes, and events about changes."""
