"""HTTP: accept, validate, store, answer. The HTTP client and the command line."""
