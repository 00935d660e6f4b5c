import json
import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.errors import InputError, StoreError
from fraudguard.ledger.records import Call, Leg, State
from fraudguard.numbering import Kind, Number
from fraudguard.pins.digits import Digits
from fraudguard.pins.guessing import Failure
from fraudguard.pins.vault import Vault
from fraudguard.policy.hours import Hours
from fraudguard.policy.pin import Keyed, NewPin, Pin, PinKind, Scheme, Seal, Terms
from fraudguard.policy.reasons import Outcome, Reason
from fraudguard.policy.records import Attempt, Facts, Limit, Scope, Verdict
from fraudguard.rating import Rate
from fraudguard.store import guesses, migrate, pin_usage, pins
from fraudguard.store.calls import DIALLING_MILLIS, UNKNOWN_INCREMENT, note_followed, save_calls
from fraudguard.store.edits import revisions
from fraudguard.store.verdicts import attempt_row, store_batch

NOW = 1_800_000_000_000
BY = {"author": "eve", "now": NOW}
SCHEME = Scheme(b"s" * 16, 2, 19_456, 1, b"m" * 32)
TERMS = Terms(
    regions=frozenset({"DE", "AT"}),
    prefixes=("8821", "4420"),
    highest=400_000,
    per_day=5_000_000,
    begins=NOW,
    until=NOW + 86_400_000,
    hours=Hours.parse("mon-fri 22:00-06:00"),
    accounts=frozenset({"204", "2,05"}),
)


def pin(name="anna", *, tenant="acme", index=b"", duress=False, kind=PinKind.DIGITS, terms=None):
    seal = Seal(index or f"{tenant}{name}{duress}".encode().ljust(16), b"p" * 32)
    return Pin(0, tenant, name, kind, duress, terms or Terms(), seal, "", 0)


def parts(pin):
    """A PIN taken apart into what is to be made, and its seal."""
    return NewPin(pin.tenant, pin.name, pin.kind, pin.duress, pin.terms), pin.seal


async def add_pin(writer, pin, **by):
    return await pins.add_pin(writer, *parts(pin), **by)


async def history(reader, **wanted):
    return [what for _, _, what in await reader.read(lambda c: pins.list_history(c, **wanted))]


@pytest.fixture
async def acme(writer):
    """A writer of a database whose tenant acme has a scheme."""
    await pins.settle_scheme(writer, "acme", SCHEME)
    return writer


async def test_the_first_scheme_stays(acme, reader):
    other = replace(SCHEME, salt=b"o" * 16)
    assert await pins.settle_scheme(acme, "acme", other) == SCHEME
    assert await pins.settle_scheme(acme, "other", other) == other
    assert await reader.read(pins.list_schemes) == {"acme": SCHEME, "other": other}
    assert await reader.read(revisions) == {}


async def test_a_lost_pepper_is_got_over_once_nothing_is_sealed_with_it(acme, reader):
    await add_pin(acme, pin(), **BY)
    new = Scheme(b"o" * 16, 3, 20_000, 2, b"n" * 32)
    assert await pins.settle_scheme(acme, "acme", new) == SCHEME
    await pins.revoke_pin(acme, "acme", "anna", **BY)
    assert await pins.settle_scheme(acme, "acme", new) == new
    await add_pin(acme, pin(), **BY)
    assert await reader.read(pins.list_schemes) == {"acme": new}


async def test_pins_are_stored_whole(acme, reader):
    await pins.settle_scheme(acme, "other", SCHEME)
    anna = await add_pin(acme, pin("anna", terms=TERMS), **BY)
    forced = await add_pin(acme, pin("anna", duress=True), **BY)
    app = await add_pin(acme, pin("Bob", kind=PinKind.TOTP), author="bob", now=NOW + 1)
    theirs = await add_pin(acme, pin("anna", tenant="other"), **BY)
    assert anna == replace(pin("anna", terms=TERMS), id=anna.id, author="eve", created=NOW)
    assert (app.kind, app.author, app.created) == (PinKind.TOTP, "bob", NOW + 1)
    assert await reader.read(pins.list_pins) == (app, anna, forced, theirs)
    assert await reader.read(revisions) == {"pin": 4}
    freely = "any number, any price, any amount, for good, at any time, at any account"
    narrowly = (
        "AT,DE,+8821,+4420, up to 0.40, 5.00 a day, from 2027-01-15T08:00:00+00:00, until 2027-01-16T08:00:00+00:00"
    )
    assert await history(reader, tenant="acme") == [
        f"tenant acme: added Bob (3), authenticator, {freely}",
        f"tenant acme: added anna (2), duress PIN, {freely}",
        f"tenant acme: added anna (1), PIN, {narrowly}, mon-fri 22:00-06:00, at 2,05, 204",
    ]


