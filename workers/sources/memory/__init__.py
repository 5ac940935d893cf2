"""How much memory the images take that a process decodes at the same time."""
