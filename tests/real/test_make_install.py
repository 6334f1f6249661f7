"""What `make install` refuses, before it makes anything, and the extras. docs/install.md's test has what else it makes.

Where it refuses, Python is /bin/true, so that nothing could be installed even if a refusal were missing.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.fakes.pages import ROOT

pytestmark = pytest.mark.real

NOWHERE: Final = {"PYTHON": "/bin/true", "UNIT_DIR": "", "LINK_DIR": ""}


def _make(*flags: str, **variables: object) -> subprocess.CompletedProcess[str]:
    given = (f"{name}={value}" for name, value in (NOWHERE | variables).items())
    return subprocess.run(
        ["make", *flags, "install", *given],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        | {"LC_ALL": "C"},
    )


def _refused(**variables: object) -> str:
    """Return the one line that says why; make's own, of the recipe that failed, follows it."""
    ended = _make(**variables)
    assert (ended.returncode, ended.stdout) == (2, "")
    why, of_make = ended.stderr.splitlines()
    assert of_make.startswith("make: *** [")
    return why


@pytest.mark.parametrize("name", ["PREFIX", "UNIT_DIR", "LINK_DIR"])
def test_a_place_that_depends_on_where_one_stands_is_refused(tmp_path: Path, name: str) -> None:
    why = _refused(**{"PREFIX": tmp_path / "taskwatch", name: "some/where"})
    assert why == "make: not an absolute path: some/where"
    assert list(tmp_path.iterdir()) == []
    assert not (ROOT / "some").exists()


def test_no_prefix_at_all_is_refused(tmp_path: Path) -> None:
    assert _refused(PREFIX="", DESTDIR=tmp_path) == "make: not an absolute path: PREFIX="
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["letters.txt", ".hidden", "bin"])
def test_a_directory_with_other_things_in_it_is_refused(tmp_path: Path, name: str) -> None:
    """It would be removed with them."""
    prefix, links = tmp_path / "others", tmp_path / "links"
    (prefix / name).mkdir(parents=True)
    why = _refused(PREFIX=prefix, LINK_DIR=links)
    assert why.startswith(f"make: {prefix} must be writable, and nothing but taskwatch in it: ")
    assert [path.name for path in prefix.iterdir()] == [name]
    assert not links.exists()


@pytest.mark.parametrize("name", ["UNIT_DIR", "LINK_DIR"])
def test_a_given_place_that_cannot_be_made_is_refused(tmp_path: Path, name: str) -> None:
    """Rather than left out in silence."""
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "below"
    why = _refused(**{"PREFIX": tmp_path / "taskwatch", name: place})
    assert why == f"make: {place} must be a directory that you may write"


@pytest.mark.parametrize(
    ("destination", "place"),
    [("/srv/package/", "/srv/package"), ("package", ROOT / "package"), ("/", ""), ("", "")],
)
def test_a_packages_place_may_be_spelled_in_any_way(destination: str, place: object) -> None:
    """It is cut out of the files of the environment, which spell it in one way."""
    planned = _make("--dry-run", DESTDIR=destination).stdout
    assert f"/bin/true -m venv {place}/opt/taskwatch\n" in planned
    assert (f"s|{place}||g" in planned) if place else ('test -z "" || grep' in planned)


@pytest.mark.timeout(400)  # packages are fetched, with whatever network pip has here
def test_with_all_extras_an_entry_of_clouds_yaml_can_be_read(tmp_path: Path) -> None:
    prefix = tmp_path / "taskwatch"
    ended = _make(EXTRAS="all", PREFIX=prefix, PYTHON=sys.executable)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (tmp_path / "clouds.yaml").write_text("clouds: {other: {}}")
    asked = subprocess.run(
        [prefix / "bin" / "taskwatch", "init", "--cloud", "mine"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path)},
    )
    assert "cloud mine of clouds.yaml: it was not found" in asked.stderr
