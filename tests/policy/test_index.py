import ipaddress
from dataclasses import replace

import pytest
from policy_cases import BAD, NOW, attempt, index, number, rate

from fraudguard.numbering import Kind
from fraudguard.policy import DEFAULT_LIMIT, Block, Grant, Limit, Scope
from fraudguard.policy.index import address_of, without_port
from fraudguard.policy.strict import Strict

ACME = Scope("acme")
ACME_204 = Scope("acme", "204")


def grant(prefix="", scope=None, highest=None, until=None, identity=1):
    return Grant(identity, scope or Scope(), prefix, highest, until, "why", "who", 0)


def block(prefix="", scope=None, source="", until=None, identity=1):
    return Block(identity, scope or Scope(), prefix, source, until, "why", "who", 0)


def gathered(policy, dialled=None, price=None, **changes):
    return policy.gather(attempt(**changes), dialled or number(), "a", price)


def test_the_narrowest_limit_wins():
    limits = (Limit(Scope(), 1), Limit(ACME, 2), Limit(ACME_204, 3))
    assert index(limits=limits).limit_for("acme", "204") == limits[2]
    assert index(limits=limits).limit_for("acme", "205") == limits[1]
    assert index(limits=limits).limit_for("other", "204") == limits[0]
    assert index().limit_for("other", "204").per_minute == DEFAULT_LIMIT


def test_a_limit_of_zero_is_a_limit():
    assert index(limits=(Limit(ACME, 0),)).limit_for("acme", "204").per_minute == 0


@pytest.mark.parametrize(
    ("cap", "per_minute", "level"),
    [(None, 2, "tenant"), (3, 2, "tenant"), (2, 2, "tenant"), (1, 1, "strict"), (0, 0, "strict")],
)
def test_a_strict_profile_lowers_the_limit_and_never_raises_it(cap, per_minute, level):
    policy = index(limits=(Limit(ACME, 2),))
    found = policy.gather(attempt(), number(), "a", None, strict=Strict(limit=cap))
    assert (found.limit.per_minute, found.limit.level, found.limit.scope, found.strict) == (
        per_minute,
        level,
        ACME,
        True,
    )
    usual = policy.gather(attempt(), number(), "a", None)
    assert (usual.limit.per_minute, usual.limit.level, usual.strict) == (2, "tenant", False)


@pytest.mark.parametrize(
    ("rule", "applies"),
    [
        (grant(), True),
        (grant("882"), True),
        (grant("88216000"), True),
        (grant("882160001"), False),
        (grant("44"), False),
        (grant(scope=ACME), True),
        (grant(scope=ACME_204), True),
        (grant(scope=Scope("acme", "205")), False),
        (grant(scope=Scope("other")), False),
        (grant(until=NOW), False),
        (grant(until=NOW + 1), True),
    ],
)
def test_a_grant_applies_by_scope_prefix_and_time(rule, applies):
    assert (gathered(index(grants=(rule,))).grant is rule) == applies


def test_a_grant_that_reaches_the_price_is_preferred_to_a_longer_prefix_that_does_not():
    low, high = grant("8821", highest=1, identity=1), grant("882", highest=None, identity=2)
    assert gathered(index(grants=(low, high)), price=rate()).grant is high
    assert gathered(index(grants=(low,)), price=rate()).grant is low


def test_a_grant_that_spares_the_pin_is_preferred_to_one_that_does_not():
    asks, spares = replace(grant("8821", identity=1), asks_pin=True), grant("882", highest=200_000, identity=2)
    low = grant("88216", highest=1, identity=3)
    assert gathered(index(grants=(asks, spares, low)), price=rate()).grant is spares
    assert gathered(index(grants=(asks, spares)), price=rate(300_000)).grant is asks
    assert gathered(index(grants=(low, asks)), price=rate()).grant is asks


def test_short_codes_fall_under_no_rule_about_prefixes():
    short = number("411", Kind.SERVICE, "US")
    found = gathered(index(grants=(grant("4"), grant("411")), blocks=(block("41"),)), dialled=short)
    assert (found.grant, found.block) == (None, None)
    assert gathered(index(blocks=(block(scope=ACME),)), dialled=short).block is not None


def test_a_bad_number_falls_under_no_rule_about_prefixes():
    assert gathered(index(blocks=(block("6"),)), dialled=BAD).block is None


@pytest.mark.parametrize(
    ("rule", "applies"),
    [
        (block("882"), True),
        (block("44"), False),
        (block(scope=ACME_204), True),
        (block(scope=Scope("other")), False),
        (block(source="198.51.100.7"), True),
        (block(source="198.51.100.8"), False),
        (block(source="198.51.100.0/24"), True),
        (block(source="203.0.113.0/24"), False),
        (block("44", source="198.51.100.7"), False),
        (block("882", source="198.51.100.7"), True),
        (block("882", scope=Scope("other"), source="198.51.100.0/24"), False),
        (block(source="198.51.100.7", until=NOW), False),
        (block(source="2001:db8::/32"), False),
    ],
)
def test_a_block_applies_when_all_that_it_states_matches(rule, applies):
    assert (gathered(index(blocks=(rule,))).block is rule) == applies


def test_a_source_that_is_no_address_is_under_no_source_block():
    assert gathered(index(blocks=(block(source="198.51.100.7"),)), source="console").block is None


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:5060", "192.0.2.7"),
        ("[2001:db8::1]:5060", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("[::ffff:192.0.2.7]:5060", "192.0.2.7"),
    ],
)
def test_addresses_are_read_as_asterisk_prints_them(text, address):
    assert address_of(text) == ipaddress.ip_address(address)


@pytest.mark.parametrize("text", ["", "x", "[", "1.2.3", "1.2.3.4.5:1", ":::", "[::1"])
def test_what_is_no_address_gives_none_or_its_address(text):
    assert address_of(text) in (None, ipaddress.ip_address("::1"))


def test_an_account_cannot_be_named_without_its_tenant():
    with pytest.raises(ValueError, match="belongs to a tenant"):
        Scope(None, "204")


@pytest.mark.parametrize(
    ("scope", "text"),
    [(Scope(), "global"), (ACME, "tenant acme"), (ACME_204, "account 204 of tenant acme")],
)
def test_scopes_are_written_for_people_and_for_scripts(scope, text):
    assert str(scope) == text
    assert scope.level == text.split()[0]


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("192.0.2.7:5060", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("[2001:db8::7]:5060", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("", ""),
    ],
)
def test_without_port(source, address):
    assert without_port(source) == address
