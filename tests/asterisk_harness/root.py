"""A Debian root with Asterisk 22 in it, built once and cached outside the checkout."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOOLS = {"mmdebstrap": "mmdebstrap", "sipp": "sip-tester"}  # command -> Debian package
SUITE = "sid"  # the only suite of today's Debian that has an Asterisk
PACKAGES = "asterisk,asterisk-config,asterisk-modules"
FINISH = 'touch "$1/etc/hosts" "$1/etc/resolv.conf"'  # mount points: each session binds its own files over them
BUILD_SECONDS = 900  # a slow mirror; 30 s is usual

_RECIPE = f"{SUITE}\n{PACKAGES}\n{FINISH}"


class RootUnavailableError(Exception):
    """No real Asterisk can run on this machine; the message says why."""


def obtain() -> Path:
    """Return the cached root, building it first where there is none. Raises RootUnavailableError."""
    if os.geteuid() != 0:
        raise RootUnavailableError("not root: an Asterisk root cannot be built or entered")
    if not Path("/etc/debian_version").exists():
        raise RootUnavailableError("not a Debian system: mmdebstrap and sip-tester come from there")
    if subprocess.run(["unshare", "-m", "--pid", "--fork", "true"], check=False, capture_output=True).returncode:
        raise RootUnavailableError("unshare is not permitted here (a container without CAP_SYS_ADMIN?)")
    cache = _cache()
    with _locked(cache / "asterisk.lock"):
        _install_tools()
        root = cache / f"asterisk-{hashlib.sha256(_RECIPE.encode()).hexdigest()[:12]}"
        if not root.exists():
            _build(root)
    return root


def _cache() -> Path:
    cache = Path(os.environ.get("FRAUDGUARD_CACHE") or "/var/cache/fraudguard")
    cache.mkdir(parents=True, exist_ok=True)
    return cache


# A build that is killed takes its children and its mounts with it: nothing goes on writing into the folder.
_CONTAINED = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "-m", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"),
)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; the kernel releases it when its holder dies."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def install(package: str) -> None:
    """Install a package of the machine's own Debian. Raises RootUnavailableError."""
    with _locked(_cache() / "asterisk.lock"):
        _install([package])


def _install_tools() -> None:
    missing = [package for command, package in TOOLS.items() if shutil.which(command) is None]
    if missing:
        _install(missing)


def _install(packages: list[str]) -> None:
    _run(["apt-get", "update", "-q"])
    _run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages])


def _build(root: Path) -> None:
    """Build beside the final place and rename: an interrupted build leaves only a folder that the next one removes."""
    unfinished = root.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    _run(
        [
            *_CONTAINED,
            "mmdebstrap",
            "--quiet",
            "--variant=apt",
            '--aptopt=Acquire::Check-Valid-Until "false"',
            f"--include={PACKAGES}",
            f"--customize-hook={FINISH}",
            SUITE,
            str(unfinished),
        ]
    )
    version = _run(["chroot", str(unfinished), "asterisk", "-V"]).strip()
    if not version.startswith("Asterisk 22."):
        raise RootUnavailableError(f"{SUITE} has {version}, these tests are written for Asterisk 22")
    unfinished.rename(root)


def _run(command: list[str]) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=BUILD_SECONDS, env=environment
        )
    except subprocess.TimeoutExpired:
        raise RootUnavailableError(f"{command[0]} did not finish within {BUILD_SECONDS} s") from None
    if done.returncode:
        raise RootUnavailableError(f"{' '.join(command[:2])} failed:\n{(done.stderr or done.stdout)[-2000:]}")
    return done.stdout
