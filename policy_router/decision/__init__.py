"""Policy and request to decision record, for auditors. Pure: the same in, the same out."""
