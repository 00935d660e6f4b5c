"""An authority of one's own, and the certificates that it gives out: what an operator makes with openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

_EMPTY = "[req]\ndistinguished_name = dn\n[dn]\n"  # nothing of this machine's own openssl.cnf
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


class Authority:
    """Vouches for hosts. `file` is what trusts it."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self.file = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        extensions = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign", "subjectKeyIdentifier=hash")
        self._make(f"/CN={name}", self._key, self.file, *extensions)

    def certificate(self, subject: str) -> str:
        """Return key and certificate for a subject ('IP:127.0.0.1', 'DNS:pbx'), in one PEM text as Asterisk wants."""
        key, file = self._folder / "host.key", self._folder / "host.pem"
        extensions = (
            f"subjectAltName={subject}",
            "basicConstraints=critical,CA:FALSE",
            "authorityKeyIdentifier=keyid",
            "extendedKeyUsage=serverAuth",
        )
        self._make("/CN=pbx", key, file, *extensions, by=("-CA", self.file, "-CAkey", self._key))
        return key.read_text() + file.read_text()

    def _make(self, name: str, key: Path, file: Path, *extensions: str, by: tuple[str | Path, ...] = ()) -> None:
        config = self._folder / "openssl.cnf"
        config.write_text(_EMPTY)
        added = [part for extension in extensions for part in ("-addext", extension)]
        command = ["openssl", "req", "-x509", "-config", config, *_KEY, "-subj", name]
        done = subprocess.run(
            [*command, "-keyout", key, "-out", file, *by, *added], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
