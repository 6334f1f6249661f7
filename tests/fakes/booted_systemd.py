"""A real systemd as PID 1, in namespaces of its own: what a host would do with our unit, without a host.

Its root is this machine's, under an overlay in memory: nothing written there remains. It has its own
processes, network (loopback only), mounts and control groups, no service of the host, and taskwatch
as the README installs it, in /opt/taskwatch. All of it ends with the block, and with this process.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
SYSTEMD: Final = Path("/lib/systemd/systemd")
PYTHON: Final = "/usr/bin/python3"  # ProtectHome hides a Python below /root or /home
TOOLS: Final = ("unshare", "nsenter", "setpriv", "mount", "chroot", "pivot_root", "systemctl", "journalctl")
BUILD_SECONDS: Final = 240.0  # the environment, where no package is cached
BOOT_SECONDS: Final = 60.0
COMMAND_SECONDS: Final = 60.0

# $1 an empty directory, $2 the project, $3 uv, $4 how to boot. Its mounts are private and vanish with it;
# of what it makes only the control groups would outlive it. In those of the box is nobody else: systemd
# could not divide them.
BUILD: Final = r"""
set -eu
mount -t tmpfs box "$1"
mkdir "$1"/changes "$1"/work "$1"/root "$1"/cgroup
mount -t overlay box -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" "$1/root"
cd "$1/root"
cp -L --remove-destination /etc/resolv.conf etc/ || true # in a container it is a mount
rm -rf etc/taskwatch opt/taskwatch var/lib/taskwatch var/lib/private/taskwatch

mount -t tmpfs tmpfs dev -o mode=755
for device in null zero full random urandom tty; do
    touch dev/$device
    mount --bind /dev/$device dev/$device
done
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
mount --rbind /proc proc
mount -t tmpfs tmpfs tmp -o mode=1777
mkdir tmp/project
mount --bind -o ro "$2" tmp/project
cp "$3" tmp/uv
chroot . PYTHON -m venv --without-pip /opt/taskwatch
install="chroot . /tmp/uv pip install --quiet --link-mode copy --compile-bytecode --python /opt/taskwatch/bin/python"
$install --require-hashes -r /tmp/project/requirements.lock
$install --no-deps --no-build-isolation /tmp/project
umount tmp/project tmp
umount -l proc

mount -t cgroup2 cgroup2 "$1/cgroup"
group=$1/cgroup/taskwatch-box-$$
mkdir "$group"
setpriv --pdeathsig KILL unshare --pid --ipc --uts --net --mount --propagation private --fork --kill-child \
    sh -euc 'echo 0 >"$1/cgroup.procs"; exec unshare --cgroup sh -euc "$2"' boot "$group" "$4" || true
find "$group" -depth -type d -exec rmdir {} +
""".replace("PYTHON", PYTHON)

# The kernel's settings are read-only, as in a container: they are the host's. Without the last
# mount, LoadCredential= would give empty directories.
BOOT: Final = r"""
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs var/log
mount -t tmpfs -o mode=755 tmpfs etc/systemd/system
pivot_root . mnt
umount -l /mnt
mount --make-rshared /
exec env -i container=unshare /lib/systemd/systemd --system --unit=basic.target
"""


class CannotBootError(Exception):
    """No systemd can be booted on this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Box:
    """The booted system. `pid` is its systemd, as this machine counts."""

    pid: int

    def run(self, *argv: str, check: bool = True, stdin: str = "") -> str:
        """Run a command inside, as root; return what it printed. Fails the test when the command fails."""
        ended = subprocess.run(
            ["nsenter", "--target", str(self.pid), "--all", "--", *argv],
            check=False,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=COMMAND_SECONDS,
        )
        assert ended.returncode == 0 or not check, f"{argv}: {ended.returncode}\n{ended.stdout}{ended.stderr}"
        return ended.stdout

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        return self.run("systemctl", *arguments, check=check).strip()

    def shown(self, unit: str, name: str) -> str:
        """Return a property of the unit, as `systemctl show` tells it."""
        return self.systemctl("show", "--value", "--property", name, unit)

    def journal(self, unit: str) -> list[dict[str, Any]]:
        """Return what the unit said, and systemd of it, oldest first, with all fields."""
        self.run("journalctl", "--sync")
        printed = self.run("journalctl", "--quiet", "--all", "--output=json", "--unit", unit)
        return [json.loads(line) for line in printed.splitlines()]

    def write(self, path: str, text: str, *, mode: str = "0644") -> None:
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, stdin=text)


@contextmanager
def booted(directory: Path) -> Iterator[Box]:
    """Boot; end everything at the end. Raises CannotBootError where it does not come up."""
    uv = shutil.which("uv", path=Path(sys.executable).parent)
    _require(uv)
    said = directory / "box.log"
    root = directory / "box"
    root.mkdir()
    with said.open("wb") as log:
        maker = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private",
             "sh", "-c", BUILD, "build", str(root), str(ROOT), str(uv), BOOT],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )  # fmt: skip
    pid = None
    try:
        pid = _systemd(maker, said)
        box = Box(pid)
        state = _state(box)
        if state not in {"running", "degraded"}:
            raise CannotBootError(f"systemd did not come up: {state}\n{said.read_text()}")
        yield box
    finally:
        _end(maker, pid)


def _require(uv: str | None) -> None:
    if os.geteuid() != 0:
        raise CannotBootError("only root can boot a systemd in namespaces")
    if not SYSTEMD.exists():
        raise CannotBootError("there is no systemd: apt install systemd")
    if uv is None:
        raise CannotBootError("there is no uv beside this Python: make installs it where it can be had")
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise CannotBootError(f"not on PATH: {', '.join(missing)}")
    fits = [PYTHON, "-c", "import sys, venv; sys.exit(sys.version_info < (3, 11))"]
    if not Path(PYTHON).exists() or subprocess.run(fits, check=False).returncode != 0:
        raise CannotBootError(f"there is no Python 3.11 or newer at {PYTHON}")


def _systemd(maker: subprocess.Popen[bytes], said: Path) -> int:
    """Wait until the root is built and has become systemd's; return its process id."""
    until = time.monotonic() + BUILD_SECONDS
    while time.monotonic() < until and maker.poll() is None:
        with suppress(OSError):  # of those that end meanwhile
            for pid in _grandchildren(maker.pid):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(bytes(SYSTEMD)):
                    return pid
        time.sleep(0.05)
    raise CannotBootError(f"no systemd was booted\n{said.read_text()}")


def _grandchildren(pid: int) -> list[int]:
    return [grandchild for child in _children(pid) for grandchild in _children(child)]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _state(box: Box) -> str:
    """Wait until the system is up; return the state it is in."""
    until = time.monotonic() + BOOT_SECONDS
    state = ""
    while state not in {"running", "degraded"} and time.monotonic() < until:
        time.sleep(0.05)
        state = box.systemctl("is-system-running", check=False)
    return state


def _end(maker: subprocess.Popen[bytes], pid: int | None) -> None:
    """End systemd, and with it all in its namespaces; let the maker clear up, or end that too."""
    if pid is not None and maker.poll() is None:
        os.kill(pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            maker.wait(10)
    if maker.poll() is None:
        os.killpg(maker.pid, signal.SIGKILL)
    maker.wait(10)
