"""TLS towards an Asterisk's manager: who vouches for it, and what to do when that fails."""

from __future__ import annotations

import ssl

from fraudguard.ami.reconnect import DisconnectedError
from fraudguard.config import Ami
from fraudguard.errors import ConfigError


def context(name: str, settings: Ami) -> ssl.SSLContext | None:
    """Return what checks the certificate, None without TLS. Raises ConfigError when `ca_file` cannot be used."""
    if not settings.tls:
        return None
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{settings.ca_file} cannot be read: {error}", where=f"ami.{name}.ca_file", fix="give a file of PEM"
        ) from None


def not_connected(error: OSError, where: str) -> DisconnectedError:
    """Return why there is no connection, in words for who set it up. Nothing was sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return DisconnectedError(
            f"its certificate is not trusted: {error.verify_message.rstrip('.')}",
            where=where,
            fix="ca_file has to hold the certificate of who signed it, and its subjectAltName has to name `host`",
        )
    if isinstance(error, ssl.SSLError):
        return DisconnectedError(
            f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}",
            where=where,
            fix="`port` has to be that of tlsbindaddr in Asterisk's manager.conf, where tlsenable = yes",
        )
    return DisconnectedError(f"cannot connect: {error}", where=where)
