import sqlite3
from dataclasses import replace

import pytest
from policy_cases import NOW, attempt, facts, number

from fraudguard.clock import DAY_MILLIS
from fraudguard.config import Settings
from fraudguard.house import build_house
from fraudguard.ledger.tempo import Tempo, caller_of
from fraudguard.numbering import Kind
from fraudguard.policy.reasons import Outcome, Reason
from fraudguard.policy.records import Verdict
from fraudguard.policy.rules import AFTER_SPEED
from fraudguard.store import tempo as module
from fraudguard.store.tempo import stored_tempo
from fraudguard.store.verdicts import attempt_row, store_batch

HOUSE = build_house(Settings(speed={"account_attempts": 2, "new_regions": 2}))
COUNTRIES = {"CU": "53", "DE": "49", "FR": "33", "GB": "44"}


def verdict(region="CU", *, at=NOW, reason=Reason.OK, kind=Kind.INTERNATIONAL, strict=False, **changes):
    dialled = number(f"{COUNTRIES.get(region, '882')}1234567", kind, region)
    made = replace(facts(dialled=dialled), attempt=attempt(at=at, **changes), strict=strict)
    outcome = Outcome.ALLOW if reason in (Reason.OK, Reason.EMERGENCY) else Outcome.NOWHERE
    return Verdict(f"{at}", outcome, reason, made, 60)


@pytest.fixture
def store(writer, reader):
    """Store verdicts and return what a service knows that starts then."""

    async def _store(*verdicts, now=NOW, only=None) -> Tempo:
        rows = [attempt_row(each) for each in verdicts]
        await writer.transaction(lambda connection: store_batch(rows, connection))
        return await reader.read(lambda connection: stored_tempo(connection, HOUSE, now, only))

    return _store


def asked(tempo, at=NOW, **changes):
    return tempo.too_fast(caller_of(verdict(**changes).facts), at)


def test_what_passed_is_what_was_refused_later_or_not_at_all():
    assert {Reason.OK, Reason.PIN_REQUIRED, Reason.PIN_WRONG, Reason.PIN_MONEY} <= AFTER_SPEED
    refused = {Reason.BLOCKED, Reason.NO_RATE, Reason.OVER_LIMIT, Reason.TOO_FAST, Reason.TOO_MANY}
    assert not AFTER_SPEED & (refused | {Reason.EMERGENCY, Reason.BAD_NUMBER, Reason.UNDECIDED})


async def test_attempts_that_passed_count_after_a_restart(store):
    tempo = await store(
        verdict(at=NOW - 60_000), verdict(at=NOW - 59_999), verdict(at=NOW - 5, reason=Reason.PIN_WRONG)
    )
    assert asked(tempo) == "2 attempts of account 204 of tenant acme within 60 s"
    assert asked(tempo, account="205") == ""
    assert asked(tempo, NOW + 1) == ""


async def test_others_do_not(store):
    tempo = await store(
        *(verdict(reason=reason) for reason in (Reason.TOO_FAST, Reason.TOO_MANY, Reason.OVER_LIMIT, Reason.BLOCKED)),
        *(verdict("US", kind=kind) for kind in (Kind.DOMESTIC, Kind.SERVICE, Kind.TOLL_FREE)),
        verdict("US", kind=Kind.EMERGENCY, reason=Reason.EMERGENCY),
    )
    assert tempo.remembered == 0


async def test_sources_regions_and_strict_times_are_as_they_were(store):
    live = Tempo(HOUSE.speed_of)
    verdicts = (verdict(None, kind=Kind.SATELLITE, strict=True), verdict(source=""), verdict(source="[::1]:5060"))
    for each in verdicts:
        live.passed(caller_of(each.facts), NOW, allowed=True)
    restored = await store(*verdicts)
    assert [each._of for each in restored._windows] == [each._of for each in live._windows]


async def test_where_an_account_has_called_is_known_after_a_restart(store):
    day_ago = NOW - DAY_MILLIS
    tempo = await store(
        verdict("CU", at=day_ago - 9, reason=Reason.PIN_WRONG),
        verdict("DE", at=day_ago - 8),
        verdict("DE", at=NOW - 3600_000),
        verdict("FR", at=day_ago - 7, account="205"),
        verdict("FR", at=day_ago - 7, tenant="bcme"),
        verdict("FR", at=day_ago, reason=Reason.PIN_TIMEOUT),
        verdict("GB", at=day_ago + 9),
        verdict("GB", at=day_ago + 8, tenant="bcme", account=""),
    )
    words = "2 regions within 24 h that account 204 of tenant acme never called before"
    assert [asked(tempo, NOW - 1, region=region) for region in ("CU", "DE", "FR", "GB")] == [words, "", "", ""]
    assert asked(tempo, region="CU") == ""  # FR was a day ago
    called = {account: regions.called for account, regions in tempo._called.items()}
    assert called == {
        ("acme", "204"): {"DE", "GB"},
        ("acme", "205"): {"FR"},
        ("bcme", ""): {"GB"},
        ("bcme", "204"): {"FR"},
    }


async def test_of_one_account_only(store):
    verdicts = [verdict("CU"), verdict("DE"), verdict("FR", account="205"), verdict("FR", tenant="bcme")]
    wrong = [verdict("GB", reason=Reason.PIN_WRONG, account=account) for account in ("204", "205")]
    old = NOW + HOUSE.longest_window + 1
    tempo = await store(*verdicts, *wrong, now=old, only=("acme", "204"))
    assert {account: set(regions.new) for account, regions in tempo._called.items()} == {
        ("acme", "204"): {"CU", "DE", "GB"}
    }


async def test_no_more_than_the_latest_are_read(store, monkeypatch):
    monkeypatch.setattr(module, "PASSED_ROWS", 2)
    tempo = await store(*(verdict(at=NOW - n, account=f"{n}") for n in range(4)))
    assert set(tempo._of_account._of) == {("acme", "0"), ("acme", "1")}


async def test_regions_are_found_by_their_index(database):
    connection = sqlite3.connect(database)
    for statement in (module._NEXT_REGION, module._NEXT_ACCOUNT, module._NEXT_TENANT):
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", ("",) * statement.count("?")).fetchall()
        assert [row[3].startswith("SEARCH attempts USING INDEX attempts_regions (tenant") for row in plan] == [True]
    connection.close()
