"""The HTTP API (accept, validate, store, answer), its Python client and the command line."""
