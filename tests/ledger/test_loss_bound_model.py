"""Random histories of callers, an Asterisk, a carrier and a guard that may die: what is spent stays within the budgets.

The carrier's own clock says what a call costs. It sees answers up to 0.2 s before the ledger does and ends up to 0.5 s
after it. The database is a real one; what was not committed is lost when the guard is killed.
"""

import os
import sqlite3
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from store_cases import EMPTY

from fraudguard.config import Settings
from fraudguard.guard import judge
from fraudguard.house import build_house
from fraudguard.ledger import Leg, State
from fraudguard.ledger.legs import SECOND_LEG
from fraudguard.ledger.pots import ROLLING_MILLIS, period_of
from fraudguard.ledger.records import Answered, Dialled, HungUp, Moved, Seen, TurnedDown
from fraudguard.policy import Attempt, Block, Limit, PolicyIndex, Snapshot
from fraudguard.policy.budget import Budget, BudgetIndex, BudgetScope, Period
from fraudguard.policy.lease import LeaseTerms
from fraudguard.policy.pin import Keyed, Pin, PinKind, Seal, Terms
from fraudguard.policy.records import EVERYBODY
from fraudguard.rating import Deck, PrefixTable, Rate, cost
from fraudguard.store.calls import followed_until, note_followed, save_calls
from fraudguard.store.ledger import stored_ledger
from fraudguard.store.spending import spent_since
from fraudguard.store.tempo import stored_tempo
from fraudguard.store.verdicts import attempt_row, store_batch

SECOND = 1000
MINUTE = 60 * SECOND
EARLY, LATE = 200, 500  # how much sooner an answer, and later an end, the carrier may see
SLOW = 10 * SECOND  # how long a dialplan takes at most from a verdict, or a failed leg, to the next Dial
RINGING = MINUTE
UNNOTICED = 11 * SECOND
PROMPT = 500

_ATTEMPTS = ("account_attempts", "tenant_attempts", "source_attempts", "region_attempts", "same_number", "new_regions")
_NO_SPEED = dict.fromkeys((*_ATTEMPTS, "account_calls", "tenant_calls"), 0)
HOUSE = build_house(
    Settings(
        numbering={"home": "US"},
        zone="America/New_York",
        tenants={
            "acme": {"home": "US", "zone": "Europe/London"},
            "beta": {"home": "US", "zone": "Asia/Kathmandu"},
        },
        trunks={"carrier": {"deck": "main"}, "spare": {"deck": "main"}},
        strict={"hours": ("22:00-06:00",)},
        speed=_NO_SPEED,
    )
)
RATES = (
    Rate("1", "Home", 60_000, 0, 0, 60, 0),
    Rate("33", "France", 600_000, 0, 0, 1, 0),
    Rate("49", "Germany", 700_001, 5_000, 30, 6, 0),
    Rate("53", "Cuba", 3_000_000, 100_000, 60, 60, 0),
    Rate("8821", "Satellite", 9_000_000, 0, 60, 1, 0),
)
DECKS = {"main": Deck("main", "USD", 1, PrefixTable(RATES))}
NUMBERS = ("+33142685300", "+4930123456", "+5355512345", "+88216000123", "+12125550100")
ACCOUNTS = (("acme", "204"), ("acme", "205"), ("beta", "204"))
TERMS = (LeaseTerms(60, 7200, 14_400), LeaseTerms(2, 60, 300), LeaseTerms(20, 600, 600))
LONDON = ZoneInfo("Europe/London")


def _instant(*parts):
    return int(datetime(*parts, tzinfo=LONDON).timestamp() * 1000)


STARTS = (
    _instant(2027, 3, 3, 10, 40),
    _instant(2027, 3, 3, 11, 58),
    _instant(2027, 2, 28, 23, 58),
    _instant(2027, 3, 3, 21, 57),
    _instant(2027, 3, 4, 5, 58, 30),
    _instant(2027, 3, 3, 18, 13),  # midnight in Kathmandu is at 18:15
)
WITNESS = Budget(BudgetScope(), Period.MONTH, 10**12, rolling=True, id=1)
SCOPES = (
    BudgetScope("*", "*"),
    BudgetScope("*"),
    BudgetScope(),
    BudgetScope("acme", "204"),
    BudgetScope("*", None, "*"),
    BudgetScope(None, None, None, "carrier"),
    BudgetScope(None, None, None, None, "CU"),
    BudgetScope("*", "*", None, "*", "*"),
)
AMOUNTS = (90_000, 700_000, 2_500_000, 6_000_000, 30_000_000)
budgets = st.builds(
    Budget,
    st.sampled_from(SCOPES),
    st.sampled_from(Period),
    st.sampled_from(AMOUNTS),
    rolling=st.booleans(),
    strict=st.integers(0, 3).map(lambda n: n == 0),
    id=st.just(2),
)


