"""Reading a log: its lines in order, one decision, or what all come to."""
