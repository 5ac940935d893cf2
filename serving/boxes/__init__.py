"""Boxes as pure NumPy: decoding, suppression, tiles."""
