"""Webhooks: what callers are told of their jobs. See docs/decisions/0006-webhooks.md."""
