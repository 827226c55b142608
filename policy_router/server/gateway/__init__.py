"""The gateway: a client's own request goes to the target that the policy decides, as it is."""
