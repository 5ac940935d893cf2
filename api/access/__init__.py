"""Access to the API: keys, scopes and rate limits, the address to listen on, and the errors that refuse a caller."""
