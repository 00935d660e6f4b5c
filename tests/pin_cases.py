"""PINs, and the parts that ask for them, for tests that need some. Sealing is as in the service, but costs nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from policy_cases import NOW, attempt, facts, number, rate

from fraudguard.asking.asker import PinAsker
from fraudguard.house import Asking, House, Tenancy
from fraudguard.ledger import Ledger
from fraudguard.ledger.pots import bucket_of
from fraudguard.numbering import HomePlan, Kind, Normaliser
from fraudguard.pins.digits import Digits
from fraudguard.pins.guessing import Guesses
from fraudguard.pins.vault import Vault
from fraudguard.policy import PolicyIndex, Snapshot
from fraudguard.policy.budget import Payer
from fraudguard.policy.lease import LeaseTerms
from fraudguard.policy.pin import Pin, PinKind, Terms
from fraudguard.rating import Deck, PrefixTable

VAULT = Vault(bytes(range(32)))
SCHEME = replace(VAULT.new_scheme(), passes=1, kib=8)
RIGHT, WRONG = "480915", "730264"
LONDON = number("442079460000", Kind.INTERNATIONAL, "GB")
PARIS = number("33142685300", Kind.INTERNATIONAL, "FR")
PRICE = rate(60_000, prefix="44", increment_seconds=1)
DECKS = {"a": Deck("a", "USD", 1, PrefixTable([rate(10_000, prefix="1"), rate(10_000, prefix="33"), PRICE]))}
ASKING = Asking(
    kinds=frozenset({Kind.INTERNATIONAL, Kind.PREMIUM, Kind.SATELLITE, Kind.UNKNOWN}),
    ask="agent-pass",
    again="auth-incorrect",
    refused="cannot-complete",
)
MINUTE = 60_000


def pin(digits=RIGHT, *, kind=PinKind.DIGITS, tenant="acme", **changes):
    """A PIN of those digits; `changes` are fields of the PIN or of its terms."""
    terms = {key: changes.pop(key) for key in tuple(changes) if key in Terms.__dataclass_fields__}
    seal = VAULT.new_totp() if kind is PinKind.TOTP else VAULT.seal(SCHEME, tenant, Digits(digits))
    fields = {"id": 1, "name": "anna", "duress": False, "author": "root", "created": 0}
    return Pin(tenant=tenant, kind=kind, terms=Terms(**terms), seal=seal, **(fields | changes))


def policy(*pins, **parts):
    return PolicyIndex(Snapshot(decks=DECKS, pins=pins, schemes={"acme": SCHEME}, **parts))


def house(asking=ASKING, **changes):
    tenancy = Tenancy(Normaliser(HomePlan()), {}, asking)
    fields = {
        "trunks": {"carrier": "a"},
        "tenancies": {"acme": tenancy},
        "fallback": tenancy,
        "lease": LeaseTerms(longest=600),
    }
    return House(**(fields | changes))


def wanted(dialled=LONDON, **changes):
    """The facts of an attempt that wants a PIN; `changes` are fields of the attempt."""
    return replace(facts(dialled=dialled, price=PRICE, asks=True), attempt=attempt(number=dialled.digits, **changes))


class StillClock:
    def __init__(self, at=NOW):
        self.at = at

    def now(self):
        return self.at

    def monotonic(self):
        return self.at / 1000


class Known:
    """Knows PINs by their digits (asker.Verifier), and does `meanwhile` while it looks."""

    def __init__(self, *pins, events=None):
        self.pins = dict(pins)
        self.events = [] if events is None else events
        self.looked = 0
        self.is_ready = True

    def ready(self, tenant):
        return self.is_ready

    async def meanwhile(self):
        await asyncio.sleep(0)

    async def verify(self, tenant, account, digits):
        self.events.append("verify")
        self.looked += 1
        await self.meanwhile()
        return self.pins.get(digits.reveal())


class Kept:
    """Keeps failures (asker.Records), and does `before` each time."""

    def __init__(self, events=None):
        self.events = [] if events is None else events
        self.failures = {}

    async def before(self, what):
        await asyncio.sleep(0)

    async def note(self, failure):
        await self.before("note")
        self.events.append("note")
        id_ = len(self.events)
        self.failures[id_] = failure
        return id_

    async def forget(self, failure_id):
        await self.before("forget")
        self.events.append("forget")
        del self.failures[failure_id]


class Desk:
    """A PinAsker and all that it works with; the ledger knows what is spent of the policy that it begins with."""

    def __init__(self, *pins, asking=ASKING, verifier=None, **parts):
        self.events = []
        self.house = house(asking)
        self.policy = policy(*pins, **parts)
        self.clock = StillClock()
        self.verifier = verifier or Known(*((RIGHT, one) for one in pins[:1]), events=self.events)
        self.records = Kept(self.events)
        self.guesses = Guesses()
        self.alerts = []
        self.ledger = Ledger(self.house, "pbx")
        self.ledger.treasury.load(self.policy.budgets, ())
        self.asker = PinAsker(
            self.house,
            lambda: self.policy,
            self.verifier,
            self.records,
            self.guesses,
            self.clock,
            alert=self.alerts.append,
            standing=self.ledger.standing,
        )

    def spend(self, amount, who="anna"):
        """Have so much spent by a person's calls a moment ago."""
        spent = [(bucket_of(self.clock.at), Payer("acme", "204", who, "carrier", "GB", domestic=False), amount)]
        self.ledger.treasury.load(self.policy.budgets, spent)

    @property
    def told(self):
        return [alert.kind.value for alert in self.alerts]


class Memory:
    """Records verdicts (guard.Recorder)."""

    def __init__(self):
        self.verdicts = []

    def record(self, verdict):
        self.verdicts.append(verdict)
        stored = asyncio.get_running_loop().create_future()
        stored.set_result(verdict)
        return stored

    @property
    def reasons(self):
        return [verdict.reason.value for verdict in self.verdicts]
