"""Whether what happened is what was decided: the meaning of a log's lines, not their hashes."""
