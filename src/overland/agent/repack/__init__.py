"""What recovery points need of packs: found, copied into new packs, and put in their place."""
