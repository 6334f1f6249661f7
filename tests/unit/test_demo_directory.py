import os
import tempfile
import time
from pathlib import Path

import pytest

from taskwatch.cli.demo.directory import KEPT_SECONDS, PREFIX, new_directory

LONG_AGO = time.time() - KEPT_SECONDS - 60


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def a_demo(parent: Path, name: str) -> Path:
    path = parent / f"{PREFIX}{name}"
    path.mkdir()
    (path / "taskwatch.db").write_text("")
    return path


def age(path: Path) -> None:
    os.utime(path, (LONG_AGO, LONG_AGO))


def test_a_demo_gets_a_directory_for_its_owner_alone(tmp_path: Path) -> None:
    path = new_directory()

    assert path.parent == tmp_path
    assert path.stat().st_mode & 0o077 == 0


def test_demos_that_nobody_touched_for_a_day_are_removed_and_others_kept(tmp_path: Path) -> None:
    forgotten, fresh, running = (a_demo(tmp_path, name) for name in ("forgotten", "fresh", "running"))
    age(forgotten / "taskwatch.db")
    age(forgotten)
    age(running)  # made long ago, yet its store is written

    made = new_directory()

    assert set(tmp_path.iterdir()) == {fresh, running, made}


def test_what_only_looks_like_a_demo_is_left_alone(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    age(elsewhere)
    link, file = tmp_path / f"{PREFIX}link", tmp_path / f"{PREFIX}file"
    link.symlink_to(elsewhere)
    os.utime(link, (LONG_AGO, LONG_AGO), follow_symlinks=False)
    file.write_text("")
    age(file)

    made = new_directory()

    assert set(tmp_path.iterdir()) == {elsewhere, link, file, made}
