import pytest

from fraudguard.errors import InputError
from fraudguard.numbering import BadNumber, Kind, Number
from fraudguard.policy.pin import Keyed, NewPin, PinKind, Scheme, Seal, Terms
from fraudguard.policy.reasons import Outcome, Reason
from fraudguard.policy.records import Attempt, Facts, Limit, Scope, Verdict
from fraudguard.rating import Rate
from fraudguard.store import pins
from fraudguard.store.alerts import ack_alert, list_alerts
from fraudguard.store.attempts import Filter, list_attempts, list_refusals
from fraudguard.store.verdicts import attempt_row, store_batch

NOW = 1_800_000_000_000


def verdict(call, reason, *, tenant="acme", account="204", at=NOW, price=9_000_000, digits="88216000", keyed=None):
    number = Number(digits, digits, None, Kind.SATELLITE) if digits.isdigit() else BadNumber(digits, "no")
    facts = Facts(
        Attempt(digits, "carrier", account, tenant, "198.51.100.7:5060", at),
        number,
        "main",
        Rate("882", "Satellite", price, 0, 0, 60, 0) if digits.isdigit() else None,
        Limit(Scope(), 250_000),
        None,
        None,
        keyed=keyed,
    )
    outcome = Outcome.ALLOW if reason is Reason.OK else Outcome.NOWHERE
    return Verdict(call, outcome, reason, facts, None)


@pytest.fixture
async def stored(writer):
    made = [
        verdict("a", Reason.OK),
        verdict("b", Reason.OVER_LIMIT, at=NOW + 1),
        verdict("c", Reason.OVER_LIMIT, at=NOW + 2, price=9_500_000),
        verdict("d", Reason.NO_RATE, at=NOW + 3, account="205"),
        verdict("e", Reason.BAD_NUMBER, at=NOW + 4, tenant="other", digits="*67"),
    ]
    await writer.transaction(lambda connection: store_batch([attempt_row(each) for each in made], connection))


@pytest.mark.parametrize(
    ("wanted", "calls"),
    [
        (Filter(), "edcba"),
        (Filter(refused=True), "edcb"),
        (Filter(tenant="acme"), "dcba"),
        (Filter(tenant="acme", account="204"), "cba"),
        (Filter(account="205"), "d"),
        (Filter(since=NOW + 3), "ed"),
        (Filter(tenant="acme", refused=True, since=NOW + 2), "dc"),
    ],
)
async def test_attempts_newest_first(stored, reader, wanted, calls):
    assert "".join(row.call for row in await reader.read(lambda c: list_attempts(c, wanted))) == calls
    assert len(await reader.read(lambda c: list_attempts(c, wanted, limit=1))) == 1


async def test_whose_pin_was_keyed(writer, reader):
    await pins.settle_scheme(writer, "acme", Scheme(b"s", 1, 8, 1, b"m"))
    by = {"author": "eve", "now": NOW}

    def person(name, seal, duress=False):
        return NewPin("acme", name, PinKind.DIGITS, duress, Terms()), Seal(seal, b"")

    anna, forced, bob = await pins.add_pins(
        writer, [person("anna", b"a"), person("anna", b"d", duress=True), person("bob", b"b")], **by
    )
    new = await pins.rotate_pin(writer, anna, Seal(b"n", b""), **by)
    made = [
        verdict(call, reason, at=NOW + n, keyed=Keyed(NOW, one, tries=1))
        for n, (call, reason, one) in enumerate(
            [
                ("a", Reason.OK, anna),
                ("b", Reason.OK, forced),
                ("c", Reason.PIN_PRICE, new),
                ("d", Reason.OK, bob),
                ("e", Reason.PIN_WRONG, None),
            ]
        )
    ]
    await writer.transaction(lambda connection: store_batch([attempt_row(each) for each in made], connection))
    for wanted, calls in (
        (Filter(pin="anna"), "cba"),
        (Filter(pin="bob", tenant="acme", since=NOW), "d"),
        (Filter(pin="bob", tenant="other"), ""),
        (Filter(pin="anna", refused=True), "c"),
        (Filter(pin="nobody"), ""),
    ):
        assert "".join(row.call for row in await reader.read(lambda c, w=wanted: list_attempts(c, w))) == calls
    (refused,) = await reader.read(lambda c: list_refusals(c, Filter(pin="anna")))
    assert (refused.reason, refused.tries) == ("pin_price", 1)


async def test_who_needs_access(stored, reader):
    found = await reader.read(list_refusals)
    assert [(r.tenant, r.account, r.number, r.reason, r.tries, r.per_minute) for r in found] == [
        ("acme", "204", "+88216000", "over_limit", 2, 9_500_000),
        ("other", "204", "*67", "bad_number", 1, None),
        ("acme", "205", "+88216000", "no_rate", 1, 9_000_000),
    ]
    assert (found[0].first_at, found[0].last_at, found[0].destination) == (NOW + 1, NOW + 2, "Satellite")
    assert len(await reader.read(lambda c: list_refusals(c, Filter(account="205")))) == 1


async def test_alerts_are_acknowledged(stored, reader, writer):
    alerts = await reader.read(list_alerts)
    assert [alert.kind for alert in alerts] == ["bad_number", "no_rate", "over_limit"]
    await ack_alert(writer, alerts[0].id, author="eve", now=NOW + 9)
    assert await reader.read(list_alerts) == alerts[1:]
    (acked, *_) = await reader.read(lambda c: list_alerts(c, acked=True))
    assert (acked.acked_at, acked.acked_by) == (NOW + 9, "eve")
    for missing in (alerts[0].id, 99):
        with pytest.raises(InputError, match=f"there is no open alert {missing}"):
            await ack_alert(writer, missing, author="eve", now=NOW)


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ("at >= 0 AND tenant = 'a' AND account = 'b'", "attempts_account"),
        ("at >= 0 AND outcome = 'nowhere'", "attempts_refused"),
        ("at >= 0", "attempts_at"),
    ],
)
async def test_listings_use_their_index(reader, where, index):
    sql = f"EXPLAIN QUERY PLAN SELECT * FROM attempts WHERE {where} ORDER BY at DESC, id DESC LIMIT 5"
    plan = [detail for *_, detail in await reader.read(lambda c: c.execute(sql).fetchall())]
    assert len(plan) == 1
    assert f"USING INDEX {index} " in plan[0]
