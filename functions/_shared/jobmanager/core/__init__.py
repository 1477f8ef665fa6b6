"""What everything else builds on: time, names, errors, settings, JSON. Knows nothing of AWS."""
