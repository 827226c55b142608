"""A decision in words: what decided, and why not another target."""
