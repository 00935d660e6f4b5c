import asyncio
from dataclasses import replace

import pytest
from pin_cases import ASKING, RIGHT, Desk, pin
from policy_cases import NOW, attempt, rate

from fraudguard.errors import StoreError
from fraudguard.guard import Guard, judge
from fraudguard.house import House, Tenancy, UnknownTenantError, UnknownTrunkError
from fraudguard.numbering import HomePlan, Normaliser
from fraudguard.pins.digits import Digits
from fraudguard.policy import Block, Grant, PolicyIndex, Reason, Scope, Snapshot
from fraudguard.policy.pin import Keyed
from fraudguard.rating import Deck, PrefixTable

US = Tenancy(Normaliser(HomePlan(service_codes=frozenset({"411"}))), {"411": rate(200_000, prefix="411")})
GB = Tenancy(Normaliser(HomePlan(home="GB")), {})
HOUSE = House(trunks={"carrier": "a", "empty": "b"}, tenancies={"acme": US, "brit": GB}, fallback=US, lease_seconds=600)
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
        self.guard = Guard(self.desk.house, lambda: self.desk.policy, self, self.desk.asker, new_call=lambda: "c1")

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


@pytest.mark.parametrize("where", ["note", "verify", "forget", "spent", "record"])
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
    there = Asked(pin(per_day=600_000))
    store = there.memory.record

    def record(verdict):
        there.desk.records.money[1] = 600_000
        return store(verdict)

    there.memory.record = record
    verdicts = await asyncio.gather(there.decide(), there.decide())
    assert [verdict.reason for verdict in verdicts] == [Reason.OK, Reason.PIN_MONEY]


def test_a_check_may_suppose_that_a_good_pin_would_be_keyed():
    there = Asked()
    supposed = judge(there.desk.house, there.desk.policy, attempt(number=ABROAD), keyed=Keyed(NOW, assumed=True))
    assert supposed.reason is Reason.OK
    assert judge(there.desk.house, there.desk.policy, attempt(number=ABROAD)).reason is Reason.PIN_REQUIRED
