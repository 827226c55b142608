"""Signing a log: keys, the Merkle tree of its lines, checkpoints and proofs."""
