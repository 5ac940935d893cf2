"""Jobs, results, keys and limits as Redis keeps them."""
