"""Model calls: their order, the request to a provider, the meaning of an answer."""