def pin_of(name, per_day):
    terms = Terms(per_day=per_day)
    return Pin(1, "acme", name, PinKind.DIGITS, False, terms, Seal(name.encode(), b""), "root", 0)


def policy_of(budgets, pins, blocked):
    unique = {(one.scope, one.period, one.strict): one for one in (*budgets, WITNESS)}
    blocks = tuple(Block(1, EVERYBODY, prefix, "", None, "", "root", 0) for prefix in blocked)
    return PolicyIndex(
        Snapshot(DECKS, limits=(Limit(EVERYBODY, 10**9),), blocks=blocks, pins=pins, budgets=tuple(unique.values()))
    )


@dataclass(eq=False)
class Phone:
    """Whoever dials: a phone's channel, or a leg that was transferred and has become a caller."""

    uid: str
    linkedid: str
    tenant: str
    account: str
    began_at: int
    alive: bool = True
    transferred: bool = False


@dataclass(eq=False)
class Given:
    """A verdict as it is out in the world."""

    verdict: object
    phone: Phone
    dial_until: int
    reached: bool = False  # Asterisk
    legs: list = field(default_factory=list)
    excused: bool = False  # it cannot be told which leg is by it, or that there was a second
    doubled: bool = False  # two legs at once by it, or one after another was answered

    @property
    def id(self):
        return self.verdict.call

    @property
    def rate(self):
        return self.verdict.facts.rate

    @property
    def good_until(self):
        return self.verdict.facts.attempt.at + self.verdict.lease_seconds * SECOND + 9 * MINUTE

    def like(self, other):
        mine, others = self.verdict.facts.attempt, other.verdict.facts.attempt
        return self.phone is other.phone and (mine.number, mine.trunk) == (others.number, others.trunk)

    def most(self, seconds):
        return 0 if self.rate is None else cost(self.rate, seconds)


