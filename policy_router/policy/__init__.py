"""Rule files to policies, for administrators. Text in, values out: nothing here reads a file."""
