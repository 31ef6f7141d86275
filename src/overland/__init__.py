"""Overland: offline-seeded backup, from the source tree to the vault and back."""

__version__ = "0.1.0"
