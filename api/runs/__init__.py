"""A run of `shelfline detect`: many photos as jobs of a bounded size, kept track of, taken up again after any death."""
