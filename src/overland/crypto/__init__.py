"""Keys in, sealed or signed bytes out; pure (`docs/format/keys-v1.md`)."""