async def test_hours_that_are_always_are_kept(acme):
    assert (await add_pin(acme, pin(terms=Terms(hours=Hours())), **BY)).terms == Terms(hours=Hours())


async def test_a_name_is_a_tenant_s_only_once(acme, reader):
    await add_pin(acme, pin(), **BY)
    with pytest.raises(InputError, match=r"tenant acme has a PIN of the name anna \('pin rotate' gives"):
        await add_pin(acme, pin(index=b"other"), **BY)
    await add_pin(acme, pin(duress=True), **BY)
    with pytest.raises(InputError, match="tenant acme has a duress PIN of the name anna"):
        await add_pin(acme, pin(duress=True, index=b"other"), **BY)
    await pins.revoke_pin(acme, "acme", "anna", **BY)
    await add_pin(acme, pin(), **BY)
    assert len(await reader.read(pins.list_pins)) == 1


async def test_digits_are_a_tenant_s_only_once_and_nobody_is_told_whose(acme, reader):
    await pins.settle_scheme(acme, "other", SCHEME)
    await add_pin(acme, pin("anna", index=b"i"), **BY)
    with pytest.raises(InputError, match=r"tenant acme has a PIN of the digits meant for bob \(choose others\)") as hit:
        await add_pin(acme, pin("bob", index=b"i"), **BY)
    assert "anna" not in str(hit.value)
    with pytest.raises(InputError, match="has a PIN of the digits meant for anna"):
        await add_pin(acme, pin("anna", index=b"i", duress=True), **BY)
    await add_pin(acme, pin("bob", index=b"i", tenant="other"), **BY)
    assert len(await reader.read(pins.list_pins)) == 2


async def test_many_are_added_all_or_none(acme, reader):
    for wrong in (pin("c", index=b"same"), pin("a", index=b"x")):
        with pytest.raises(InputError, match="tenant acme has"):
            await pins.add_pins(acme, map(parts, [pin("a"), pin("b", index=b"same"), wrong]), **BY)
    assert await reader.read(pins.list_pins) == ()
    assert await history(reader) == []
    added = await pins.add_pins(acme, map(parts, [pin("b"), pin("a")]), **BY)
    assert [each.name for each in added] == ["b", "a"]
    assert [each.name for each in await reader.read(pins.list_pins)] == ["a", "b"]


async def test_a_tenant_without_a_scheme_has_no_pins(writer, reader):
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        await add_pin(writer, pin(), **BY)
    assert await history(reader) == []


async def test_what_is_revoked_stays_as_history(acme, reader):
    first = await add_pin(acme, pin(), **BY)
    forced = await add_pin(acme, pin(duress=True), **BY)
    bob = await add_pin(acme, pin("bob"), **BY)
    assert await pins.revoke_pin(acme, "acme", "anna", author="bob", now=NOW + 1) == 2
    assert await reader.read(pins.list_pins) == (bob,)
    assert await reader.read(pins.list_all_pins) == (
        (first, NOW + 1, "bob"),
        (forced, NOW + 1, "bob"),
        (bob, None, None),
    )
    assert (await history(reader, limit=1)) == ["tenant acme: revoked anna (1, 2)"]
    for tenant, name in (("acme", "anna"), ("acme", "x"), ("other", "bob")):
        with pytest.raises(InputError, match=rf"tenant {tenant} has no PIN of the name {name} \('fraudguard pin list'"):
            await pins.revoke_pin(acme, tenant, name, **BY)


async def test_rotating_changes_nothing_but_the_digits(acme, reader):
    old = await add_pin(acme, pin(terms=TERMS, duress=True), **BY)
    await add_pin(acme, pin("bob", index=b"taken"), **BY)
    seal = Seal(b"new" * 5, b"q" * 32)
    with pytest.raises(InputError, match="has a PIN of the digits meant for anna"):
        await pins.rotate_pin(acme, old, Seal(b"taken", b""), **BY)
    with pytest.raises(InputError, match=r"those are the digits that the PIN of anna has \(choose others\)"):
        await pins.rotate_pin(acme, old, old.seal, **BY)
    assert old in await reader.read(pins.list_pins)
    new = await pins.rotate_pin(acme, old, seal, author="bob", now=NOW + 9)
    assert new == replace(old, id=new.id, seal=seal, author="bob", created=NOW + 9)
    assert new.id != old.id
    assert new in await reader.read(pins.list_pins)
    assert old not in await reader.read(pins.list_pins)
    assert (await history(reader, limit=1))[0].startswith("tenant acme: rotated 1 to anna (3), duress PIN, AT,DE")
    with pytest.raises(InputError, match="has no PIN of the name anna"):
        await pins.rotate_pin(acme, old, Seal(b"newer", b""), **BY)


