"""The commands of `shelfline`."""
