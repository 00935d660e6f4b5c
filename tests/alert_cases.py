"""Alerts, deliveries and messages for tests that need some."""

from fraudguard.alerts.text import render
from fraudguard.policy.alert import Alert, Delivery

NOW = 1_800_000_000_000


def alert(**changes):
    fields = {
        "id": 12,
        "kind": "over_limit",
        "severity": "warning",
        "first_at": NOW,
        "last_at": NOW,
        "tries": 1,
        "tenant": "acme",
        "account": "204",
        "source": "198.51.100.7:5060",
        "trunk": "carrier",
        "dialled": "01188216000",
        "number": "+88216000",
        "destination": "Networks",
        "per_minute": 3_500_000,
        "connect_fee": 4_000_000,
        "highest": 250_000,
        "limit_scope": "tenant",
        "reason": "over_limit",
        "call": "c0ffee",
    }
    return Alert(**(fields | changes))


def delivery(part=0, *, told=None, **changes):
    fields = {
        "id": 7,
        "alert": told or alert(),
        "channel": "mail",
        "part": part,
        "tries": 47 if part else 1,
        "alerts": 0 if part else 1,
        "since": NOW,
        "until": NOW + (190_000 if part else 0),
        "target": "+882\N{HORIZONTAL ELLIPSIS}" if part else "+88216000",
        "origin": "198.51.100.7",
        "dearest": 3_500_000,
    }
    return Delivery(**(fields | changes))


def message(part=0, **changes):
    return render(delivery(part, **changes), "USD")
