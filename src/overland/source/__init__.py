"""What is read from the source: folders, files, their parts, and what changed since last time."""
