"""Runs on the source computer, and is the only holder of content keys: policy, backup, restore."""
