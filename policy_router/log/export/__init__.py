"""A log as tables: one row for each line, each column of one type, and every column there."""
