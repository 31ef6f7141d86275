"""Bringing a recovery point back: names, content, metadata, and what is reported."""
