"""Writing a log: a line is on disk before it counts."""
