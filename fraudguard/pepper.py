"""The pepper's file, and the vault that it opens: whoever needs one is told the same where it is lost."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fraudguard.errors import ConfigError
from fraudguard.pins.vault import Vault
from fraudguard.policy.pin import Scheme
from fraudguard.secretfile import read_secret_file

_LOST: Final = (
    "restore it from the backup of when they were made; where there is none they are lost: 'pin export', remove the"
    " file, 'pin revoke' each, and 'pin import' gives everybody a new one"
)


def open_vault(path: Path, schemes: Iterable[Scheme]) -> Vault:
    """Return the vault of the pepper in a file. `schemes` are those that it has to fit: of PINs in force.

    Raises ConfigError where the file is not there, cannot be read, or holds no pepper or another one.
    """
    try:
        path.stat()
    except FileNotFoundError:
        what = "is not there, and the stored PINs are worth nothing without it"
        raise ConfigError(what, where=str(path), fix=_LOST) from None
    except OSError:
        pass  # reading it says what is the matter
    vault = Vault(read_secret_file(path, where="pin.pepper_file", fix=_LOST), where=str(path))
    if not all(vault.fits(scheme) for scheme in schemes):
        raise ConfigError("is not what the stored PINs were sealed with", where=str(path), fix=_LOST)
    return vault
