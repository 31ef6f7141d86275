"""Where data rests: what came by drive is adopted, and every recovery point is in a catalog."""
