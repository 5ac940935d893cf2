"""Jobs, results, keys, quotas and rate limits, as stored in Redis and the blob store."""
