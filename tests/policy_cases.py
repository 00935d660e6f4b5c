"""Attempts, numbers, rates and facts for tests that need some."""

from fraudguard.numbering import BadNumber, Kind, Number
from fraudguard.policy import Attempt, Facts, Limit, PolicyIndex, Scope, Snapshot
from fraudguard.rating import Rate

NOW = 1_800_000_000_000


def attempt(**changes):
    fields = {
        "number": "01188216000",
        "trunk": "carrier",
        "account": "204",
        "tenant": "acme",
        "source": "198.51.100.7:5060",
        "at": NOW,
    }
    return Attempt(**(fields | changes))


def number(digits="88216000", kind=Kind.SATELLITE, region=None, least_prefix=0):
    return Number(dialled=digits, digits=digits, region=region, kind=kind, least_prefix=least_prefix)


def rate(per_minute=100_000, connect_fee=0, **changes):
    fields = {
        "prefix": "882",
        "destination": "Somewhere",
        "minimum_seconds": 0,
        "increment_seconds": 60,
        "effective_from": 0,
    }
    return Rate(per_minute=per_minute, connect_fee=connect_fee, **(fields | changes))


def facts(*, dialled=None, price=None, limit=250_000, grant=None, block=None, **pin):
    dialled = dialled or number()
    return Facts(
        attempt=attempt(number=dialled.dialled),
        number=dialled,
        deck="a",
        rate=price,
        limit=Limit(Scope(), limit),
        grant=grant,
        block=block,
        **pin,
    )


BAD = BadNumber("*67", "it holds characters other than digits")


def index(**parts) -> PolicyIndex:
    return PolicyIndex(Snapshot(**({"decks": {}} | parts)))
