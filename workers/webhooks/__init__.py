"""Webhooks: what callers are told of their jobs. See docs/decisions/0007-webhooks.md."""
