"""Connections to the outside: Redis and its scripts, blob stores, folders, URLs and sockets."""
