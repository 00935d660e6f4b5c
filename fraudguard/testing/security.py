"""Security events as main/security_events.c and its manager half write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from fraudguard.clock import Millis
from fraudguard.testing.channels import Headers

_VERSIONS: Final = {"InvalidPassword": "2"}

_MORE: Final[dict[str, Headers]] = {
    "SuccessfulAuth": [("UsingPassword", "1")],
    "ChallengeSent": [("Challenge", "")],
    "ChallengeResponseFailed": [
        ("Challenge", "1792356478/5a1b0c7de94f2c6e8d3b7a9015f4e2c1"),
        ("Response", "0f343b0931126a20f133d67c2b018a3b"),
        ("ExpectedResponse", ""),
    ],
    "FailedACL": [("ACLName", "not_match_endpoint_acl")],
}
"""What PJSIP adds to the headers that all have."""

_INFORMATIONAL: Final = frozenset({"SuccessfulAuth", "ChallengeSent"})


def security_headers(
    event: str,
    now: Millis,
    *,
    account: str,
    source: str,
    service: str = "PJSIP",
    session: str = "a84b4c76e66710@198.51.100.7",
    local: str = "192.0.2.10:5060",
    more: Headers | None = None,
) -> Headers:
    """Write InvalidPassword, InvalidAccountID, ChallengeResponseFailed, FailedACL, SuccessfulAuth, ChallengeSent...

    `source` and `local` are address:port; an IPv6 address stands bare, as Asterisk writes it: '2001:db8::7:5060'.
    """
    transport = "UDP" if service == "PJSIP" else "TCP"
    return [
        ("EventTV", _moment(now)),
        ("Severity", "Informational" if event in _INFORMATIONAL else "Error"),
        ("Service", service),
        ("EventVersion", _VERSIONS.get(event, "1")),
        ("AccountID", account),
        ("SessionID", session),
        ("LocalAddress", _address(local, transport)),
        ("RemoteAddress", _address(source, transport)),
        *(_MORE.get(event, []) if more is None else more),
    ]


def _moment(now: Millis) -> str:
    return datetime.fromtimestamp(now / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{now % 1000:03d}+0000"


def _address(text: str, transport: str) -> str:
    address, _, port = text.rpartition(":")
    return f"{'IPV6' if ':' in address else 'IPV4'}/{transport}/{address}/{port}"
