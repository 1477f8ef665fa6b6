"""The wrapper of every handler, with logs, traces and metrics."""
