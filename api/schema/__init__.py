"""The documents that requests and responses carry."""
