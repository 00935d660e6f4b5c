import asyncio
from dataclasses import replace
from itertools import count

import pytest
from pin_cases import ASKING, PRICE, RIGHT, Desk, pin
from policy_cases import NOW, attempt, rate

from fraudguard.errors import StoreError
from fraudguard.guard import Guard, judge
from fraudguard.house import House, Tenancy, UnknownTenantError, UnknownTrunkError
from fraudguard.ledger import Ledger
from fraudguard.numbering import HomePlan, Normaliser
from fraudguard.pins.digits import Digits
from fraudguard.policy import Block, Grant, PolicyIndex, Reason, Scope, Snapshot
from fraudguard.policy.budget import EACH, Budget, BudgetScope, Period
from fraudguard.policy.lease import LeaseTerms
from fraudguard.policy.pin import Keyed
from fraudguard.rating import Deck, PrefixTable, cost
from fraudguard.rating.rate import SLACK_SECONDS

US = Tenancy(Normaliser(HomePlan(service_codes=frozenset({"411"}))), {"411": rate(200_000, prefix="411")})
GB = Tenancy(Normaliser(HomePlan(home="GB")), {})
HOUSE = House(
    trunks={"carrier": "a", "empty": "b"},
    tenancies={"acme": US, "brit": GB},
    fallback=US,
    lease=LeaseTerms(longest=600),
)
RATES = [rate(10_000, prefix="1"), rate(20_000, prefix="44"), rate(900_000, prefix="4"), rate(2_000_000, prefix="882")]
POLICY = PolicyIndex(Snapshot(decks={"a": Deck("a", "USD", 1, PrefixTable(sorted(RATES)))}))


class Memory:
    def __init__(self, failure=None):
        self.verdicts = []
        self.failure = failure

    def record(self, verdict):
        stored = asyncio.get_running_loop().create_future()
        if self.failure:
            stored.set_exception(self.failure)
            stored.exception()  # nobody need ask
        else:
            self.verdicts.append(verdict)
            stored.set_result(verdict)
        return stored


@pytest.mark.parametrize(
    ("changes", "reason", "number"),
    [
        ({"number": "911"}, "emergency", "911"),
        ({"number": "12125550100"}, "ok", "+12125550100"),
        ({"number": "011442079460000"}, "ok", "+442079460000"),
        ({"number": "02079460000", "tenant": "brit"}, "ok", "+442079460000"),
        ({"number": "12125550100", "tenant": "default"}, "ok", "+12125550100"),
        ({"number": "01188216000000"}, "over_limit", "+88216000000"),
        ({"number": "011495551234567"}, "over_limit", "+495551234567"),
        ({"number": "0115355512345"}, "no_rate", "+5355512345"),
        ({"number": "411"}, "ok", "411"),
        ({"number": "611"}, "no_rate", "611"),
        ({"number": "19005550100"}, "no_rate", "+19005550100"),
        ({"number": "18765550100"}, "no_rate", "+18765550100"),
        ({"number": "12125550100", "trunk": "empty"}, "ok", "+12125550100"),
        ({"number": "011442079460000", "trunk": "empty"}, "no_rate", "+442079460000"),
    ],
)
def test_the_way_of_one_call(changes, reason, number):
    verdict = judge(HOUSE, POLICY, attempt(**changes))
    assert (verdict.reason, verdict.facts.number.dialable) == (reason, number)


def test_a_short_code_is_never_priced_as_a_prefix():
    verdict = judge(HOUSE, POLICY, attempt(number="411"))
    assert verdict.facts.rate.prefix == "411"
    assert verdict.facts.rate.per_minute == 200_000


def test_a_string_that_is_no_number_is_never_priced():
    verdict = judge(HOUSE, POLICY, attempt(number="1212555;ext=5"))
    assert (verdict.reason, verdict.facts.rate) == (Reason.BAD_NUMBER, None)


async def test_a_verdict_is_recorded_before_it_is_returned():
    memory = Memory()
    guard = Guard(HOUSE, lambda: POLICY, memory, new_call=lambda: "call-1")
    verdict = await guard.decide(attempt(number="12125550100"))
    assert memory.verdicts == [verdict]
    assert (verdict.call, verdict.lease_seconds, verdict.facts.attempt.at) == ("call-1", 600, NOW)


async def test_every_call_has_a_name_of_its_own():
    guard = Guard(HOUSE, lambda: POLICY, Memory())
    names = {(await guard.decide(attempt())).call for _ in range(100)}
    assert len(names) == 100


