"""Webhooks: events of jobs, sent to callers. See docs/decisions/0009-webhooks.md."""
