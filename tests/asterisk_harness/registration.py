"""REGISTER over UDP from any loopback address: with the right password, a wrong one, or for nobody."""

from __future__ import annotations

import hashlib
import re
import secrets
import socket

_CHALLENGE = re.compile(r'(realm|nonce|opaque)="([^"]*)"')


def register(
    port: int, account: str, password: str | None, *, source: str = "127.0.0.1", expires: int = 60
) -> list[int]:
    """Register and return the SIP statuses, one per request. Without a password the challenge is left unanswered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", port))
        sock.settimeout(5)
        request = _Request(account, port, *sock.getsockname(), expires)
        sock.send(request.text(1))
        response = sock.recv(65536).decode()
        statuses = [_status(response)]
        if statuses == [401] and password is not None:
            sock.send(request.text(2, _authorization(response, account, password, request.uri)))
            statuses.append(_status(sock.recv(65536).decode()))
        return statuses


class _Request:
    def __init__(self, account: str, port: int, host: str, local: int, expires: int) -> None:
        self.uri = f"sip:127.0.0.1:{port}"
        self._account = account
        self._here = f"{host}:{local}"
        self._call = secrets.token_hex(8)
        self._expires = expires

    def text(self, sequence: int, authorization: str = "") -> bytes:
        lines = [
            f"REGISTER {self.uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self._here};branch=z9hG4bK{secrets.token_hex(8)}",
            f"From: <sip:{self._account}@127.0.0.1>;tag={self._call}",
            f"To: <sip:{self._account}@127.0.0.1>",
            f"Call-ID: {self._call}",
            f"CSeq: {sequence} REGISTER",
            f"Contact: <sip:{self._account}@{self._here}>",
            f"Expires: {self._expires}",
            "Max-Forwards: 70",
            *([authorization] if authorization else []),
            "Content-Length: 0",
        ]
        return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def _authorization(response: str, account: str, password: str, uri: str) -> str:
    challenge = dict(_CHALLENGE.findall(response))
    ours = _md5(f"{account}:{challenge['realm']}:{password}")
    theirs = _md5(f"REGISTER:{uri}")
    nonce, count, cnonce = challenge["nonce"], "00000001", secrets.token_hex(8)
    answer = _md5(f"{ours}:{nonce}:{count}:{cnonce}:auth:{theirs}")
    return (
        f'Authorization: Digest username="{account}", realm="{challenge["realm"]}", nonce="{nonce}", uri="{uri}", '
        f'response="{answer}", algorithm=MD5, cnonce="{cnonce}", qop=auth, nc={count}, '
        f'opaque="{challenge.get("opaque", "")}"'
    )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _status(response: str) -> int:
    return int(response.split()[1])
