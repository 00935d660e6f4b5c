import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_cases import BAD, NOW, attempt, facts, number

from fraudguard.clock import DAY_MILLIS
from fraudguard.ledger import tempo as module
from fraudguard.ledger.tempo import SET_BACK, Called, Caller, Tempo, caller_of
from fraudguard.numbering import Kind
from fraudguard.policy.budget import Payer
from fraudguard.policy.speed import SpeedLimits

SECOND = 1000
MINUTE = 60 * SECOND


def caller(**changes):
    fields = {"tenant": "acme", "account": "204", "source": "192.0.2.7", "region": "CU", "number": "+5371234567"}
    return Caller(**({"domestic": False, "strict": False} | fields | changes))


def tempo_of(**limits):
    made = SpeedLimits(**limits)
    return Tempo(lambda _, strict: made.tightened(50) if strict else made)


def attempts(tempo, caller, *instants, allowed=True):
    """Return at which of the instants an attempt passes."""
    passed = []
    for at in instants:
        if not tempo.too_fast(caller, at):
            tempo.passed(caller, at, allowed=allowed)
            passed.append(at)
    return passed


# Who calls


def test_a_caller_is_made_of_facts():
    made = caller_of(replace(facts(dialled=number("5371234567", Kind.INTERNATIONAL, "CU")), strict=True))
    assert made == Caller("acme", "204", "198.51.100.7", "CU", "+5371234567", domestic=False, strict=True)


def test_a_source_is_an_address_without_port_or_none():
    for sent, known in (("", ""), ("[2001:DB8::1]:5060", "2001:db8::1"), ("phone", "phone")):
        assert caller_of(replace(facts(), attempt=attempt(source=sent))).source == known


@pytest.mark.parametrize(
    ("kind", "region", "domestic"),
    [
        (Kind.INTERNATIONAL, "CU", False),
        (Kind.SATELLITE, None, False),
        (Kind.PREMIUM, "US", False),
        (Kind.TOLL_FREE, None, False),
        (Kind.TOLL_FREE, "US", True),
        (Kind.DOMESTIC, "US", True),
        (Kind.SERVICE, "US", True),
        (Kind.EMERGENCY, "US", True),
    ],
)
def test_what_is_domestic(kind, region, domestic):
    made = caller_of(facts(dialled=number("123", kind, region)))
    assert (made.domestic, made.region) == (domestic, region or "001")


def test_what_is_no_number_is_not_domestic():
    assert caller_of(replace(facts(), number=BAD)) == caller(source="198.51.100.7", region="001", number="")


# Windows


@pytest.mark.parametrize(
    ("limit", "others", "words"),
    [
        ("account_attempts", {"account": "205"}, "2 attempts of account 204 of tenant acme within 60 s"),
        ("account_attempts", {"tenant": "other"}, "2 attempts of account 204 of tenant acme within 60 s"),
        ("tenant_attempts", {"tenant": "other"}, "2 attempts of tenant acme within 60 s"),
        ("source_attempts", {"source": "192.0.2.8"}, "2 attempts of source 192.0.2.7 within 60 s"),
        ("region_attempts", {"region": "DE"}, "2 attempts of tenant acme to region CU within 60 s"),
        ("region_attempts", {"tenant": "other"}, "2 attempts of tenant acme to region CU within 60 s"),
        ("same_number", {"number": "+5370"}, "2 attempts of account 204 of tenant acme to +5371234567 within 600 s"),
        ("same_number", {"account": "205"}, "2 attempts of account 204 of tenant acme to +5371234567 within 600 s"),
    ],
)
def test_so_many_pass_and_no_more(limit, others, words):
    tempo = tempo_of(**{limit: 2})
    assert attempts(tempo, caller(), NOW, NOW + 1, NOW + 2) == [NOW, NOW + 1]
    assert tempo.too_fast(caller(), NOW + 3) == words
    assert tempo.too_fast(caller(**others), NOW + 3) == ""


