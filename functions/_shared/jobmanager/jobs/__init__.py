"""Jobs: their definitions, the jobs table, locks, changes and the events about them."""
