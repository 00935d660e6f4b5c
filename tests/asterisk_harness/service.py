"""The real service: started with the command line, configured and operated with it too.

Only `run` is a process of its own: the other commands run here, without the second that an interpreter takes to start.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import chdir
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from asterisk_harness.clocks import Clock
from asterisk_harness.waiting import wait_until
from fraudguard.cli import cli

FRAUDGUARD = Path(sys.executable).with_name("fraudguard")

CONFIG = """
[numbering]
home = "US"
outside_line = "9"
area_code = "202"

[tenants.acme]
home = "GB"
outside_line = ""
area_code = ""

[trunks.carrier]
deck = "main"

[trunks.second]
deck = "dear"
number_format = "e164"

[agi]
port = {port}

[http]
port = 0

[policy]
lease_seconds = 600

[pin]
ask = []

[strict]
hours = []

[speed]
account_attempts = 0
tenant_attempts = 0
source_attempts = 0
region_attempts = 0
same_number = 0
new_regions = 0
account_calls = 0
tenant_calls = 0

[dialplan]
guard = "127.0.0.1:{port}"
"""

AMI = """
[ami.asterisk]
port = {port}
secret_file = "ami.secret"
"""

# Prices a minute: at home 0.01, Britain 0.02, France 0.03, Cuba 0.80, satellites 9.50; nothing else has a price.
RATES = """prefix,destination,price
1,United States,0.01
44,United Kingdom,0.02
33,France,0.03
53,Cuba,0.80
8821,Satellite,9.50
"""
DEAR_RATES = "prefix,destination,price\n1,United States,0.01\n44,United Kingdom,0.50\n"


# Commands print to the process's own standard output, and find their configuration in its working directory.
_one_command = threading.Lock()


class Service:
    """`fraudguard run` in a folder of its own. `clock` is the one that it goes by; else the machine's."""

    def __init__(self, folder: Path, port: int, clock: Clock | None = None) -> None:
        self._folder = folder
        self._port = port
        self._clocked = () if clock is None else clock.prefix
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self, *, ami_port: int | None = None, ami_secret: str = "") -> None:
        """Make database, configuration and price lists, as an operator would; with a manager interface if asked."""
        self.cli("init")
        settings = CONFIG.format(port=self._port)
        if ami_port is not None:
            settings += AMI.format(port=ami_port)
            secret = self._folder / "ami.secret"
            secret.touch(0o600)
            secret.write_text(ami_secret)
        (self._folder / "fraudguard.toml").write_text(settings)
        for deck, rates in (("main", RATES), ("dear", DEAR_RATES)):
            (self._folder / f"{deck}.csv").write_text(rates)
            self.cli("rates", "import", f"{deck}.csv", "--deck", deck)

    def configure(self, old: str, new: str) -> None:
        """Change the configuration file; the service reads it when it starts."""
        file = self._folder / "fraudguard.toml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def secret(self, secret: str) -> None:
        """Give the service another manager secret."""
        (self._folder / "ami.secret").write_text(secret)

    @property
    def folder(self) -> Path:
        """Where its configuration, database, secrets and log are."""
        return self._folder

    @property
    def log(self) -> str:
        """What the service has logged, over restarts."""
        file = self._folder / "log"
        return file.read_text() if file.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def cli(self, *arguments: str, status: int = 0) -> str:
        """Run one command, that has to end with this status, and return what it printed."""
        with _one_command, chdir(self._folder):
            done = CliRunner().invoke(cli, arguments, catch_exceptions=False, standalone_mode=False)
        assert (done.return_value or 0) == status, done.output
        return done.stdout

    def read(self, *arguments: str, status: int = 0) -> Any:
        """Run one reading command, that has to end with this status, and return its JSON document."""
        return json.loads(self.cli(*arguments, "--json", status=status))

    def start(self) -> None:
        """Start and return when it answers requests."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._clocked, FRAUDGUARD, "run"],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, "the service answered a ping")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=2) as connection:
                connection.sendall(b"agi_network: yes\nagi_network_script: ping\n\n")
                return b"FRAUDGUARD_PING" in connection.recv(1024)
        except OSError:
            return False

    def freeze(self) -> None:
        """Stop the process where it stands, as a machine out of memory would."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process as the kernel or its own watchdog would, in the middle of whatever it does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(5)

    def stop(self) -> None:
        """End the process; it may be frozen, or ended already."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self.thaw()
            self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._process = None
