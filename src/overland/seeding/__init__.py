"""Packs wait, and travel: the staging location, the drives, and who held which drive."""
