"""Runs where drives arrive: books them in, verifies and uploads them, and sends them back."""