PRICE = Rate("882", "Satellite", 600_000, 10_000, 30, 60, 0)


def allowed(call, pin_id, *, at=NOW, rate=PRICE, lease=600, outcome=Outcome.ALLOW, name="anna"):
    keyed = Keyed(at, replace(pin(name), id=pin_id), tries=1)
    facts = Facts(
        Attempt("88216000", "carrier", "204", "acme", "192.0.2.7:5060", at),
        Number("88216000", "88216000", None, Kind.SATELLITE),
        "main",
        rate,
        Limit(Scope(), 900_000),
        None,
        None,
        asks=True,
        keyed=keyed,
    )
    reason = Reason.OK if outcome is Outcome.ALLOW else Reason.PIN_MONEY
    return Verdict(call, outcome, reason, facts, lease if outcome is Outcome.ALLOW else None)


def leg(call, uniqueid, *, state=State.ENDED, name="anna", **changes):
    fields = dict.fromkeys(("caller", "account", "source", "trunk", "number"), "")
    ended = NOW + 61_000 if state is State.ENDED else None
    answered = None if state is State.RINGING else NOW + 1_000
    where = Leg("pbx", uniqueid, "", "")
    made = Call(where, call=call, why="ok", rate=PRICE, lease_seconds=600, state=state, began_at=NOW,
                answered_at=answered, ended_at=ended, tenant="acme", pin=name, **fields)  # fmt: skip
    return replace(made, **changes)


@pytest.fixture
async def anna(acme):
    return await add_pin(acme, pin(), **BY)


@pytest.fixture
def spent(writer, reader):
    async def spent(pin_id, verdicts, calls=(), since=NOW):
        def store(connection):
            store_batch([attempt_row(verdict) for verdict in verdicts], connection)
            save_calls(connection, calls)

        await writer.transaction(store)
        return await reader.read(lambda c: pin_usage.spent(c, pin_id, since))

    return spent


LEASE = 11 * 600_000 + 10_000  # 600 s, and what a carrier may see later
TALKED = 2 * 600_000 + 10_000  # 60 s, and one more of the carrier's


async def test_a_pin_that_was_not_used_has_spent_nothing(anna, spent):
    assert await spent(anna.id, []) == 0
    assert await spent(anna.id + 9, []) == 0


async def test_a_call_costs_its_lease_until_it_has_ended(anna, spent):
    assert await spent(anna.id, [allowed("c1", anna.id)]) == LEASE
    assert await spent(anna.id, [], [leg("c1", "1", state=State.UP)]) == LEASE
    assert await spent(anna.id, [], [leg("c1", "1", state=State.UP, lease_seconds=658)]) == LEASE
    assert await spent(anna.id, [], [leg("c1", "1", state=State.UP, lease_seconds=659)]) == LEASE + 600_000
    assert await spent(anna.id, [], [leg("c1", "1")]) == TALKED
    assert await spent(anna.id, [allowed("c2", anna.id)]) == TALKED + LEASE


async def test_what_was_never_dialled_costs_nothing_once_it_cannot_be(anna, writer, spent):
    followed = NOW + 600 * 1000 + DIALLING_MILLIS  # its lease, and the time in which it may be dialled beside that
    made = [allowed("c1", anna.id, lease=600)]
    for until, counts in ((followed, True), (followed + 1, False)):
        await writer.transaction(lambda c, until=until: note_followed(c, {"pbx": until}))
        assert (await spent(anna.id, made) > 0) == counts
        made = []
    await writer.transaction(lambda c: note_followed(c, {"another": followed + 1}))
    assert await spent(anna.id, []) > 0, "of several it is not known which"
    assert await spent(anna.id, [], [leg("c1", "1", state=State.UP)]) > 0


async def test_every_leg_of_a_call_counts(anna, spent):
    legs = [leg("c1", "1", answered_at=None), leg("c1", "2", state=State.UP), leg("c1", "3", state=State.RINGING)]
    assert await spent(anna.id, [allowed("c1", anna.id)], legs) == 2 * LEASE
    assert await spent(anna.id, [], [leg("c1", "2"), leg("c1", "3", rate=None)]) == TALKED


async def test_what_is_not_this_pin_s_today_counts_nothing(anna, acme, spent):
    bob = await add_pin(acme, pin("bob"), **BY)
    made = [
        allowed("c1", anna.id, at=NOW - 1),
        allowed("c2", bob.id, name="bob"),
        allowed("c3", anna.id, outcome=Outcome.NOWHERE),
        allowed("c4", anna.id, rate=None),
    ]
    others = [leg("", "2", name=""), leg("c2", "3", name="bob"), leg("c5", "4", tenant="other")]
    assert await spent(anna.id, made, others) == 0
    assert await spent(bob.id, []) == TALKED
    assert await spent(anna.id, [], since=NOW - 1) == LEASE


