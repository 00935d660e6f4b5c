"""The figures on the page of the loss bound are what the code works out, and every way to end a call is told."""

import re
from pathlib import Path

import pytest

from fraudguard.alerts.text import render
from fraudguard.config.sections import Policy
from fraudguard.ledger.leases import LONGEST, OF_PIN, UNLINKED
from fraudguard.ledger.legs import SECOND_LEG
from fraudguard.ledger.recall import BLOCKED, PIN_REVOKED
from fraudguard.money import format_amount, parse_amount
from fraudguard.policy.alert import Alert, Delivery
from fraudguard.policy.budget import DEFAULT_BUDGETS
from fraudguard.policy.lease import LeaseTerms, first_lease, next_lease
from fraudguard.rating.rate import SLACK_SECONDS, Rate, cost

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT.joinpath("docs", "explanation", "loss-bound.md").read_text(encoding="utf-8")
ALERTS = ROOT.joinpath("docs", "reference", "alerts.md").read_text(encoding="utf-8")
README = ROOT.joinpath("README.md").read_text(encoding="utf-8")
DEFAULTS = Policy()
TERMS = LeaseTerms(DEFAULTS.shortest_lease_seconds, DEFAULTS.lease_seconds, DEFAULTS.call_seconds)

ROWS = re.findall(
    r"^\| ([\d.]+) \| (\d+) s \| ([\d.]+) \| (\S+)(?: s)? \| ([\d.]*) ?\| ([^|]*?) ?\|$", PAGE, re.MULTILINE
)


def rate_of(per_minute, increment):
    return Rate("44", "", parse_amount(per_minute), 0, 0, int(increment), 0)


def set_aside(rate, lease):
    return cost(rate, lease + SLACK_SECONDS)


@pytest.mark.parametrize("row", ROWS)
def test_the_leases_told_are_those_given(row):
    per_minute, increment, left, lease, aside, longest = row
    rate, room = rate_of(per_minute, increment), parse_amount(left)
    seconds = first_lease(TERMS, rate, room)
    if lease == "refused":
        assert (seconds, aside, longest) == (0, "", "")
        return
    assert (seconds, set_aside(rate, seconds)) == (int(lease), parse_amount(aside))
    up, money = seconds, room - set_aside(rate, seconds)
    while (renewed := next_lease(TERMS, rate, money, up)) > up:
        money -= set_aside(rate, renewed) - set_aside(rate, up)
        up = renewed
    assert longest.split()[0] == str(up)
    if up == TERMS.call:
        assert longest.endswith(f"for {format_amount(set_aside(rate, up))}")


def test_the_table_of_leases_is_read():
    assert len(ROWS) == 12


def test_calls_at_the_same_moment_share_what_is_left():
    rate, room, leases = rate_of("0.25", 60), parse_amount("20"), []
    while lease := first_lease(TERMS, rate, room):
        leases.append(lease)
        room -= set_aside(rate, lease)
    text = " ".join(PAGE.split())
    assert ", ".join(map(str, leases[:7])) in text
    assert f"The {len(leases)}nd gets {leases[-1]} s, and the {len(leases) + 1}rd is refused" in text


def test_the_default_budgets_are_those_told():
    day, night = ([one for one in DEFAULT_BUDGETS if one.strict is strict] for strict in (False, True))
    account, tenant, low, lowest = (one.amount // 1_000_000 for one in (*day, *night))
    assert f"{account} by an account, {tenant} by a tenant" in README
    assert f"{low} and {lowest}" in README
    assert f"{low} a day for each account and {lowest} for each tenant" in " ".join(PAGE.split())


def test_every_cause_of_a_cut_is_told_and_has_words():
    section = ALERTS.partition("\n## call_cut\n")[2].partition("\n## ")[0]
    causes = {BLOCKED, PIN_REVOKED, SECOND_LEG, UNLINKED, LONGEST, OF_PIN}
    assert set(re.findall(r"^\| `([^`]+)` \| ", section, re.MULTILINE)) - {"cut"} == causes
    for cause in causes:
        alert = Alert(
            *(1, "call_cut", "warning", 0, 0, 1, "", "", "", "", "", None, None, None, None, None, None, "", ""),
            details={"cut": cause},
        )
        assert "no money left" not in render(Delivery(1, alert, "log", 0, 1, 1, 0, 0, "", "", None), "USD").text, cause
