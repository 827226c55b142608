"""Conditions: their names and types, the static checker, and the only door to CEL."""
