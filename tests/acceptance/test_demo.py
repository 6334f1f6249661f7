"""`taskwatch demo`: the first minute, as a newcomer sees it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real


def test_the_demo_tells_a_failure_and_leaves_a_store_that_can_be_asked(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "taskwatch", "demo", "--seconds", "8", "--seed", "1"],
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "FAILED" in shown.stdout
    assert "checksum mismatch" in shown.stdout
    assert "every signature was right" in shown.stdout

    (path,) = tmp_path.glob("taskwatch-demo-*/taskwatch.yaml")
    kept = subprocess.run(
        [sys.executable, "-m", "taskwatch", "events", "-c", str(path), "--type", "task.failed", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    reasons = [json.loads(line)["data"]["task"]["fail_reason"] for line in kept.stdout.splitlines()]
    assert any("checksum mismatch" in reason for reason in reasons)
