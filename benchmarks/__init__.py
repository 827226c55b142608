"""Measures how long decisions take, beside the same decisions written by hand and peers."""
