"""Results in the forms that callers get: formats, drawings, summaries, output files."""
