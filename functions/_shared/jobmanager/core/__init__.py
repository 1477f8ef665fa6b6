"""The base of all other packages: time, names, errors, settings, JSON. It knows nothing of AWS."""