async def test_an_unknown_trunk_is_an_error_that_names_those_known():
    memory = Memory()
    guard = Guard(HOUSE, lambda: POLICY, memory)
    with pytest.raises(UnknownTrunkError, match=r"unknown trunk 'carier' \(configured trunks: carrier, empty\)"):
        await guard.decide(attempt(trunk="carier"))
    assert memory.verdicts == []


@pytest.mark.parametrize("tenant", ["ACME", "acme ", "ghost"])
def test_a_misspelt_tenant_does_not_get_around_the_rules_of_the_one_meant(tenant):
    with pytest.raises(UnknownTenantError, match="configured tenants: default, acme, brit"):
        judge(HOUSE, POLICY, attempt(number="12125550100", tenant=tenant))
    assert judge(HOUSE, POLICY, attempt(number="911", tenant=tenant)).reason is Reason.EMERGENCY


@pytest.mark.parametrize("failure", [StoreError("full"), OSError(28, "No space left"), KeyError("x")])
async def test_what_cannot_be_recorded_is_not_allowed(failure):
    guard = Guard(HOUSE, lambda: POLICY, Memory(failure))
    with pytest.raises(type(failure)):
        await guard.decide(attempt(number="12125550100"))


@pytest.mark.parametrize("failure", [StoreError("full"), OSError(28, "No space left"), KeyError("x")])
async def test_an_emergency_goes_even_when_it_cannot_be_recorded(failure):
    verdict = await Guard(HOUSE, lambda: POLICY, Memory(failure)).decide(attempt(number="911"))
    assert (verdict.reason, verdict.allowed, verdict.lease_seconds) == (Reason.EMERGENCY, True, None)


async def test_an_emergency_does_not_wait_for_a_database_that_is_locked():
    class Locked:
        def record(self, verdict):
            return asyncio.get_running_loop().create_future()

    verdict = await asyncio.wait_for(Guard(HOUSE, lambda: POLICY, Locked()).decide(attempt(number="911")), 5)
    assert (verdict.reason, verdict.allowed) == (Reason.EMERGENCY, True)


def test_an_emergency_goes_by_a_trunk_that_nobody_configured():
    assert judge(HOUSE, POLICY, attempt(number="911", trunk="carier")).reason is Reason.EMERGENCY


async def test_each_attempt_is_judged_by_the_edits_of_its_moment():
    policies = [POLICY]
    guard = Guard(HOUSE, lambda: policies[-1], Memory())
    assert (await guard.decide(attempt(number="12125550100"))).allowed
    block = Block(1, Scope("acme"), "1", "", None, "", "", 0)
    policies.append(PolicyIndex(Snapshot(decks=POLICY.decks, blocks=(block,))))
    assert (await guard.decide(attempt(number="12125550100"))).reason is Reason.BLOCKED


@pytest.mark.parametrize("room", ["normalise", "lookup", "gather", "rules"])
async def test_an_error_in_any_room_leaves_no_verdict(room, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError(room)

    target = {
        "normalise": "fraudguard.numbering.Normaliser.normalise",
        "lookup": "fraudguard.rating.Deck.lookup",
        "gather": "fraudguard.policy.PolicyIndex.gather",
        "rules": "fraudguard.policy.rules.decide",
    }[room]
    monkeypatch.setattr(target, broken)
    memory = Memory()
    with pytest.raises(RuntimeError, match=room):
        await Guard(HOUSE, lambda: POLICY, memory).decide(attempt(number="12125550100"))
    assert memory.verdicts == []


# --- PINs ---

ABROAD = "011442079460000"


class Keypad:
    def __init__(self, digits=RIGHT, events=None):
        self.digits = digits
        self.events = [] if events is None else events

    async def ask(self, *, again):
        self.events.append("again" if again else "ask")
        return Digits(self.digits)

    async def refuse(self):
        self.events.append("refuse")


class Asked:
    """A guard of a desk that asks, with the events in the order in which they happen."""

    def __init__(self, *pins, asking=ASKING, **parts):
        self.desk = Desk(*(pins or (pin(),)), asking=asking, **parts)
        self.events = self.desk.events
        self.memory = Memory()
        names = (f"c{number}" for number in count(1))
        self.guard = Guard(
            self.desk.house,
            lambda: self.desk.policy,
            self,
            self.desk.asker,
            self.desk.ledger,
            new_call=lambda: next(names),
        )

    def record(self, verdict):
        self.events.append("record")
        return self.memory.record(verdict)

    async def decide(self, digits=RIGHT, **changes):
        self.desk.clock.at += 1  # it takes time
        return await self.guard.decide(attempt(**({"number": ABROAD} | changes)), Keypad(digits, self.events))


async def test_a_caller_is_asked_and_the_verdict_is_of_the_moment_when_that_was_over():
    there = Asked()
    verdict = await there.decide()
    assert there.events == ["ask", "note", "verify", "forget", "record"]
    assert (verdict.reason, verdict.call, verdict.pin.name) == (Reason.OK, "c1", "anna")
    assert verdict.facts.attempt.at == verdict.facts.keyed.at == NOW + 1
    assert there.memory.verdicts == [verdict]


async def test_the_refusal_is_spoken_when_the_verdict_is_stored():
    there = Asked()
    verdict = await there.decide("730264")
    assert verdict.reason is Reason.PIN_WRONG
    assert there.events[-2:] == ["record", "refuse"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"number": "911"}, "emergency"),
        ({"number": "12125550100"}, "ok"),
        ({"number": "01188216000000"}, "no_rate"),
        ({"number": "*67"}, "bad_number"),
        ({"forwarded": True}, "pin_forwarded"),
        ({"account": "205"}, "pin_required"),
        ({"tenant": "default"}, "pin_required"),
    ],
)
async def test_who_is_not_asked(changes, reason):
    there = Asked(pin(accounts=frozenset({"204"})))
    assert (await there.decide(**changes)).reason == reason
    assert there.events == ["record"]


