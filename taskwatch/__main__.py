"""`python -m taskwatch` and the command `taskwatch`."""

from taskwatch.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
