"""Random histories of an Asterisk, of which the ledger sees what its link lets through: the promises hold in all."""

from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from ledger_cases import DEAR, HOUSE, LONDON, NOW, RATE, SATELLITE, SECOND, price

from fraudguard.ledger import Admission, Ledger, Leg, State, Why
from fraudguard.ledger.records import Answered, Billed, Dialled, HungUp, Moved, Seen
from fraudguard.rating import cost

NUMBERS = {LONDON: RATE, SATELLITE: DEAR, "+12025550100": None}
LEASE = 300
PASSED_BY = {  # what is dialled past the guard: (channel, dial string, word of the dialplan) -> why
    ("PJSIP/carrier", "911@carrier", ""): Why.EMERGENCY,
    ("PJSIP/carrier", "+12025550199@carrier", "fence"): Why.FENCE,
    ("PJSIP/carrier", "+88216000999@carrier", ""): Why.UNGUARDED,
    ("SIP/lenient", "lenient/+88216000999", ""): Why.UNGUARDED,
}


@dataclass
class Truth:
    """A leg as it really is."""

    leg: Leg
    string: str
    said: str
    why: str
    rate: object
    lease: int | None
    began_at: int
    answered_at: int | None = None
    ended_at: int | None = None
    followed: bool = True  # every event of it was delivered
    unnumbered: bool = False  # found without its number: nobody can know what it is
    told: int = 0
    due: int = 0  # how often its hangup had to be ordered

    @property
    def cost(self):
        if self.rate is None or self.answered_at is None:
            return 0
        return cost(self.rate, -(-(self.ended_at - self.answered_at) // 1000))


class Histories(RuleBasedStateMachine):
    chains = Bundle("chains")
    legs = Bundle("legs")

    def __init__(self):
        super().__init__()
        self.now = NOW
        self.linked = True
        self.numbered = 0
        self.ledger = Ledger(HOUSE, "pbx", price)
        self.admissions = []
        self.chain_of = {}  # a phone's channel -> its chain
        self.allowed = {}  # a phone's channel -> numbers
        self.truth = {}
        self.stored = {}

    # -- the world

    @initialize(target=chains)
    def begin(self):
        return multiple(self.phone(), self.phone())

    @rule(target=chains)
    def phone(self):
        phone = self.new_id()
        self.chain_of[phone] = phone
        self.allowed[phone] = []
        return phone

    @rule(phone=chains, number=st.sampled_from(sorted(NUMBERS)), chained=st.booleans())
    def verdict(self, phone, number, chained):
        self.allowed[phone].append(number)
        linkedid = self.chain_of[phone] if chained else ""
        admission = Admission(
            "", linkedid, self.new_id(), "ok", "acme", "204", "", "carrier", number, NUMBERS[number], LEASE, self.now
        )
        self.admissions.append(admission)
        self.ledger.restore([admission], [])

    @rule(target=legs, phone=chains, data=st.data(), twice=st.booleans())
    def dial_as_allowed(self, phone, data, twice):
        if not self.allowed[phone]:
            return multiple()
        number = data.draw(st.sampled_from(self.allowed[phone]))
        return self.dial(phone, "PJSIP/carrier", number + "@carrier", "", ("ok", NUMBERS[number], LEASE), twice)

    @rule(target=legs, phone=chains, what=st.sampled_from(sorted(PASSED_BY)), twice=st.booleans())
    def dial_past_the_guard(self, phone, what, twice):
        why = PASSED_BY[what]
        rate = DEAR if why is Why.UNGUARDED else None
        return self.dial(phone, *what, (why, rate, 900 if why is Why.FENCE else None), twice)

    def dial(self, phone, trunk, string, said, kind, twice):
        uniqueid = self.new_id()
        chain = self.chain_of[phone]
        leg = Leg("pbx", uniqueid, chain, f"{trunk}-{self.numbered:08x}")
        truth = self.truth[uniqueid] = Truth(leg, string, said, *kind, self.now)
        caller = Leg("pbx", phone, chain, f"PJSIP/204-{phone}")
        truth.due += self.linked and self.enforced(truth)
        self.deliver(truth, Dialled(self.now, leg, string, caller, said=said), twice)
        return uniqueid

    @rule(uniqueid=legs, twice=st.booleans())
    def answer(self, uniqueid, twice):
        truth = self.truth[uniqueid]
        if truth.ended_at is None and truth.answered_at is None:
            truth.answered_at = self.now
            self.deliver(truth, Answered(self.now, "pbx", uniqueid), twice)

    @rule(uniqueid=consumes(legs), twice=st.booleans(), billed=st.booleans())
    def hang_up(self, uniqueid, twice, billed):
        truth = self.truth[uniqueid]
        if truth.ended_at is None:
            self.end(truth, self.now, twice, billed)

    def end(self, truth, at, twice=False, billed=False):
        truth.ended_at = at
        if billed and truth.answered_at is not None:
            self.deliver(truth, Billed(at, "pbx", truth.leg.channel, (at - truth.answered_at) // 1000), False)
        self.deliver(truth, HungUp(at, "pbx", truth.leg.uniqueid, 16), twice)

    @rule(phone=chains, other=chains, twice=st.booleans())
    def transfer(self, phone, other, twice):
        """One chain becomes part of another, and a leg of it changes its name on the way."""
        old, new = self.chain_of[phone], self.chain_of[other]
        if old == new:
            return
        for one in [one for one, chain in self.chain_of.items() if chain == old]:
            self.chain_of[one] = new
            self.deliver(None, Moved(self.now, Leg("pbx", one, new, f"PJSIP/204-{one}")), twice)
        for truth in self.live():
            if truth.leg.linkedid == old:
                trunk = truth.leg.channel.rpartition("-")[0]
                truth.leg = replace(truth.leg, linkedid=new, channel=f"{trunk}-{self.new_id():>08}")
                self.deliver(truth, Moved(self.now, truth.leg), twice)

    @rule(millis=st.integers(1, 400 * SECOND) | st.integers(1, 3 * SECOND))
    def wait(self, millis):
        self.now += millis
        for truth in self.live():
            if truth.answered_at is not None and truth.lease is not None:
                at = truth.answered_at + truth.lease * SECOND
                if at <= self.now:
                    self.end(truth, at)
        if self.linked:
            changes = self.ledger.settle(self.now)
            self.store(changes)
            for alert in changes.alerts:
                raise AssertionError(alert)  # the records were right

    # -- the link

    @precondition(lambda self: self.linked)
    @rule()
    def cut(self):
        self.linked = False

    @rule(hazy=st.booleans(), unknown=st.booleans(), restarted=st.booleans())
    def catch_up(self, hazy, unknown, restarted):
        """Ask Asterisk; it may not know when a call was answered, nor by what number."""
        if restarted:
            self.ledger = Ledger(HOUSE, "pbx", price)
            unfinished = [call for call in self.stored.values() if call.state is not State.ENDED]
            self.ledger.restore(self.admissions, unfinished)
        self.linked = True
        known = {call.leg.uniqueid: call for call in self.ledger.live()}
        for truth in self.live():
            call = known.get(truth.leg.uniqueid)
            truth.unnumbered |= unknown and call is None
            truth.due += self.enforced(truth)
            truth.followed &= call is not None
            if call is not None and truth.answered_at is not None and call.answered_at is None:
                truth.followed = False
        changes = self.ledger.resync("pbx", list(self.seen(hazy, unknown)), self.now)
        self.store(changes)
        assert {call.leg for call in self.ledger.live()} == {truth.leg for truth in self.live()}
        ringing = {call.leg.uniqueid for call in self.ledger.live() if call.state is State.RINGING}
        assert ringing == {truth.leg.uniqueid for truth in self.live() if truth.answered_at is None}

    def seen(self, hazy, unknown):
        for phone, chain in self.chain_of.items():
            yield Seen(Leg("pbx", phone, chain, f"PJSIP/204-{phone}"), True, NOW, application="Dial")
        yield Seen(Leg("pbx", "0.1", "0.1", "PJSIP/carrier-00ffffff"), True, NOW, application="Queue")
        for truth in self.live():
            answered_at = None if hazy else truth.answered_at
            yield Seen(
                *(truth.leg, truth.answered_at is not None, truth.began_at, answered_at),
                string="" if unknown else truth.string,
                application="AppDial",
                said=truth.said,
            )

    # -- what must hold

    @invariant()
    def nobody_is_hung_up_who_may_stay_and_everybody_else_is_told_once(self):
        for truth in self.truth.values():
            assert truth.told == truth.due or (truth.unnumbered and truth.told < truth.due)

    @invariant()
    def an_ended_call_costs_what_rating_says_or_more_if_part_of_it_was_not_seen(self):
        for uniqueid, truth in self.truth.items():
            call = self.stored.get(uniqueid)
            if call is None or truth.ended_at is None or call.state is not State.ENDED:
                continue
            if truth.followed:
                assert not call.reconstructed
                assert (call.cost or 0) == truth.cost
                assert call.why == truth.why
            elif not truth.unnumbered:
                assert (call.cost or 0) >= truth.cost

    @invariant()
    def live_calls_cost_at_least_what_they_do(self):
        if self.linked:
            for call in self.ledger.live():
                truth = self.truth[call.leg.uniqueid]
                assert truth.answered_at is None or call.answered_at <= truth.answered_at

    def teardown(self):
        self.catch_up(hazy=True, unknown=False, restarted=False)
        for truth in self.live():
            self.end(truth, self.now)
        self.an_ended_call_costs_what_rating_says_or_more_if_part_of_it_was_not_seen()
        assert self.ledger.live() == ()
        self.ledger.settle(self.now + 200_000 * SECOND)
        assert not self.ledger._legs._entries
        assert not self.ledger._legs._by_channel
        assert not self.ledger._admissions._by_chain

    # -- helpers

    def new_id(self):
        self.numbered += 1
        return f"1.{self.numbered}"

    def live(self):
        return [truth for truth in self.truth.values() if truth.ended_at is None]

    def enforced(self, truth):
        return truth.why is Why.UNGUARDED and truth.leg.channel.startswith("PJSIP")

    def deliver(self, truth, event, twice):
        if self.linked:
            for _ in range(1 + twice):
                self.store(self.ledger.apply(event))
        elif truth is not None and not isinstance(event, Moved | Billed):
            truth.followed = False

    def store(self, changes):
        for call in changes.calls:
            self.stored[call.leg.uniqueid] = call
        for leg in changes.hang_up:
            assert self.truth[leg.uniqueid].leg == leg
            self.truth[leg.uniqueid].told += 1


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=40)
