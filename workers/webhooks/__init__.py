"""Webhooks: what callers are told of their jobs. See docs/decisions/0009-webhooks.md."""
