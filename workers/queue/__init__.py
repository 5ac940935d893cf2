"""The queue of images: claims, wake-ups, leases of duties, and the sweep that finds what a dead worker left."""
