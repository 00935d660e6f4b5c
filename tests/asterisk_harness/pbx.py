"""One Asterisk process in its own mount namespace: nothing stays mounted when it, or the test run, dies."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from asterisk_harness.clocks import Clock
from asterisk_harness.waiting import free_port, wait_until

CONFIG = Path(__file__).parent.parent / "asterisk" / "config"
INSIDE = Path("/srv")
"""Where an Asterisk sees its session's folder."""

# $1 the root, $2 the session's folder, then NAME=VALUE. Mounts are private to this process and vanish with it.
_ENTER = """
set -e
mount --bind "$2" "$1/srv"
mount --bind "$2/hosts" "$1/etc/hosts"
mount --bind "$2/resolv.conf" "$1/etc/resolv.conf"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/dev/shm"
root=$1
shift 2
exec chroot "$root" /usr/bin/env "$@" /usr/sbin/asterisk -f -C /srv/etc/asterisk.conf -vvv
"""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Asterisk:
    """Starts and stops one. Configuration comes from tests/asterisk/config, with {placeholders} filled in: `values`,
    and {callee}, the port of the phone that can be called. With a clock in its folder it goes by that one.
    """

    def __init__(self, root: Path, folder: Path, values: Mapping[str, str], clock: Clock | None = None) -> None:
        self._root = root
        self._folder = folder
        self.callee_port = free_port(socket.SOCK_DGRAM)
        values = {**values, "callee": str(self.callee_port)}
        self.log = folder / "log" / "messages"
        for name in ("etc", "log", "run", "lib", "spool"):
            (folder / name).mkdir()
        for source in CONFIG.iterdir():
            text = source.read_text()
            for key, value in values.items():
                text = text.replace("{" + key + "}", value)
            (folder / "etc" / source.name).write_text(text)
        # Asterisk resolves the machine's own name at every call: without this line each waits 5 s for a name server.
        (folder / "hosts").write_text(f"127.0.0.1 localhost {socket.gethostname()}\n")
        (folder / "resolv.conf").write_text("")
        self._environment = {} if clock is None else clock.environment(seen_at=INSIDE)
        self._process: subprocess.Popen[bytes] | None = None
        self._spooled = 0

    def configure(self, name: str, text: str) -> None:
        """Put one more file, by its path below the configuration folder, in place."""
        path = self._folder / "etc" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def start(self) -> None:
        """Start and return when it is fully booted."""
        with (self._folder / "stderr").open("wb") as errors:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", "unshare", "-m", "--propagation", "private"),
                    *("sh", "-c", _ENTER, "asterisk", self._root, self._folder),
                    *(f"{name}={value}" for name, value in self._environment.items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )
        wait_until(self._is_ready, "Asterisk was ready")

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"Asterisk did not start:\n{(self._folder / 'stderr').read_text()}")
        return self.log.exists() and "Asterisk Ready." in self.log.read_text(errors="replace")

    def stop(self) -> None:
        """End the process, gently first."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)

    def command(self, text: str) -> str:
        """Run one CLI command through Asterisk's own socket."""
        assert self._process is not None
        done = subprocess.run(
            [
                *("nsenter", "-m", "-t", str(self._process.pid), "chroot", self._root),
                *("asterisk", "-C", "/srv/etc/asterisk.conf", "-rx", text),
            ],
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
        )
        return _COLOUR.sub("", done.stdout)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def spool(self, text: str) -> None:
        """Have a call file carried out; written elsewhere and moved, as Asterisk wants it."""
        self._spooled += 1
        name = f"{self._spooled}.call"
        draft = self._folder / name
        draft.write_text(text)
        outgoing = self._folder / "spool" / "outgoing"
        outgoing.mkdir(exist_ok=True)
        draft.rename(outgoing / name)

    def load_dialplan(self, text: str) -> list[str]:
        """Put a generated dialplan in place, reload, and return the warnings and errors that Asterisk logged."""
        (self._folder / "etc" / "fraudguard.conf").write_text(text)
        mark = self.mark()
        self.command("dialplan reload")
        return [line for line in self.logged_since(mark) if "WARNING" in line or "ERROR" in line]

    def mark(self) -> int:
        """Remember where the log stands."""
        return self.log.stat().st_size

    def logged_since(self, mark: int) -> list[str]:
        """Return the log's lines since a mark."""
        with self.log.open("rb") as handle:
            handle.seek(mark)
            return handle.read().decode(errors="replace").splitlines()

    def wait_idle(self) -> None:
        """Return when no channel is left: whatever a call was going to do, it has done."""
        wait_until(lambda: "0 active channels" in self.command("core show channels count"), "all channels were gone")
