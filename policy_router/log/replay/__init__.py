"""Deciding a log again: by its own policies, or by another one."""
