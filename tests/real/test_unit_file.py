import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "systemd" / "taskwatch.service"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        shutil.which("systemd-analyze") is None and not os.environ.get("CI"),
        reason="no systemd-analyze here: apt install systemd",
    ),
]


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments, str(UNIT)], check=False, capture_output=True, text=True, timeout=30
    )


def test_systemd_finds_nothing_to_say_about_the_unit() -> None:
    said = _analyze("verify")  # returns 0 for keys it does not know
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


def test_the_unit_is_exposed_to_little() -> None:
    judged = _analyze("security", "--offline=true", "--threshold=15", "--no-pager")
    assert judged.returncode == 0, judged.stdout


def test_the_unit_says_what_operators_rely_on() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # the documented way to keep capitals
    unit.read_string(UNIT.read_text("utf-8"))
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert (
        dict(unit["Service"]).items()
        >= {
            "Type": "notify",
            "ExecReload": "/bin/kill -HUP $MAINPID",
            "Restart": "always",
            "RestartPreventExitStatus": "2 78",
            "DynamicUser": "yes",
            "StateDirectory": "taskwatch",
            "StateDirectoryMode": "0700",
        }.items()
    )
