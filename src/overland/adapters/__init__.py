"""The ports, for real; only the commands and the server's composition import these modules."""
