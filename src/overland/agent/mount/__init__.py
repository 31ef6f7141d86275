"""Recovery points as a file system that is only read."""
