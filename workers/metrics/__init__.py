"""What is counted where, how it comes together in Redis, and what /metrics says of it. See docs/decisions/0012."""
