"""`python -m taskwatch` and the command `taskwatch`."""

import gc
import signal

# Imports make a hundred thousand objects that stay. At the default, 700, they are searched for garbage so often that it
# is a tenth of all that a command costs.
gc.set_threshold(10_000)

# Imports take a moment: Ctrl-C during them ends the process, without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from taskwatch.cli.main import main  # noqa: E402  (after the lines above, for their sake)

signal.signal(signal.SIGINT, signal.default_int_handler)

__all__ = ["main"]

if __name__ == "__main__":
    main()
