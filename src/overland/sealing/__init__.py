"""Where plaintext ends: what is new is found, compressed and sealed; and opened again."""
