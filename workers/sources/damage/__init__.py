"""Damaged files: which damage loses pixels, and repair of that which does not."""
