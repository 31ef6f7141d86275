"""Commands, one module per machine; they build the adapters and call one use case each."""
