"""Alerts as JSON to an HTTP server, signed. How a receiver verifies them: docs/how-to/get-alerts.md."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from fraudguard import __version__
from fraudguard.alerts.channel import Message, NotDeliveredError, system_reason
from fraudguard.clock import Clock

HTTP_SECONDS = 15.0
"""For each of connecting, writing and reading."""

SIGNATURE_HEADER = "X-Fraudguard-Signature"
ID_HEADER = "Idempotency-Key"


def sign(secret: bytes, seconds: int, body: bytes) -> str:
    """Return the signature header's value: 't=SECONDS,v1=HEX', over the seconds, a full stop and the body."""
    digest = hmac.new(secret, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


class WebhookChannel:
    """Posts one JSON document per message. A status from 200 to 299 says that it was taken.

    The address may hold a token, so only its host is ever shown.
    """

    def __init__(self, url: SecretStr, secret: SecretStr | None, tls: ssl.SSLContext, clock: Clock) -> None:
        self._url = url
        self._secret = secret
        self._clock = clock
        self._host = urlsplit(url.get_secret_value()).hostname or ""
        self._client = httpx.AsyncClient(
            verify=tls,
            timeout=HTTP_SECONDS,
            follow_redirects=False,
            headers={"User-Agent": f"fraudguard/{__version__}"},
        )

    async def send(self, message: Message) -> str:
        body = json.dumps(message.document, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", ID_HEADER: message.id}
        if self._secret is not None:
            seconds = self._clock.now() // 1000
            headers[SIGNATURE_HEADER] = sign(self._secret.get_secret_value().encode(), seconds, body)
        url = self._url.get_secret_value()
        try:
            # The answer's body is not read: it may be large, or never end.
            async with self._client.stream("POST", url, content=body, headers=headers) as answer:
                status = answer.status_code
        except httpx.TimeoutException as error:
            raise NotDeliveredError(f"no answer in time ({type(error).__name__})", where=self._host) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            # Its text may hold the address.
            raise NotDeliveredError(system_reason(error), where=self._host) from None
        if not 200 <= status < 300:
            raise NotDeliveredError(f"answered with status {status}", where=self._host)
        return ""

    async def close(self) -> None:
        await self._client.aclose()
