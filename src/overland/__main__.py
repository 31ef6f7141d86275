"""`python -m overland` is the `overland` program."""

from overland.cli.main import main

main()