@dataclass(eq=False)
class Trunk:
    """A leg as it really is, at Asterisk and at the carrier."""

    leg: Leg
    given: Given
    phone: Phone | None  # None: it was transferred, and lives by itself
    began_at: int
    answered_at: int | None = None
    ends_at: int | None = None  # Asterisk's timer
    ended_at: int | None = None
    early: int = 0
    late: int = 0

    @property
    def seconds(self):
        """What the carrier bills, or would at most if nobody hangs up."""
        end = self.ends_at + LATE if self.ended_at is None else self.ended_at + self.late
        return -(-(end - self.answered_at + self.early) // 1000)


@dataclass(eq=False)
class Order:
    due: int
    leg: Leg
    asked_at: int
    timeout: int | None = None  # None: hang up
    seconds: int = 0
    tries: int = 5


class Bound(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.db.deserialize(EMPTY)
        self.numbered = 0
        self.phones, self.given, self.noted = [], {}, []
        self.trunks, self.live = {}, {}
        self.orders, self.pending = [], {}
        self.ended = {}  # calls as stored
        self.store_works = True
        self.link = "down"  # or up; or dead, and nobody has noticed
        self.dead_at = 0
        self.missed = None
        self.alive = False
        self.allowed = {}
        self.loose = set()  # pots that paid for what no verdict allowed
        self.edited = False
        self.found_again = False
        self.early = self.late = self.slowness = 0
        self.settled_at = self.noted_at = 0
        self.strict = {}

    # -- the beginning

    @initialize(
        start=st.sampled_from(STARTS),
        terms=st.sampled_from(TERMS),
        chosen=st.lists(budgets, max_size=3),
        per_day=st.sampled_from((None, 500_000, 4_000_000)),
    )
    def begin(self, start, terms, chosen, per_day):
        self.now = self.began_at = start
        self.house = replace(HOUSE, lease=terms)
        self.pins = (pin_of("anna", per_day),)
        self.chosen, self.blocked = tuple(chosen), ()
        self.policy = policy_of(self.chosen, self.pins, self.blocked)
        self.strict = {name: self.house.is_strict(name, self.now) for name in ("acme", "beta")}
        self.start()
        self.reconnect(exact=True)
        self.write(lambda: note_followed(self.db, {"pbx": self.now}))
        self.new_phone(0)
        self.new_phone(1)

    # -- callers

    @rule(which=st.integers(0, 2))
    def new_phone(self, which):
        uid = self.new_id()
        self.phones.append(Phone(uid, uid, *ACCOUNTS[which], self.now))

    @precondition(lambda self: self.alive and self.phones)
    @rule(
        who=st.integers(0, 7),
        number=st.sampled_from(NUMBERS),
        trunk=st.sampled_from(("carrier", "spare")),
        keyed=st.booleans(),
        fate=st.sampled_from(["answered"] * 6 + ["later"] * 2 + ["failed", "cancelled", "lost"]),
        then=st.integers(0, 3),
    )
    def attempt(self, who, number, trunk, keyed, fate, then):
        """Somebody dials; then by what `then` says the leg rings and is answered, all at once."""
        phone = self.phones[who % len(self.phones)]
        attempt = Attempt(
            *(number, trunk, phone.account, phone.tenant, "", self.now, "pbx", phone.linkedid, phone.transferred),
            uniqueid=phone.uid,
        )
        pins = [pin for pin in self.pins if pin.tenant == phone.tenant and keyed and not phone.transferred]
        key = Keyed(self.now, pin=pins[0]) if pins else Keyed(self.now, assumed=True)
        verdict = judge(self.house, self.policy, attempt, self.new_id(), key, standing=self.ledger.standing)
        self.ledger.note(verdict)
        if verdict.allowed:
            given = Given(verdict, phone, self.now + SLOW)
            alike = [one for one in self.given.values() if one.like(given) and self.may_dial(one)]
            alike += [one for one in self.given.values() if one.like(given) and self.unfinished(one)]
            for one in (*alike, given) if alike else ():  # found in a list of channels, a leg may be taken for either's
                one.excused = True
                self.loosen(one.verdict.facts.payer, strict=True)
            if fate == "later":
                self.noted.append(given)
            else:
                self.commit(given, fate)
            if given.reached and then:
                self.dial(given)
                if then > 1:
                    self.answer(given.legs[-1])

    @precondition(lambda self: self.alive and self.noted)
    @rule(which=st.integers(0, 3), fate=st.sampled_from(["answered"] * 3 + ["failed", "cancelled", "lost"]))
    def commit_later(self, which, fate):
        self.commit(self.noted.pop(which % len(self.noted)), fate)

    def commit(self, given, fate):
        if fate == "failed" or not self.store_works:
            self.ledger.drop(given.id)
            return
        self.write(lambda: store_batch([attempt_row(given.verdict)], self.db))
        self.given[given.id] = given
        waited = self.now - given.verdict.facts.attempt.at
        if fate == "cancelled" or not given.phone.alive or waited > SLOW:
            self.ledger.drop(given.id)
        else:
            self.ledger.admit(given.verdict)
            given.reached = fate == "answered"
            given.dial_until = self.now + SLOW

    def may_dial(self, given):
        return (
            given.reached
            and given.phone.alive
            and self.now <= min(given.dial_until, given.good_until)
            and not any(leg.ended_at is None or leg.answered_at for leg in given.legs)
        )

    @staticmethod
    def unfinished(given):
        return any(leg.ended_at is None for leg in given.legs)

    @precondition(lambda self: any(map(self.may_dial, self.given.values())))
    @rule(which=st.integers(0, 3))
    def dial_as_allowed(self, which):
        able = [given for given in self.given.values() if self.may_dial(given)]
        self.dial(able[which % len(able)])

    @precondition(lambda self: self.link == "up" and self.given and not self.ledger.looks_into("pbx"))
    @rule(which=st.integers(0, 7))
    def dial_once_more(self, which):
        """By a verdict that was used up."""
        given = list(self.given.values())[which % len(self.given)]
        if (
            given.reached
            and given.phone.alive
            and given.legs
            and self.now <= given.dial_until + MINUTE
            and self.now <= given.good_until
        ):
            given.doubled = True
            self.dial(given)

    def dial(self, given):
        uid, phone = self.new_id(), given.phone
        attempt = given.verdict.facts.attempt
        leg = Leg("pbx", uid, phone.linkedid, f"PJSIP/{attempt.trunk}-{self.numbered:08x}")
        trunk = self.trunks[uid] = self.live[uid] = Trunk(leg, given, phone, self.now)
        given.legs.append(trunk)
        self.tell(Dialled(self.now, leg, self.string(trunk), self.caller(phone), application="Dial"))

    @precondition(lambda self: any(leg.answered_at is None for leg in self.live.values()))
    @rule(which=st.integers(0, 3))
    def answer_one(self, which):
        ringing = [leg for leg in self.live.values() if leg.answered_at is None]
        self.answer(ringing[which % len(ringing)])

    def answer(self, trunk):
        if trunk.ended_at is not None:
            return
        trunk.early, trunk.answered_at = self.early, self.now
        trunk.ends_at = self.now + trunk.given.verdict.lease_seconds * SECOND
        self.tell(Answered(self.now, "pbx", trunk.leg.uniqueid))

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 7))
    def hang_up_leg(self, which):
        self.end(list(self.live.values())[which % len(self.live)])

    @precondition(lambda self: self.phones)
    @rule(which=st.integers(0, 7), leg_first=st.booleans())
    def hang_up_phone(self, which, leg_first):
        phone = self.phones[which % len(self.phones)]
        legs = [leg for leg in self.live.values() if leg.phone is phone]
        phone.alive = False
        if leg_first:
            for leg in legs:
                self.end(leg)
        self.phone_gone(phone)
        for leg in legs:
            if not leg_first and leg.ended_at is None:
                self.end(leg)

    def phone_gone(self, phone):
        phone.alive = False
        if phone not in self.phones:
            return
        self.phones.remove(phone)
        if phone.transferred:
            self.end(self.trunks[phone.uid])
        else:
            self.tell(HungUp(self.now, "pbx", phone.uid, 16))

    def end(self, trunk):
        if trunk.ended_at is not None:
            return
        if trunk.answered_at is None and (trunk.phone is None or trunk.phone.alive):
            self.tell(TurnedDown(self.now, "pbx", trunk.leg.uniqueid))
        trunk.ended_at, trunk.late = self.now, self.late
        trunk.given.dial_until = self.now + SLOW
        uid = trunk.leg.uniqueid
        del self.live[uid]
        for phone in [one for one in self.phones if one.uid == uid]:
            phone.alive = False
            self.phones.remove(phone)
            for other in [leg for leg in self.live.values() if leg.phone is phone]:
                self.end(other)
        self.tell(HungUp(self.now, "pbx", uid, 16))

    @precondition(lambda self: self.transferable())
    @rule(which=st.integers(0, 3))
    def blind_transfer(self, which):
        """The phone sends the leg on, and is gone: the leg dials now."""
        trunk = self.transferable()[which % len(self.transferable())]
        phone, trunk.phone = trunk.phone, None
        for other in [leg for leg in self.live.values() if leg.phone is phone]:
            self.end(other)
        self.phone_gone(phone)
        self.phones.append(
            Phone(trunk.leg.uniqueid, trunk.leg.linkedid, phone.tenant, phone.account, self.now, transferred=True)
        )

    def transferable(self):
        return [
            leg for leg in self.live.values() if leg.answered_at and leg.phone is not None and not leg.phone.transferred
        ]

    @precondition(lambda self: len(self.transferable()) > 1)
    @rule(first=st.integers(0, 3), second=st.integers(0, 3))
    def attended_transfer(self, first, second):
        able = self.transferable()
        one, other = able[first % len(able)], able[second % len(able)]
        if one is other:
            return
        phones = {one.phone, other.phone}
        one.phone = other.phone = None
        old, new = other.leg.linkedid, one.leg.linkedid
        for phone in self.phones:
            if phone.linkedid == old != new:
                phone.linkedid = new
                self.tell(Moved(self.now, self.caller(phone)))
        for leg in list(self.live.values()):
            if leg.leg.linkedid == old != new:
                leg.leg = replace(leg.leg, linkedid=new)
                self.tell(Moved(self.now, leg.leg))
        for phone in sorted(phones, key=lambda phone: phone.uid):
            for leg in [leg for leg in self.live.values() if leg.phone is phone]:
                self.end(leg)
            self.phone_gone(phone)

    # -- time

    @rule(
        millis=st.integers(1, 2 * SECOND)
        | st.integers(1, 90).map(SECOND.__mul__)
        | st.integers(1, 150).map(MINUTE.__mul__)
    )
    def wait(self, millis):
        self.advance(self.now + millis)

    @rule(after=st.integers(-1, 2 * SECOND))
    def wait_for_the_hour(self, after):
        _, end = period_of(Period.HOUR, self.now, LONDON)
        self.advance(max(self.now, end + after))

    @precondition(lambda self: any(leg.answered_at for leg in self.live.values()))
    @rule(before=st.integers(-2 * SECOND, 7 * SECOND))
    def wait_for_a_lease(self, before):
        ends = min(leg.ends_at for leg in self.live.values() if leg.answered_at)
        self.advance(max(self.now, ends - before))

    @rule(
        early=st.integers(0, EARLY),
        late=st.integers(0, LATE),
        slowness=st.sampled_from((0, 20, 300, PROMPT, 700)),
    )
    def be_slow(self, early, late, slowness):
        self.early, self.late, self.slowness = early, late, slowness

    def advance(self, until):
        pause = max(SECOND, (until - self.now) // 8)
        turn = self.now + pause
        while True:
            self.tick()
            at = min((turn, *self.instants()), default=turn)
            if at > until:
                break
            self.now = max(at, self.now + 1)
            if self.now >= turn:
                turn = self.now + pause
        self.now = until
        self.tick()

    def instants(self):
        """When something happens next."""
        yield from (leg.ends_at or leg.began_at + RINGING for leg in self.live.values())
        yield from (order.due for order in self.orders)
        if self.link == "dead":
            yield self.dead_at + UNNOTICED
        if self.alive:
            if self.pending and self.store_works:
                yield self.now + 100
            if self.link == "up":
                yield from (at for at, _ in self.ledger._leases._due[:1])
                yield from (gap.due + SECOND for gap in self.ledger._legs._gaps if gap.due > self.now)

    def tick(self):
        if self.alive and self.store_works:
            self.flush()
        for leg in [leg for leg in self.live.values() if (leg.ends_at or leg.began_at + RINGING) <= self.now]:
            self.end(leg)
        for order in [order for order in self.orders if order.due <= self.now]:
            self.orders.remove(order)
            self.arrives(order)
        if self.link == "dead" and self.now >= self.dead_at + UNNOTICED:
            self.notice()
        if not self.alive:
            return
        self.strict_begins()
        self.keep(self.ledger.renew(self.now))
        if self.now >= self.settled_at + SECOND:
            self.settled_at = self.now
            self.keep(self.ledger.settle(self.now))
            followed = self.link != "down" and not self.ledger.looks_into("pbx")
            if followed and self.store_works and self.now >= self.noted_at + 5 * SECOND:
                self.noted_at = self.now
                self.write(lambda: note_followed(self.db, {"pbx": self.now}))

    def strict_begins(self):
        for tenant, before in self.strict.items():
            self.strict[tenant] = self.house.is_strict(tenant, self.now)
            if self.strict[tenant] and not before:
                for holding in self.ledger.treasury._holdings.values():
                    if holding.payer.tenant == tenant:
                        self.loosen(holding.payer, strict=True, only_strict=True)

    # -- the database

    def write(self, work):
        self.db.execute("BEGIN")
        work()
        self.db.execute("COMMIT")

    @rule()
    def store_fails(self):
        self.store_works = False

    @rule()
    def store_recovers(self):
        self.store_works = True

    def keep(self, changes):
        for call in changes.calls:
            key = (call.leg.asterisk, call.leg.uniqueid)
            old = self.pending.get(key)
            if old is None or old.state is not State.ENDED or call.state is State.ENDED:
                self.pending[key] = call
            if call.cut == SECOND_LEG:
                given = self.given[call.call]
                unseen = given.id in {uid for _, uid in self.ended}
                assert given.excused or given.doubled or len(given.legs) > 1 or unseen, "hung up by mistake"
                self.loosen(call.payer, strict=self.house.is_strict(call.tenant, self.now))
        for leg in changes.hang_up:
            self.order(Order(self.when(), leg, self.now))
        for leg in changes.tell_end:
            self.tell_end(leg)

    def flush(self, *, tell=True):
        if not self.pending:
            return
        batch, self.pending = list(self.pending.values()), {}
        self.write(lambda: save_calls(self.db, batch))
        for call in batch:
            key = (call.leg.asterisk, call.leg.uniqueid)
            if call.state is State.ENDED:
                self.ended[key] = call
        if tell:
            for leg in self.ledger.stored(batch, self.now):
                self.tell_end(leg)

    # -- orders to Asterisk

    def when(self):
        last = self.orders[-1].due if self.orders else 0
        return max(last, self.now + self.slowness)

    def order(self, order):
        if self.link != "down":
            self.orders.append(order)

    def tell_end(self, leg, tries=5):
        end = self.ledger.end_of(leg)
        if end is None or tries == 0:
            return
        now_named, ends_at, seconds = end
        if ends_at - self.now < 100:
            self.order(Order(self.when(), now_named, self.now))
        else:
            self.order(Order(self.when(), now_named, self.now, ends_at - self.now, seconds, tries))

    def arrives(self, order):
        if self.link != "up":
            return
        trunk = self.live.get(order.leg.uniqueid)
        if trunk is None:
            return
        if order.timeout is None:
            self.end(trunk)
            return
        if trunk.answered_at is not None:
            trunk.ends_at = self.now + order.timeout
        if not self.alive:
            return
        if self.now - order.asked_at <= PROMPT:
            self.keep(self.ledger.told_end(order.leg, order.seconds))
        else:
            self.tell_end(order.leg, order.tries - 1)

    # -- the link

    @precondition(lambda self: self.link == "up" and self.alive)
    @rule()
    def link_dies(self):
        self.link, self.dead_at = "dead", self.now

    @precondition(lambda self: self.link == "dead")
    @rule()
    def notice(self):
        self.link, self.orders = "down", []
        if self.alive:
            self.ledger.unlinked("pbx")
            self.missed = self.now

    @precondition(lambda self: self.alive and self.link == "down")
    @rule(exact=st.booleans())
    def reconnect(self, exact):
        since = None if self.missed is None else self.missed - UNNOTICED
        self.link, self.missed = "up", None
        self.list_channels(exact, since)

    @precondition(lambda self: self.alive and self.link == "up")
    @rule()
    def list_again(self):
        self.list_channels(True, None)

    def list_channels(self, exact, since):
        before = {key for key, call in self.ended.items() if call.state is State.ENDED}
        self.keep(self.ledger.resync("pbx", list(self.seen(exact)), self.now, since))
        self.found_again |= any(("pbx", uid) in before for uid in self.live)
        if not exact:  # who cannot say when it was answered may have counted too much
            for call in self.ledger.live():
                self.loosen(call.payer, strict=self.house.is_strict(call.tenant, self.now))

    def seen(self, exact):
        for phone in self.phones:
            if not phone.transferred:
                yield Seen(self.caller(phone), True, phone.began_at, application="Dial")
        for trunk in self.live.values():
            yield Seen(
                *(trunk.leg, trunk.answered_at is not None, trunk.began_at, trunk.answered_at if exact else None),
                string=self.string(trunk),
                application="AppDial",
            )

    @rule()
    def asterisk_dies(self):
        for phone in list(self.phones):
            phone.alive = False
        self.phones = []
        self.link = "dead" if self.link == "up" else self.link
        for trunk in self.live.values():
            trunk.ended_at, trunk.late = self.now, self.late
        self.live = {}
        if self.link == "dead":
            self.notice()

    def tell(self, event):
        if self.link == "up" and self.alive:
            self.keep(self.ledger.apply(event))

    # -- the guard

    @precondition(lambda self: self.alive)
    @rule(written=st.booleans(), arrives=st.booleans())
    def kill(self, written, arrives):
        """In the middle of it: what it was about to do is done, or not."""
        if written and self.store_works:
            self.flush(tell=False)
            for given in self.noted:
                self.write(lambda given=given: store_batch([attempt_row(given.verdict)], self.db))
                self.given[given.id] = given
        self.alive = False
        for given in self.given.values():
            if given.legs and self.may_dial(given):  # what a dialplan does again by a verdict is not kept over a kill
                given.dial_until = self.now - 1
            if given.doubled or len(given.legs) > 1:  # nothing says so but the last leg, which may not be stored yet
                given.excused = True
                payer = given.verdict.facts.payer
                self.loosen(payer, strict=True)
        if arrives:
            for order in self.orders:
                self.arrives(order)
        self.pending, self.noted, self.orders = {}, [], []
        self.link = "down"

    @precondition(lambda self: not self.alive)
    @rule()
    def start(self):
        self.alive, self.link = True, "down"
        self.ledger = stored_ledger(
            *(self.db, self.house, self.policy, self.now),
            asterisks=("pbx",),
            tempo=stored_tempo(self.db, self.house, self.now),
        )
        self.missed = followed_until(self.db).get("pbx")
        self.settled_at = self.noted_at = 0
        self.strict = dict.fromkeys(self.strict, False)
        self.strict_begins()
        self.budgets_begin()

    # -- operators

    @rule(chosen=st.lists(budgets, max_size=3), factor=st.sampled_from((None, 0, 1, 3)))
    def edit_budgets(self, chosen, factor):
        if factor is None:
            self.chosen = tuple(chosen)
        else:
            self.chosen = tuple(replace(one, amount=one.amount * factor // 2) for one in self.chosen)
        self.edit()

    @rule(prefix=st.sampled_from(("", "33", "53")))
    def edit_blocks(self, prefix):
        self.blocked = (prefix,) if prefix else ()
        self.edit()

    @rule(per_day=st.sampled_from((0, None, 300_000, 5_000_000)))
    def edit_pins(self, per_day):
        self.pins = () if per_day == 0 else (pin_of("anna", per_day),)
        self.edit()

    def edit(self):
        self.edited = True
        self.policy = policy_of(self.chosen, self.pins, self.blocked)
        if not self.alive:
            return
        if self.policy.budgets != self.ledger.treasury.budgets and self.store_works:
            self.flush()
            self.ledger.treasury.load(self.policy.budgets, spent_since(self.db, self.now - 32 * 24 * 60 * MINUTE))
            self.budgets_begin()
        self.keep(self.ledger.reconsider(self.policy, self.now))

    def budgets_begin(self):
        self.allowed = {}
        for pot in self.ledger.treasury.pots():
            level = pot.spent(self.now) + pot.held
            self.allowed[pot.budget, pot.values] = max(pot.budget.amount, level)

    def loosen(self, payer, *, strict, only_strict=False):
        for budget, values in BudgetIndex(self.ledger.treasury.budgets).applying(payer, strict=strict):
            if budget.strict or not only_strict:
                self.loose.add((budget.scope, budget.period, values))

    # -- what must hold

    @invariant()
    def every_pot_is_within_its_budget(self):
        if not self.alive:
            return
        held, live = Counter(), Counter()
        for holding in self.ledger.treasury._holdings.values():
            for pot in holding.pots:
                held[pot] += holding.held
                live[pot] += 1
        for pot in self.ledger.treasury.pots():
            assert (pot.held, pot.live) == (held[pot], live[pot])
            level = pot.spent(self.now) + pot.held
            key = pot.budget, pot.values
            most = self.allowed.get(key, pot.budget.amount)
            self.allowed[key] = min(most, max(level, pot.budget.amount))
            if (pot.budget.scope, pot.budget.period, pot.values) not in self.loose:
                assert level <= most, (str(pot.budget), pot.values, level, most)

    @invariant()
    def what_a_verdict_can_cost_is_set_aside_or_counted(self):
        if not self.alive:
            return
        covered = Counter()
        for holding in self.ledger.treasury._holdings.values():
            covered[holding.verdict] += holding.total
        for key, call in self.ended.items():
            if key not in self.ledger.treasury._holdings:
                covered[call.call] += call.charged_at(self.now)
        for given in self.given.values():
            if given.reached and not given.excused:
                needed = sum(given.most(leg.seconds) for leg in given.legs if leg.answered_at is not None)
                ringing = any(leg.ended_at is None and leg.answered_at is None for leg in given.legs)
                if not given.doubled and (ringing or self.may_dial(given)):
                    needed += given.most(given.verdict.lease_seconds + 1)
                assert covered[given.id] >= needed, (given.id, covered[given.id], needed)

    # -- the end

    def teardown(self):
        try:
            if hasattr(self, "house"):
                self.finish()
        finally:
            self.db.close()

    def finish(self):
        if not self.alive:
            self.start()
        self.store_works = True
        self.be_slow(early=0, late=0, slowness=0)
        for given in self.noted:
            self.commit(given, "failed")
        self.noted = []
        if self.link == "dead":
            self.notice()
        for phone in list(self.phones):
            self.phone_gone(phone)
        for leg in list(self.live.values()):
            self.end(leg)
        if self.link == "down":
            self.reconnect(exact=True)
        for _ in range(10):
            self.advance(self.now + 2 * SECOND)
        self.every_pot_is_within_its_budget()
        self.what_a_verdict_can_cost_is_set_aside_or_counted()
        self.what_is_counted_is_what_is_stored()
        self.nobody_spent_more_than_a_budget()
        for _ in range(4):
            self.advance(self.now + 2 * 3600 * SECOND)
        ledger = self.ledger
        assert ledger.live() == ()
        assert not ledger.treasury._holdings
        assert not ledger.treasury._legs
        assert all(pot.held == 0 and pot.live == 0 for pot in ledger.treasury.pots())
        assert not ledger.tempo._places
        assert not ledger.tempo._total
        assert not ledger._leases._leases
        assert not ledger._legs._entries
        assert not len(ledger._admissions)
        assert not ledger._admissions._by_asker
        assert not ledger._admissions._by_chain

    def what_is_counted_is_what_is_stored(self):
        pot = next((pot for pot in self.ledger.treasury.pots() if pot.budget is WITNESS), None)
        memory = 0 if pot is None else pot.spent(self.now)
        stored = sum(amount for *_, amount in spent_since(self.db, 0))
        charged = sum(call.charged_at(self.now) for call in self.ended.values())
        assert stored == charged
        held = 0 if pot is None else pot.held
        assert memory + held >= stored
        if not self.found_again:
            assert memory == stored

    def nobody_spent_more_than_a_budget(self):
        """By the carrier's own bill, for the budgets that held from the beginning."""
        if self.edited:
            return
        index = BudgetIndex(self.policy.budgets)
        spent = {}
        for trunk in self.trunks.values():
            given = trunk.given
            if trunk.answered_at is None or given.rate is None or given.excused:
                continue
            payer = given.verdict.facts.payer
            stored = self.ended.get(("pbx", trunk.leg.uniqueid)) or next(
                call for call in self.ended.values() if call.call == given.id and call.answered_at is not None
            )
            shift = trunk.answered_at - stored.answered_at
            for at, amount in self.bill(trunk):
                for budget, values in index.applying(payer, strict=False):
                    spent.setdefault((budget, values), []).append((at, shift, amount))
        for (budget, values), paid in spent.items():
            if budget.strict or (budget.scope, budget.period, values) in self.loose:
                continue
            zone = self.house.zone_of(values[0])
            for end, _, _ in paid:
                if budget.rolling:
                    since, until = end - ROLLING_MILLIS[budget.period], end
                else:
                    since, until = period_of(budget.period, end, zone)
                    until -= SECOND
                total = sum(amount for at, shift, amount in paid if since + SECOND < at <= until and since < at - shift)
                assert total <= budget.amount, (str(budget), values, total)

    @staticmethod
    def bill(trunk):
        """Return when the carrier counted what."""
        rate, at = trunk.given.rate, trunk.answered_at - trunk.early
        before = 0
        for second in range(1, trunk.seconds + 1):
            now = cost(rate, second)
            if now != before:
                yield at + (second - 1) * SECOND, now - before
                before = now

    # -- helpers

    def new_id(self):
        self.numbered += 1
        return f"1.{self.numbered}"

    @staticmethod
    def string(trunk):
        attempt = trunk.given.verdict.facts.attempt
        return f"{trunk.given.verdict.facts.number.dialable}@{attempt.trunk}"

    @staticmethod
    def caller(phone):
        return Leg("pbx", phone.uid, phone.linkedid, f"PJSIP/{phone.account}-{phone.uid}")


TestLossBound = Bound.TestCase
TestLossBound.settings = settings(
    max_examples=int(os.environ.get("FRAUDGUARD_HISTORIES", "1000")), stateful_step_count=25
)