def test_a_limit_of_one_has_words_too():
    tempo = tempo_of(account_attempts=1, new_regions=1, account_calls=1)
    tempo.passed(caller(), NOW, allowed=False)
    tempo.enter("a", payer())
    assert tempo.too_fast(caller(), NOW) == "1 attempt of account 204 of tenant acme within 60 s"
    later = tempo.too_fast(caller(region="DE"), NOW + MINUTE)
    assert later == "1 region within 24 h that account 204 of tenant acme never called before"
    assert tempo.too_many(caller()) == "1 call of account 204 of tenant acme that are not domestic at once"


def test_zero_is_no_limit_and_no_memory():
    tempo = tempo_of()
    assert len(attempts(tempo, caller(), *[NOW] * 100)) == 100
    tempo.enter("a", payer())
    assert tempo.too_many(caller()) == ""
    tempo.leave("a")
    assert tempo.remembered == 0


def test_what_is_narrowest_is_told():
    tempo = tempo_of(tenant_attempts=1, region_attempts=1, source_attempts=1, account_attempts=1, same_number=1)
    tempo.passed(caller(), NOW, allowed=True)
    other, words = {}, []
    for changes in ({}, {"number": "1"}, {"account": "205"}, {"source": "::1"}, {"region": "DE"}, {"tenant": "other"}):
        other |= changes
        words.append(tempo.too_fast(caller(**other), NOW).removeprefix("1 attempt of ").partition(" within")[0])
    assert words == [
        "account 204 of tenant acme to +5371234567",
        "account 204 of tenant acme",
        "source 192.0.2.7",
        "tenant acme to region CU",
        "tenant acme",
        "",
    ]


def test_an_attempt_counts_for_the_window_and_not_a_millisecond_longer():
    tempo = tempo_of(account_attempts=2, window_seconds=10)
    instants = [NOW, NOW + 4000, NOW + 9999, NOW + 10_000, NOW + 13_999, NOW + 14_000]
    assert attempts(tempo, caller(), *instants) == [NOW, NOW + 4000, NOW + 10_000, NOW + 14_000]


def test_what_was_too_fast_does_not_count():
    tempo = tempo_of(account_attempts=1, window_seconds=10)
    assert attempts(tempo, caller(), *range(NOW, NOW + 30_000, 500)) == [NOW, NOW + 10_000, NOW + 20_000]


def test_domestic_attempts_neither_count_nor_are_held_up():
    tempo = tempo_of(account_attempts=1, new_regions=1)
    attempts(tempo, caller(domestic=True), *[NOW] * 5)
    assert tempo.remembered == 0
    attempts(tempo, caller(), NOW, NOW)
    assert tempo.too_fast(caller(domestic=True), NOW) == ""


def test_no_source_is_no_source():
    tempo = tempo_of(source_attempts=1)
    assert len(attempts(tempo, caller(source=""), NOW, NOW, NOW)) == 3


def test_attempts_without_an_account_count_together():
    tempo = tempo_of(account_attempts=1)
    attempts(tempo, caller(account=""), NOW)
    assert tempo.too_fast(caller(account=""), NOW) == "1 attempt of tenant acme without an account within 60 s"
    assert tempo.too_fast(caller(account="", tenant="other"), NOW) == ""


def test_at_strict_times_half_as_many():
    tempo = tempo_of(account_attempts=5)
    assert len(attempts(tempo, caller(strict=True), *[NOW] * 9)) == 3
    assert len(attempts(tempo, caller(), *[NOW] * 9)) == 2
    assert len(attempts(tempo, caller(strict=True), *[NOW + MINUTE] * 9)) == 3


def test_a_source_is_counted_in_all_tenants_that_limit_it():
    limits = {
        "few": SpeedLimits(source_attempts=2, window_seconds=60),
        "many": SpeedLimits(source_attempts=4, window_seconds=10),
        "any": SpeedLimits(),
    }
    tempo = Tempo(lambda tenant, _: limits[tenant])
    assert len(attempts(tempo, caller(tenant="any"), *[NOW] * 9)) == 9
    assert len(attempts(tempo, caller(tenant="many"), NOW)) == 1
    assert len(attempts(tempo, caller(tenant="few"), *[NOW] * 9)) == 1
    assert len(attempts(tempo, caller(tenant="many"), *[NOW] * 9)) == 2
    assert len(attempts(tempo, caller(tenant="many"), *[NOW + 10 * SECOND] * 9)) == 4
    assert attempts(tempo, caller(tenant="few"), NOW + 59 * SECOND, NOW + 70 * SECOND) == [NOW + 70 * SECOND]
    tempo.forget(NOW + 129 * SECOND)  # the longest of its windows counts
    assert tempo.remembered == 1
    tempo.forget(NOW + 130 * SECOND)
    assert tempo.remembered == 0


