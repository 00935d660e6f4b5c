"""Every error that fraudguard raises on purpose, and whose fault each one is.

    FraudguardError            exit status 4: ours
    ├── ConfigError            2: the configuration file; names the key
    ├── InputError             2: an operator's argument or file; names the file and line, or the option
    ├── UnreachableError       3: something needed is not there
    │   └── StoreError         3: the database: missing, read-only, locked, full, damaged
    └── PeerError              4: the other end of a connection broke the protocol

A message says what is wrong, where, and what to do about it, in this order:
``rates.csv:12: price: "-0.10" is negative (give a price of 0 or more)``.
"""

from __future__ import annotations


class FraudguardError(Exception):
    """Root of all errors raised on purpose. `exit_status` is what the command line ends with."""

    exit_status = 4

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(what)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} ({self.fix})" if self.fix else text


class ConfigError(FraudguardError):
    """The configuration is wrong. `where` names the file and the key."""

    exit_status = 2


class InputError(FraudguardError):
    """An operator's argument or input file is wrong. `where` names the option, or the file and line."""

    exit_status = 2


class UnreachableError(FraudguardError):
    """Something fraudguard needs cannot be reached."""

    exit_status = 3


class StoreError(UnreachableError):
    """The database cannot be opened, read or written."""


class PeerError(FraudguardError):
    """The other end of a connection broke its protocol."""
