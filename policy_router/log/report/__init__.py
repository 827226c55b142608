"""What a log comes to: spend, refusals, wishes, rules, models and callers, on one pass over it."""
