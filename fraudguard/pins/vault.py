"""The vault: what PINs and authenticator keys are made of with a pepper that stands outside the database.

See docs/decisions/0014 for why it is done so and what a thief of database, pepper or both has gained.
"""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import b32encode
from typing import Final

from argon2.low_level import Type, hash_secret_raw
from pydantic import SecretStr

from fraudguard.errors import ConfigError
from fraudguard.pins.digits import Digits, Hidden
from fraudguard.policy.pin import Scheme, Seal

PEPPER_BYTES: Final = 32

PASSES: Final = 2
KIB: Final = 19_456
LANES: Final = 1
"""The cost of argon2id that OWASP recommends for one lane; some 25 ms and 19 MB."""

_SALT_BYTES: Final = 16
_INDEX_BYTES: Final = 16
_PROOF_BYTES: Final = 32
_NONCE_BYTES: Final = 16
_KEY_BYTES: Final = 20  # what RFC 4226 recommends; every authenticator takes it

_HEX: Final = re.compile(r"[0-9a-fA-F]+").fullmatch


class Key(Hidden):
    """The key of an authenticator app."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def base32(self) -> str:
        """Return it as authenticators take it. For the one place that must have it; never for a message."""
        return b32encode(self._octets).decode()


class Vault(Hidden):
    """Seals PINs with the pepper. May be used by several threads at once."""

    __slots__ = ("_pepper",)

    def __init__(self, pepper: SecretStr | bytes, *, where: str = "pin.pepper_file") -> None:
        """Take the pepper, as bytes or as the text that make_pepper wrote. Raises ConfigError naming `where`."""
        if isinstance(pepper, SecretStr):
            text = pepper.get_secret_value().strip()
            pepper = bytes.fromhex(text) if _HEX(text) and len(text) % 2 == 0 else b""
        if len(pepper) != PEPPER_BYTES:
            raise ConfigError(
                f"the pepper is not {2 * PEPPER_BYTES} hexadecimal digits",
                where=where,
                fix="restore it from a backup: PINs made with it are good for nothing without",
            )
        self._pepper = pepper

    def new_scheme(self) -> Scheme:
        """Return how the PINs of a tenant that has none yet are to be sealed: a salt of its own."""
        return Scheme(secrets.token_bytes(_SALT_BYTES), PASSES, KIB, LANES, self._mark())

    def fits(self, scheme: Scheme) -> bool:
        """Say whether the pepper is the one that the scheme's PINs were sealed with."""
        return hmac.compare_digest(scheme.mark, self._mark())

    def seal(self, scheme: Scheme, tenant: str, digits: Digits) -> Seal:
        """Return what is stored of a PIN: for the same tenant, scheme and digits always the same.

        Takes some 25 ms and 19 MB, without the interpreter's lock: not for the event loop's thread.
        """
        sealed = hash_secret_raw(
            self._keyed(b"pin", tenant, digits.reveal().encode("utf-8", "surrogatepass")),
            scheme.salt,
            time_cost=scheme.passes,
            memory_cost=scheme.kib,
            parallelism=scheme.lanes,
            hash_len=_INDEX_BYTES + _PROOF_BYTES,
            type=Type.ID,
        )
        return Seal(sealed[:_INDEX_BYTES], sealed[_INDEX_BYTES:])

    def same(self, a: Seal, b: Seal) -> bool:
        """Say whether two seals are of the same digits, in the same time whether or not."""
        return hmac.compare_digest(a.proof, b.proof)

    def new_totp(self) -> Seal:
        """Return what is stored of a new authenticator: random, and good for nothing without the pepper."""
        return Seal(secrets.token_bytes(_INDEX_BYTES), secrets.token_bytes(_NONCE_BYTES))

    def totp_key(self, tenant: str, seal: Seal) -> Key:
        """Return an authenticator's key: made of the pepper and the seal each time, never stored."""
        return Key(self._keyed(b"totp", tenant, seal.proof)[:_KEY_BYTES])

    def _mark(self) -> bytes:
        return self._keyed(b"mark", "", b"fraudguard")

    def _keyed(self, purpose: bytes, tenant: str, rest: bytes) -> bytes:
        # The name's length keeps it apart from the rest, the purpose one use of the pepper from the others.
        name = tenant.encode("utf-8", "surrogatepass")
        return hmac.digest(self._pepper, b"\0".join((purpose, str(len(name)).encode(), name + rest)), "sha256")


def make_pepper() -> str:
    """Return a new pepper as it is written into its file."""
    return secrets.token_hex(PEPPER_BYTES)
