"""Results as callers get them: formats, drawings, summaries, output files."""
