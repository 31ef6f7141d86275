"""Bytes to values and back, pure; one module per layout in `docs/format`."""
