"""`fraudguard explain`: one verdict, the calls by it, and why they ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial
from typing import Final

import rich_click as click

from fraudguard.cli.app import App, examples, json_option, print_json, printable, show_instant, show_money
from fraudguard.cli.calls import document
from fraudguard.clock import Millis
from fraudguard.errors import InputError
from fraudguard.ledger.leases import LONGEST, OF_PIN, UNLINKED
from fraudguard.ledger.legs import SECOND_LEG
from fraudguard.ledger.recall import BLOCKED, PIN_REVOKED
from fraudguard.ledger.records import Call, State
from fraudguard.policy import Outcome, Ruling
from fraudguard.policy import explain as steps
from fraudguard.policy.ruling import as_json as ruling_json
from fraudguard.store.attempts import find_attempt
from fraudguard.store.calls import calls_by

_MAX_SHOWN: Final = 40
"""Characters of a name that is not known: enough to see what was pasted."""

_WHY: Final = {
    BLOCKED: "a block refuses such calls since then ('block list' shows it)",
    PIN_REVOKED: "the PIN that it went by was revoked ('pin history' says by whom)",
    SECOND_LEG: "a verdict pays for one leg at a time, and a budget had no money for this one beside",
    UNLINKED: "its lease was not renewed, because Asterisk could not be told",
    LONGEST: "it lived for as long as a call may (policy.call_seconds)",
    OF_PIN: "its PIN's money of the day was spent ('pin show' says how much it has)",
}
"""Why the guard ended a call, or let its lease run out, by what is stored. Else that is the name of a budget."""


@click.command(epilog=examples("explain 9f2c4e1d7a6b8035", "explain 9f2c4e1d7a6b8035 --json"))
@click.argument("call")
@json_option
@click.pass_obj
def explain(app: App, call: str, as_json: bool) -> None:
    """Tell how the verdict CALL came about, what the calls by it have cost, and why each of them ended.

    CALL is the key 'call' of 'attempts --json', 'calls --json' and 'alerts list --json'.
    """
    ruling, calls = app.read(partial(_look_up, call=call))
    now, currency = app.clock.now(), app.settings.currency
    if as_json:
        attempt = ruling_json(ruling, currency)
        print_json({"call": call, "attempt": attempt, "calls": [document(leg, now, currency) for leg in calls]})
        return
    for line in _lines(ruling, calls, now, currency):
        click.echo(printable(line))


def _look_up(connection: sqlite3.Connection, *, call: str) -> tuple[Ruling, tuple[Call, ...]]:
    ruling = find_attempt(connection, call) if call else None
    if ruling is None:
        raise InputError(
            f"there is no verdict {printable(call[:_MAX_SHOWN])!r}",
            where="CALL",
            fix="'fraudguard attempts --json' has them in 'call'; those older than [retention] keeps are gone",
        )
    return ruling, calls_by(connection, call)


def _lines(ruling: Ruling, calls: tuple[Call, ...], now: Millis, currency: str) -> Iterator[str]:
    whose = f"account {ruling.account} of tenant {ruling.tenant}" if ruling.account else f"tenant {ruling.tenant}"
    source = f" from {ruling.source}" if ruling.source else ""
    yield f"asked: {show_instant(ruling.at)} by {whose}{source}, for trunk {ruling.trunk}"
    yield from steps(ruling, currency)
    for call in calls:
        yield from _leg(call, now, currency)
    if ruling.outcome is Outcome.ALLOW and not calls:
        yield "calls: none by it is known: nothing was dialled, or no Asterisk is followed"


def _leg(call: Call, now: Millis, currency: str) -> Iterator[str]:
    times = (("began", call.began_at), ("answered", call.answered_at), ("ended", call.ended_at))
    told = ", ".join(f"{word} {show_instant(at)}" for word, at in times if at is not None)
    yield f"call: {call.leg.channel or 'seen by nobody'} on {call.leg.asterisk or 'an unknown Asterisk'}, {told}"
    cost = call.cost_at(now) if call.cost is None else call.cost
    seconds = call.seconds_at(now) if call.seconds is None else call.seconds
    price = "without a price" if cost is None else f"{show_money(cost)} {currency}"
    lease = "no lease" if call.lease_seconds is None else f"a lease of {call.lease_seconds} s"
    sure = " (its answer or end was not seen as it happened)" if call.reconstructed else ""
    yield f"  {seconds} s, {price}, {lease}{sure}"
    if call.cut:
        verb = "ended" if call.state is State.ENDED else "ends"
        yield f"  {verb} by the guard: {_WHY.get(call.cut) or f'budget {call.cut} had no more money'}"
    elif call.state is State.ENDED:
        cause = "" if call.cause is None else f", hangup cause {call.cause}"
        yield f"  ended, not by the guard{cause}"
    else:
        yield f"  {'is up' if call.state is State.UP else 'rings'}"
