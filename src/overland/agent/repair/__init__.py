"""What is missing or damaged in the vault, brought back from wherever it still is."""