@pytest.mark.parametrize("without", ["asker", "keypad"])
async def test_where_nobody_can_be_asked_a_pin_that_is_wanted_is_a_refusal(without):
    there = Asked()
    guard = Guard(there.desk.house, lambda: there.desk.policy, there, None if without == "asker" else there.desk.asker)
    verdict = await guard.decide(attempt(number=ABROAD), None if without == "keypad" else Keypad())
    assert (verdict.reason, there.events) == (Reason.PIN_REQUIRED, ["record"])


@pytest.mark.parametrize(("asks_pin", "events"), [(False, ["record"]), (True, ["ask"])])
async def test_a_grant_waives_the_pin_unless_it_asks_for_one(asks_pin, events):
    grant = Grant(1, Scope(), "44", None, None, "fax", "root", 0, asks_pin=asks_pin)
    there = Asked(pin(), grants=(grant,))
    assert (await there.decide()).reason is Reason.OK
    assert there.events[:1] == events


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        ({"blocks": (Block(1, Scope(), "44", "", None, "", "", 0),)}, "blocked"),
        ({"grants": (Grant(1, Scope(), "44", None, None, "", "", 0),)}, "ok"),
    ],
)
async def test_what_operators_change_while_the_caller_keys_holds(edit, reason):
    there = Asked()
    before = there.desk.policy

    async def meanwhile():
        there.desk.policy = PolicyIndex(Snapshot(decks=before.decks, **edit))

    there.desk.verifier.meanwhile = meanwhile
    there.desk.verifier.pins = {}
    assert (await there.decide()).reason == reason


async def test_a_pin_shadow_lets_the_call_go_unasked():
    there = Asked()
    house = replace(there.desk.house, shadow=frozenset({Reason.PIN_REQUIRED}))
    guard = Guard(house, lambda: there.desk.policy, there, there.desk.asker)
    verdict = await guard.decide(attempt(number=ABROAD), Keypad(events=there.events))
    assert (verdict.reason, verdict.simulated, there.events) == (Reason.OK, (Reason.PIN_REQUIRED,), ["record"])


@pytest.mark.parametrize("where", ["note", "verify", "forget", "record"])
@pytest.mark.parametrize("failure", [StoreError("full"), KeyError("x"), asyncio.CancelledError()])
async def test_an_error_anywhere_in_asking_leaves_no_verdict(where, failure):
    there = Asked(pin(per_day=10**6))

    async def before(what):
        if what == where:
            raise failure

    async def meanwhile():
        await before("verify")

    there.desk.records.before = before
    there.desk.verifier.meanwhile = meanwhile
    if where == "record":
        there.memory.record = lambda _: before("record")
    with pytest.raises(type(failure)):
        await there.decide()
    assert there.memory.verdicts == []
    assert "refuse" not in there.events


async def test_the_next_call_sees_what_the_one_before_may_cost():
    there = Asked(pin(per_day=62_000))  # a minute and the slack
    verdicts = await asyncio.gather(there.decide(), there.decide())
    assert [verdict.reason for verdict in verdicts] == [Reason.OK, Reason.PIN_MONEY]
    assert [verdict.lease_seconds for verdict in verdicts] == [60, None]


def test_a_check_may_suppose_that_a_good_pin_would_be_keyed():
    there = Asked()
    supposed = judge(there.desk.house, there.desk.policy, attempt(number=ABROAD), keyed=Keyed(NOW, assumed=True))
    assert supposed.reason is Reason.OK
    assert judge(there.desk.house, there.desk.policy, attempt(number=ABROAD)).reason is Reason.PIN_REQUIRED


