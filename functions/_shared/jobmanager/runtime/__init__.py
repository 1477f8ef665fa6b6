"""What surrounds every function: the wrapper of its handler, logs, traces, metrics."""
