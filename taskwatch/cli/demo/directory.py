"""Where a demo keeps its configuration and its store: one directory a run, for a day."""

import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import Final

PREFIX: Final = "taskwatch-demo-"
KEPT_SECONDS: Final = 24 * 3600.0


def new_directory() -> Path:
    """Make the directory of this run, and remove those of this user that were not touched for a day."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if _is_forgotten(path):
            shutil.rmtree(path, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=PREFIX))


def _is_forgotten(path: Path) -> bool:
    """Tell whether it is a directory of ours, and nothing in it was written lately: a demo may run for days."""
    try:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return False
        written = max(found.st_mtime, *(entry.lstat().st_mtime for entry in path.iterdir()), 0.0)
    except OSError:  # another demo was faster
        return False
    return written < time.time() - KEPT_SECONDS
