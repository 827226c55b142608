"""Proof: what no request, or some request, can bring about under a policy."""
