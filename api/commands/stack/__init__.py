"""The stack of `shelfline up`: its plan, its processes and its state."""
