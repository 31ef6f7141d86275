"""Making a recovery point: walk, chunk, seal, pack, publish, sign, upload."""
