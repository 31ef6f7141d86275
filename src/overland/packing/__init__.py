"""Sealed chunks become packs, and packs give chunks back; nothing here holds a key."""