# --- money ---

NEAR = rate(60_000, prefix="44", increment_seconds=1)  # 1000 a second
EACH_ACCOUNT = Budget(BudgetScope(EACH, EACH), Period.DAY, 100_000, domestic=False)
BOUNDED = PolicyIndex(
    Snapshot(decks={"a": Deck("a", "USD", 1, PrefixTable([rate(10_000, prefix="1"), NEAR]))}, budgets=(EACH_ACCOUNT,))
)


def most(verdicts, price=NEAR):
    """What the calls by these verdicts can cost."""
    return sum(cost(price, one.lease_seconds + SLACK_SECONDS) for one in verdicts if one.allowed)


class Slow(Memory):
    """Stores each verdict when it is told to, and knows what was set aside when it was handed over."""

    def __init__(self, ledger):
        super().__init__()
        self.ledger = ledger
        self.set_aside = []
        self.waiting = []

    def record(self, verdict):
        self.set_aside.append(self.ledger.treasury.set_aside)
        stored = asyncio.get_running_loop().create_future()
        self.waiting.append((stored, verdict))
        return stored

    def store(self):
        for stored, verdict in self.waiting:
            self.verdicts.append(verdict)
            stored.set_result(verdict)


@pytest.fixture
def ledger():
    made = Ledger(HOUSE, "pbx")
    made.treasury.load(BOUNDED.budgets)
    return made


async def test_money_is_set_aside_before_a_verdict_is_recorded(ledger):
    slow = Slow(ledger)
    guard = Guard(HOUSE, lambda: BOUNDED, slow, ledger=ledger)
    first, second = guard.decide(attempt(number=ABROAD)), guard.decide(attempt(number=ABROAD))
    slow.store()
    verdicts = [await first, await second]
    assert slow.set_aside == [most(verdicts[:1]), most(verdicts)]
    assert [verdict.facts.standing.room for verdict in verdicts] == [100_000, 100_000 - most(verdicts[:1])]


async def test_50_callers_at_once_never_get_more_than_the_budget(ledger):
    slow = Slow(ledger)
    guard = Guard(HOUSE, lambda: BOUNDED, slow, ledger=ledger)
    deciding = [guard.decide(attempt(number=ABROAD)) for _ in range(50)]
    slow.store()
    verdicts = await asyncio.gather(*deciding)
    assert 100_000 - cost(NEAR, 1 + SLACK_SECONDS) < most(verdicts) <= 100_000
    assert {verdict.reason for verdict in verdicts} == {Reason.OK, Reason.OVER_BUDGET}
    assert ledger.treasury.set_aside == most(verdicts)


@pytest.mark.parametrize("failure", [StoreError("full"), KeyError("x"), asyncio.CancelledError()])
async def test_a_recorder_that_fails_at_once_gives_the_money_back(ledger, failure):
    class Broken:
        def record(self, verdict):
            raise failure

    with pytest.raises(type(failure)):
        Guard(HOUSE, lambda: BOUNDED, Broken(), ledger=ledger).decide(attempt(number=ABROAD))
    assert ledger.treasury.set_aside == 0
    assert not ledger.tempo._places


@pytest.mark.parametrize(("number", "reason"), [("911", "emergency"), ("12125550100", "ok"), ("*67", "bad_number")])
async def test_what_no_budget_bounds_goes_however_much_is_spent(ledger, number, reason):
    slow = Slow(ledger)
    guard = Guard(HOUSE, lambda: BOUNDED, slow, ledger=ledger)
    ledger.treasury.load([replace(EACH_ACCOUNT, amount=0)])
    deciding = guard.decide(attempt(number=number))
    if reason != "emergency":
        slow.store()
    assert (await deciding).reason == reason


async def test_callers_of_one_pin_at_once_never_get_more_than_it_may_spend_in_a_day():
    there = Asked(pin(per_day=100_000))
    verdicts = await asyncio.gather(*(there.decide(account=str(account)) for account in range(50)))
    assert 100_000 - cost(PRICE, 1 + SLACK_SECONDS) < most(verdicts, PRICE) <= 100_000
    assert {verdict.reason for verdict in verdicts} == {Reason.OK, Reason.PIN_MONEY}
    others = Asked(pin(per_day=100_000, accounts=frozenset({"204"})), budgets=(replace(EACH_ACCOUNT, amount=5_000),))
    assert [(await others.decide()).reason for _ in range(2)] == [Reason.OK, Reason.OVER_BUDGET]
    assert others.events[-1] == "record", "nobody is asked for a call that would be refused anyway"
