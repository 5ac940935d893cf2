"""Who may call, where the API listens, and why a caller is turned away."""