limited = st.fixed_dictionaries(
    {
        "account_attempts": st.integers(0, 4),
        "tenant_attempts": st.integers(0, 6),
        "source_attempts": st.integers(0, 5),
        "region_attempts": st.integers(0, 5),
        "same_number": st.integers(0, 3),
        "window_seconds": st.integers(1, 4),
        "same_number_seconds": st.integers(1, 6),
        "new_regions": st.integers(0, 2),
    }
)
some_caller = st.builds(
    caller,
    tenant=st.sampled_from(["acme", "other"]),
    account=st.sampled_from(["", "204", "205"]),
    source=st.sampled_from(["", "192.0.2.7", "192.0.2.8"]),
    region=st.sampled_from(["CU", "DE", "001"]),
    number=st.sampled_from(["+1", "+2"]),
    strict=st.booleans(),
)
gap = st.integers(0, 3 * SECOND) | st.sampled_from([SECOND, 4 * SECOND, DAY_MILLIS - 1, DAY_MILLIS])


def counted_by(limits):
    """What each rule counts by, with its number and its milliseconds."""
    window = limits.window_seconds * SECOND
    return [
        (lambda c: (c.tenant, c.account), limits.account_attempts, window),
        (lambda c: c.tenant, limits.tenant_attempts, window),
        (lambda c: c.source or None, limits.source_attempts, window),
        (lambda c: (c.tenant, c.region), limits.region_attempts, window),
        (lambda c: (c.tenant, c.account, c.number), limits.same_number, limits.same_number_seconds * SECOND),
    ]


def expected(limits, history, who, now):
    """Say whether an attempt passes, by looking at everything that ever did."""
    for key, limit, window in counted_by(limits):
        within = sum(key(other) == key(who) and now - at < window for other, at, _ in history)
        if limit and key(who) is not None and within >= limit:
            return False
    called, new = set(), set()
    for other, at, allowed in history:
        if other[:2] == who[:2] and other.region not in called:
            new |= {other.region} if now - at < DAY_MILLIS else set()
            called |= {other.region} if allowed else set()
    if limits.new_regions and who.region not in called:
        return who.region in new or len(new) < limits.new_regions
    return True


@given(limited, st.lists(st.tuples(some_caller, gap, st.booleans(), st.booleans()), max_size=60))
def test_any_history_against_a_naive_model(values, steps):
    limits = SpeedLimits(**values)
    tempo = Tempo(lambda _, strict: limits.tightened(50) if strict else limits)
    history, now = [], NOW
    for who, millis, allowed, forgets in steps:
        now += millis
        if forgets:
            tempo.forget(now)
        passes = not tempo.too_fast(who, now)
        assert passes == expected(limits.tightened(50) if who.strict else limits, history, who, now)
        if passes:
            tempo.passed(who, now, allowed=allowed)
            history.append((who, now, allowed))
    for key, limit, window in counted_by(limits):
        for mine in {key(who) for who, _, _ in history if limit} - {None}:
            instants = [at for who, at, _ in history if key(who) == mine]
            assert all(sum(at <= other < at + window for other in instants) <= limit for at in instants)
    assert all(len(times) <= windows._most for windows in tempo._windows for times in windows._of.values())


@given(st.lists(st.tuples(some_caller, gap, st.booleans()), max_size=40), limited)
def test_restored_it_answers_as_before(steps, values):
    limits = SpeedLimits(**values)
    before, restored = (Tempo(lambda *_: limits) for _ in range(2))
    passed, now = [], NOW
    for who, millis, allowed in steps:
        now += millis
        if not before.too_fast(who, now):
            before.passed(who, now, allowed=allowed)
            passed.append((who, now, allowed))
    first = {(*who[:2], who.region): at for who, at, allowed in reversed(passed) if allowed}
    refused = {(*who[:2], who.region): at for who, at, allowed in passed if not allowed}
    called = [Called(*key, at, called=True) for key, at in first.items()]
    called += [Called(*key, at, called=False) for key, at in refused.items() if now - at < DAY_MILLIS]
    longest = 1000 * max(limits.window_seconds, limits.same_number_seconds)
    restored.restore([each for each in passed if each[1] >= now - longest], called)
    whos = itertools.product(("acme", "other"), ("", "204", "205"), ("CU", "DE", "001"), ("+1", "+2"))
    for later, (tenant, account, region, to) in itertools.product((0, SECOND, DAY_MILLIS - 1), list(whos)):
        who = caller(tenant=tenant, account=account, region=region, number=to)
        assert before.too_fast(who, now + later) == restored.too_fast(who, now + later)


