"""A ``delegate_task`` call, as a whole: tasks to decisions, decisions to results."""