async def test_of_a_call_over_midnight_each_day_pays_its_part(anna, spent):
    midnight = NOW + 300_000
    made = [leg("c1", "1", state=State.UP)]
    assert await spent(anna.id, [], made, since=midnight) == LEASE - (5 * 600_000 + 10_000)
    made = [leg("c1", "1", ended_at=midnight + 61_000)]
    assert await spent(anna.id, [], made, since=midnight) == 2 * 600_000
    assert await spent(anna.id, []) == 7 * 600_000 + 10_000


async def test_new_digits_are_no_new_money(anna, acme, spent):
    forced = await add_pin(acme, pin(duress=True), **BY)
    new = await pins.rotate_pin(acme, anna, Seal(b"new", b""), **BY)
    assert await spent(new.id, [allowed("c1", anna.id), allowed("c2", new.id)]) == 2 * LEASE
    assert await spent(forced.id, []) == 2 * LEASE


async def test_a_price_without_its_increment_is_billed_by_the_longest(anna, writer, spent):
    await spent(anna.id, [allowed("c1", anna.id, lease=61)])
    older = "UPDATE attempts SET minimum_seconds = NULL, increment_seconds = NULL, connect_fee = 0"
    await writer.transaction(lambda c: c.execute(older).rowcount)
    assert UNKNOWN_INCREMENT == 60
    assert await spent(anna.id, []) == 2 * 600_000


async def test_what_was_spent_is_found_by_index(reader, anna):
    def plans(connection):
        asked = []
        connection.set_trace_callback(asked.append)
        pin_usage.spent(connection, anna.id, NOW)
        connection.set_trace_callback(None)
        return [detail for sql in asked for *_, detail in connection.execute("EXPLAIN QUERY PLAN " + sql)]

    details = await reader.read(plans)
    assert any("attempts USING INDEX attempts_pin (pin_id=? AND at>?)" in detail for detail in details)
    assert any("calls USING COVERING INDEX calls_call (call=?)" in detail for detail in details)
    assert any("calls USING INDEX calls_live" in detail for detail in details)
    assert any("spending USING PRIMARY KEY (until>?)" in detail for detail in details)
    assert not [detail for detail in details if detail in ("SCAN attempts", "SCAN calls", "SCAN spending")], details


regions = st.frozensets(st.sampled_from(["DE", "AT", "US"]))
prefixes = st.lists(st.text("0123456789", min_size=1, max_size=15), max_size=3).map(tuple)
amounts = st.none() | st.integers(0, 10**12)
hours = st.none() | st.builds(
    Hours,
    days=st.frozensets(st.integers(0, 6), min_size=1),
    begin=st.integers(0, 1439),
    end=st.integers(1, 1439),
).filter(lambda each: each.begin != each.end)
accounts = st.frozensets(st.text(st.characters(codec="utf-8"), min_size=1, max_size=10), max_size=3)


def test_terms_are_read_as_they_were_written():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript("".join(step.sql for step in migrate.packaged()))

    @given(st.builds(Terms, regions, prefixes, amounts, amounts, amounts, amounts, hours, accounts))
    def check(terms):
        connection.execute("DELETE FROM pins")
        added = pins._add(connection, *parts(pin(terms=terms)), "added", "eve", NOW)
        assert added.terms == terms
        assert pins.list_pins(connection) == (added,)

    try:
        check()
    finally:
        connection.close()


async def test_no_digits_reach_the_database(acme, database):
    vault, secret = Vault(bytes(range(32))), "80417253"
    scheme = await pins.settle_scheme(acme, "vault", vault.new_scheme())
    app = vault.new_totp()
    sealed = replace(pin(tenant="vault", terms=TERMS), seal=vault.seal(scheme, "vault", Digits(secret)))
    added = await add_pin(acme, sealed, **BY)
    await add_pin(acme, replace(pin("app", tenant="vault", kind=PinKind.TOTP), seal=app), **BY)
    await pins.rotate_pin(acme, added, vault.seal(scheme, "vault", Digits(secret[::-1])), **BY)
    await guesses.note_failure(acme, Failure(NOW, "vault", "204", "192.0.2.7"))
    held = b"".join(path.read_bytes() for path in database.parent.iterdir())
    assert added.seal.proof in held
    key = vault.totp_key("vault", app)
    for hidden in (secret.encode(), secret[::-1].encode(), bytes(range(32)), bytes(range(32)).hex().encode(),
                   key.base32().encode(), key._octets):  # fmt: skip
        assert hidden not in held
    assert json.dumps(secret) not in repr(added)
