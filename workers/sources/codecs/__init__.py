"""Formats that are decoded by their own libraries, since Pillow's way takes more memory."""
