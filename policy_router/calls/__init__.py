"""Model calls: which come after which, how each is put to a provider, what an answer means."""
