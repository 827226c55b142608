"""The decision service: agents ask over HTTP, and nobody is believed without a credential."""
