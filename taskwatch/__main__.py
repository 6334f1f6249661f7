"""`python -m taskwatch` and the command `taskwatch`."""

import signal

# Imports take a moment: Ctrl-C during them ends the process, without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from taskwatch.cli.main import main  # noqa: E402  (after the line above, for its sake)

signal.signal(signal.SIGINT, signal.default_int_handler)

__all__ = ["main"]

if __name__ == "__main__":
    main()
