import contextlib
import sqlite3
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from store_cases import EMPTY

from fraudguard.ledger.accrual import accrual
from fraudguard.ledger.pots import BUCKET_MILLIS
from fraudguard.ledger.records import Call, Leg, State
from fraudguard.policy.budget import Payer
from fraudguard.rating import Rate
from fraudguard.store import calls as stored_calls
from fraudguard.store.calls import list_calls, save_calls
from fraudguard.store.spending import spent_since

NOW = 1_800_000_000_000
STEP = BUCKET_MILLIS
PRICE = Rate("53", "Cuba", 600_000, 10_000, 0, 60, 0)
ACME = Payer("acme", "204", "anna", "carrier", "CU", False)


def call(uniqueid="1", answered_at=NOW + 1, ended_at=None, **changes):
    made = Call(
        *(Leg("pbx1", uniqueid, "l", "PJSIP/carrier-1"), "", "c1", "ok", "acme", "204", "", "carrier", "+53"),
        *(PRICE, 7200, State.UP, NOW),
        answered_at=answered_at,
        region="CU",
        pin="anna",
    )
    if ended_at is not None:
        made = replace(made, state=State.ENDED, ended_at=ended_at)
    return replace(made, **changes)


async def spent(reader, since=0):
    return await reader.read(lambda c: spent_since(c, since))


async def save(writer, *calls):
    await writer.transaction(lambda c: save_calls(c, calls))


async def test_what_an_ended_call_has_cost_is_spent_when_it_was(writer, reader):
    await save(writer, call())
    assert await spent(reader) == []
    await save(writer, call(ended_at=NOW + STEP + 1))
    assert await spent(reader) == [(NOW + STEP, ACME, 3_010_000), (NOW + 2 * STEP, ACME, 600_000)]
    assert await spent(reader, NOW + STEP) == [(NOW + 2 * STEP, ACME, 600_000)]
    assert await spent(reader, NOW + 2 * STEP) == []


async def test_those_who_pay_are_told_apart(writer, reader):
    payers = [ACME, *(ACME._replace(**{name: "other"}) for name in ("tenant", "account", "pin", "trunk", "region"))]
    payers.append(ACME._replace(domestic=True))
    end = NOW + 9_000
    await save(writer, *(call(str(n), ended_at=end, **payer._asdict()) for n, payer in enumerate(payers)))
    await save(writer, *(call(f"{n}b", ended_at=end, **payer._asdict()) for n, payer in enumerate(payers)))
    found = await spent(reader)
    assert {payer for _, payer, _ in found} == set(payers)
    assert {amount for _, _, amount in found} == {2 * 610_000}
    assert {type(payer.domestic) for _, payer, _ in found} == {bool}


async def test_a_corrected_end_takes_back_what_it_counted(writer, reader):
    await save(writer, call(ended_at=NOW + 2 * STEP))
    await save(writer, call(ended_at=NOW + 2 * STEP))
    assert sum(amount for *_, amount in await spent(reader)) == 11 * 600_000 + 10_000
    await save(writer, call())  # it was found alive: until it ends anew it counts as it was
    assert sum(amount for *_, amount in await spent(reader)) == 11 * 600_000 + 10_000
    await save(writer, call(), call(ended_at=NOW + 9_000, pin=""), call())
    assert await spent(reader) == [(NOW + STEP, ACME._replace(pin=""), 610_000)]
    await save(writer, call(ended_at=NOW + 9_000, rate=None))
    assert await spent(reader) == []


async def test_a_hundred_calls_take_few_statements(writer):
    asked = []

    def batch(connection):
        connection.set_trace_callback(asked.append)
        save_calls(connection, [call(str(n), ended_at=NOW + n, tenant=str(n)) for n in range(256)])
        connection.set_trace_callback(None)

    await writer.transaction(batch)
    await writer.transaction(batch)
    assert len(asked) == 3 + 2  # the second time nothing is added


async def test_ends_that_were_stored_are_found_by_their_key(reader):
    sql = stored_calls._ends(2)
    plan = await reader.read(lambda c: c.execute(f"EXPLAIN QUERY PLAN {sql}", ("a", "b", "c", "d")).fetchall())
    assert "SEARCH calls USING PRIMARY KEY (asterisk=? AND uniqueid=?)" in {detail for *_, detail in plan}


rates = st.none() | st.builds(
    lambda *figures: Rate("53", "Cuba", *figures, 0),
    st.integers(0, 10**6),
    st.integers(0, 10**5),
    st.integers(0, 90),
    st.integers(1, 90),
)
instants = st.integers(0, 4 * STEP).map(lambda after: NOW + after)
versions = st.builds(
    call,
    st.sampled_from(["1", "2", "3", "3\0"]),
    st.none() | instants,
    st.none() | instants,
    rate=rates,
    lease_seconds=st.none() | st.integers(0, 1500),
    pin=st.sampled_from(["", "anna", "a" * 300, "\ud800"]),
    region=st.sampled_from(["CU", "001"]),
    domestic=st.booleans(),
)


@settings(max_examples=300)
@given(st.lists(st.lists(versions, max_size=6), max_size=6))
def test_what_is_spent_is_what_the_stored_calls_cost(batches):
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(EMPTY)
        for batch in batches:
            save_calls(connection, batch)
            wanted = Counter()
            for one in list_calls(connection, stored_calls.Filter(live=False)):
                for until, amount in accrual(one, 0):
                    wanted[until, one.payer] += amount
            assert {(until, payer): amount for until, payer, amount in spent_since(connection, 0)} == wanted
            assert sum(wanted.values()) == sum(
                one.charged_at(0) for one in list_calls(connection, stored_calls.Filter(live=False))
            )
