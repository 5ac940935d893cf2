"""Boxes in NumPy: resize, decode, suppress, cut into tiles, merge tiles."""
