"""Verifying a log: is it whole? And pruning what is old, of a log that is."""
