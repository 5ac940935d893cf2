"""Logs, traces and metrics: what is recorded, and how it is sent on."""
