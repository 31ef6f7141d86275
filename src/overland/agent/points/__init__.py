"""Recovery points as they are read: keys, public parts, trees, chunks."""