# The clock


def test_a_clock_that_is_set_back_locks_nobody_out():
    tempo = tempo_of(account_attempts=1, new_regions=1)
    attempts(tempo, caller(), NOW)
    back = NOW - 50 * DAY_MILLIS
    assert attempts(tempo, caller(), back, back + 59_999, back + 60_000) == [back + 60_000]
    assert tempo.too_fast(caller(region="DE"), back + DAY_MILLIS - 1 + MINUTE) == ""
    tempo.forget(NOW - 90 * DAY_MILLIS)


def test_times_a_little_out_of_order_count_as_the_latest():
    tempo = tempo_of(account_attempts=3)
    assert attempts(tempo, caller(), NOW, NOW - SET_BACK, NOW - 1, NOW) == [NOW, NOW - SET_BACK, NOW - 1]
    assert attempts(tempo, caller(), NOW + MINUTE - 1, NOW + MINUTE) == [NOW + MINUTE]


def test_what_is_restored_from_the_future_locks_nobody_out():
    tempo = tempo_of(account_attempts=1, new_regions=1)
    ahead = NOW + 90 * DAY_MILLIS
    called = [Called("acme", "204", "CU", ahead, called=True)]
    tempo.restore([(caller(), ahead, True), (caller(account="205"), NOW, True)], called)
    assert attempts(tempo, caller(), NOW, NOW + MINUTE) == [NOW + MINUTE]
    assert "never called" in tempo.too_fast(caller(region="DE"), NOW + DAY_MILLIS - 1)
    assert tempo.too_fast(caller(region="DE"), NOW + DAY_MILLIS) == ""


# Regions


def test_so_many_new_regions_in_a_day():
    tempo = tempo_of(new_regions=2)
    for n, region in enumerate(("CU", "DE")):
        attempts(tempo, caller(region=region), NOW + n)
    words = "2 regions within 24 h that account 204 of tenant acme never called before"
    assert tempo.too_fast(caller(region="FR"), NOW + DAY_MILLIS - 1) == words
    assert tempo.too_fast(caller(region="CU"), NOW) == ""
    assert tempo.too_fast(caller(region="FR", account="205"), NOW) == ""
    assert tempo.too_fast(caller(region="FR"), NOW + DAY_MILLIS) == ""


def test_a_region_that_was_called_is_never_new_again():
    tempo = tempo_of(new_regions=1)
    attempts(tempo, caller(region="CU"), NOW)
    attempts(tempo, caller(region="DE"), NOW + DAY_MILLIS)
    assert tempo.too_fast(caller(region="CU"), NOW + DAY_MILLIS) == ""
    assert tempo.too_fast(caller(region="FR"), NOW + DAY_MILLIS) != ""


def test_a_region_stays_new_until_a_call_there_was_allowed():
    tempo = tempo_of(new_regions=1)
    attempts(tempo, caller(region="CU"), NOW, NOW + DAY_MILLIS - 1, allowed=False)
    assert tempo.too_fast(caller(region="DE"), NOW + DAY_MILLIS) != ""
    attempts(tempo, caller(region="DE"), NOW + 2 * DAY_MILLIS)
    assert tempo.too_fast(caller(region="CU"), NOW + 2 * DAY_MILLIS) != ""
    assert tempo._called["acme", "204"].new == {"DE": NOW + 2 * DAY_MILLIS}


def test_without_a_limit_on_regions_none_is_remembered():
    tempo = tempo_of(account_attempts=9)
    tempo.restore([], [Called("acme", "204", "CU", NOW, called=True)])
    assert tempo.remembered == 0


