"""Where a job's images come from: listing, selecting, storing and decoding them."""
