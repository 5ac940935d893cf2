"""Read and check the bodies of requests."""
