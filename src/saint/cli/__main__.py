"""`python -m saint.cli` is the `saint` command."""

from saint.cli.main import main

if __name__ == "__main__":  # worker processes import this module under another name
    main()
