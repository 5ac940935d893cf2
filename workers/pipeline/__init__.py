"""The pipeline of a worker: claim, fetch, decode, predict, settle."""