# Memory


def test_what_is_too_old_is_dropped():
    tempo = tempo_of(account_attempts=9, same_number=9, new_regions=9)
    attempts(tempo, caller(), NOW)
    for later, left in ((MINUTE - 1, 3), (MINUTE, 2), (600 * SECOND - 1, 2), (600 * SECOND, 1), (DAY_MILLIS, 1)):
        tempo.forget(NOW + later)
        assert tempo.remembered == left


def test_invented_numbers_and_accounts_take_no_more_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(module, "KEYS", 10)
    monkeypatch.setattr(module, "ACCOUNTS", 10)
    tempo = tempo_of(same_number=1, new_regions=1)
    for n in range(100):
        attempts(tempo, caller(account="205"), NOW + n)
        attempts(tempo, caller(account=f"{n}", number=f"{n}"), NOW + n)
        assert tempo.remembered <= 20
    assert tempo.too_fast(caller(account="99", number="99"), NOW + 99) != ""
    assert tempo.too_fast(caller(account="1", number="1"), NOW + 99) == ""
    assert len(tempo._called) == 10


# Calls at once


def payer(**changes):
    fields = {"tenant": "acme", "account": "204", "pin": "", "trunk": "carrier", "region": "CU", "domestic": False}
    return Payer(**(fields | changes))


@pytest.mark.parametrize(
    ("limit", "others", "words"),
    [
        ("account_calls", {"account": "205"}, "2 calls of account 204 of tenant acme that are not domestic at once"),
        ("tenant_calls", {"tenant": "other"}, "2 calls of tenant acme that are not domestic at once"),
        ("account_calls_total", {"account": "205"}, "2 calls of account 204 of tenant acme at once"),
        ("tenant_calls_total", {"tenant": "other"}, "2 calls of tenant acme at once"),
    ],
)
def test_so_many_calls_at_once(limit, others, words):
    tempo = tempo_of(**{limit: 2})
    tempo.enter("a", payer())
    assert tempo.too_many(caller()) == ""
    tempo.enter(("pbx", "b"), payer())
    tempo.enter("c", payer(**others))
    assert tempo.too_many(caller()) == words
    assert tempo.too_many(caller(**others)) == ""
    assert (tempo.too_many(caller(domestic=True)) != "") == limit.endswith("total")
    tempo.leave("a")
    assert tempo.too_many(caller()) == ""


def test_domestic_calls_take_places_in_the_total_only():
    tempo = tempo_of(account_calls=1, tenant_calls=1, account_calls_total=2)
    tempo.enter("a", payer(domestic=True))
    assert tempo.too_many(caller()) == ""
    tempo.enter("b", payer(domestic=True))
    assert tempo.too_many(caller(domestic=True)) == "2 calls of account 204 of tenant acme at once"
    assert tempo.too_many(caller()) == "2 calls of account 204 of tenant acme at once"


def test_a_place_is_taken_and_given_back_once():
    tempo = tempo_of(account_calls=2)
    for _ in range(3):
        tempo.enter("a", payer())
    assert tempo.too_many(caller()) == ""
    tempo.enter("b", payer())
    for _ in range(3):
        tempo.leave("a")
    assert tempo.too_many(caller(strict=True)) != ""
    tempo.leave("b")
    tempo.leave("never entered")
    assert tempo.remembered == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.sampled_from(["204", "205"]), st.booleans())))
def test_places_against_a_naive_model(steps):
    tempo, places = tempo_of(account_calls=2, tenant_calls=3, account_calls_total=3, tenant_calls_total=4), {}
    for enters, key, account, domestic in steps:
        if enters:
            tempo.enter(key, payer(account=account, domestic=domestic))
            places.setdefault(key, (account, domestic))
        else:
            tempo.leave(key)
            places.pop(key, None)
        for who in ("204", "205"):
            mine = [domestic for account, domestic in places.values() if account == who]
            foreign = [account for account, domestic in places.values() if not domestic]
            total = len(mine) >= 3 or len(places) >= 4
            assert bool(tempo.too_many(caller(account=who, domestic=True))) == total
            too_many = total or mine.count(False) >= 2 or len(foreign) >= 3
            assert bool(tempo.too_many(caller(account=who))) == too_many
