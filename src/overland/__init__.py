"""Overland: offline-seeded backup, from the source tree to the vault and back."""
