"""What Overland needs from the world, as protocols; `overland.adapters` has them for real."""
