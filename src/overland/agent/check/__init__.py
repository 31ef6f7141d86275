"""Proving that what is stored is there and whole, with keys or without."""
