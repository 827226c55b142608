"""The decision log: a folder that writers append to, and auditors read, verify and replay."""
