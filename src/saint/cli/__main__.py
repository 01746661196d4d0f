"""`python -m saint.cli` is the `saint` command."""

from saint.cli.main import main

main()
