"""`fraudguard calls`: the calls towards trunks, and those that are up with their cost ticking."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import rich_click as click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from fraudguard.cli.app import (
    App,
    examples,
    json_option,
    print_json,
    print_table,
    printable,
    scope_options,
    show_instant,
    show_money,
)
from fraudguard.cli.tables import Column, empty_table, fit_lines
from fraudguard.clock import Millis, format_instant, parse_instant
from fraudguard.ledger.records import Call, State
from fraudguard.money import Micros, format_amount
from fraudguard.policy.budget import NO_REGION
from fraudguard.store import open_reader
from fraudguard.store.calls import LIST_LIMIT, Filter, list_calls

REFRESH_SECONDS = 0.5
"""How often the live table is drawn: a look at the database costs less than a millisecond, a terminal more."""

LIVE_LIMIT = 10_000
"""Calls that the live table counts; it shows as many as the terminal has lines for."""

_AROUND_LINES = 5  # of the live table: the summary, the heading, what is left out, and room for the prompt

_COLUMNS = (
    "began",
    "state",
    "tenant",
    "account",
    "number",
    "destination",
    "trunk",
    "a minute",
    "seconds",
    "cost",
    "why",
    "cut",
)
_RIGHT = frozenset({"a minute", "seconds", "cost"})
_SPARE = ("began", "trunk", "tenant", "cut")
_SHORT = frozenset({"destination"})
"""What a narrow terminal is spared in the live table, in this order, and what may be cut short in it."""


@click.command(epilog=examples("calls", "calls --live", "calls --since 2026-11-22 --tenant acme --json"))
@click.option("--live", is_flag=True, help="Only those that ring or are up, in a table that goes on; Ctrl-C ends it.")
@click.option("--since", metavar="TIME", help="Only those that began from this instant on.")
@click.option("--limit", type=click.IntRange(1, 100_000), help="At most so many. [default: 100; with --live all]")
@scope_options
@json_option
@click.pass_obj
def calls(
    app: App, live: bool, since: str | None, limit: int | None, tenant: str | None, account: str | None, as_json: bool
) -> None:
    """Show the calls towards the trunks and what they cost, the newest first.

    Only calls of an Asterisk that is followed over AMI are known. With --json, or where the output is no terminal,
    --live prints once what is live now.
    """
    scope = app.scope(tenant, account)
    instant = None if since is None else parse_instant(since, where="--since")
    wanted = Filter(True if live else None, scope.tenant, scope.account, instant)
    most = limit or (LIVE_LIMIT if live else LIST_LIMIT)
    console = Console(highlight=False, markup=False, emoji=False)
    if live and not as_json and console.is_terminal:
        with suppress(KeyboardInterrupt):
            asyncio.run(_watch(app, wanted, most, console))
        return
    found = app.read(partial(list_calls, wanted=wanted, limit=most))
    now = app.clock.now()
    if as_json:
        print_json([document(call, now, app.settings.currency) for call in found])
        return
    print_table(
        _COLUMNS,
        [_cells(call, now) for call in found],
        empty="no live calls" if live else "no calls",
        spare=("trunk", "tenant", "state", "a minute", "cut"),
    )
    if live and found:
        click.echo(summary(found, now, app.settings.currency))


async def _watch(app: App, wanted: Filter, most: int, console: Console) -> None:
    """Draw the live calls until interrupted. Raises StoreError."""
    currency = app.settings.currency
    async with await open_reader(app.settings.database) as reader:
        with Live(console=console, auto_refresh=False) as view:
            while True:
                found = await reader.read(partial(list_calls, wanted=wanted, limit=most))
                view.update(_drawn(found, app.clock.now(), currency, console), refresh=True)
                await asyncio.sleep(REFRESH_SECONDS)


def _drawn(calls: Sequence[Call], now: Millis, currency: str, console: Console) -> RenderableType:
    return live_view(calls, now, currency, lines=console.height, width=console.width)


def live_view(calls: Sequence[Call], now: Millis, currency: str, *, lines: int, width: int) -> RenderableType:
    """Return the table of live calls as it stands at `now`, the dearest first, in a terminal of this size."""
    room = max(1, lines - _AROUND_LINES)
    dearest = sorted(calls, key=lambda call: call.cost_at(now) or 0, reverse=True)[:room]
    rows = [[printable(str(cell or "")) for cell in _cells(call, now)] for call in dearest]
    whole = [Column(heading, [row[i] for row in rows], heading in _RIGHT) for i, heading in enumerate(_COLUMNS)]
    whole = [column for column in whole if column.heading != "cut" or any(column.cells)]  # few are, and room is scarce
    shown, widths = fit_lines(whole, width, spare=_SPARE, cut=_SHORT)
    table = empty_table(shown, widths, one_line=True)
    for call, *cells in zip(dearest, *(column.cells for column in shown), strict=True):
        style = "" if call.call else "bold red"  # nobody allowed it
        table.add_row(*(Text(cell) for cell in cells), style=style)
    parts: list[RenderableType] = [Text(summary(calls, now, currency), style="bold"), table]
    if len(calls) > room:
        parts.append(Text(f"and {len(calls) - room} more", style="dim"))
    return Group(*parts)


def summary(calls: Sequence[Call], now: Millis, currency: str) -> str:
    """Say how many there are, what they have cost so far, and by how much that grows every second."""
    up = [call for call in calls if call.state is State.UP]
    so_far = sum(call.cost_at(now) or 0 for call in calls)
    return (
        f"{len(calls)} live, {len(up)} up, {format_amount(so_far)} {currency} so far,"
        f" {format_amount(_per_second(up))} {currency} a second"
    )


def _per_second(calls: Sequence[Call]) -> Micros:
    return sum(call.rate.per_minute for call in calls if call.rate is not None) // 60


def _cells(call: Call, now: Millis) -> tuple[object, ...]:
    return (
        show_instant(call.began_at),
        call.state,
        call.tenant,
        call.account,
        call.number,
        None if call.rate is None else call.rate.destination,
        call.trunk,
        None if call.rate is None else show_money(call.rate.per_minute),
        str(_seconds(call, now)),
        show_money(_cost(call, now)),
        call.why,
        call.cut,
    )


def _seconds(call: Call, now: Millis) -> int:
    return call.seconds_at(now) if call.seconds is None else call.seconds


def _cost(call: Call, now: Millis) -> Micros | None:
    return call.cost_at(now) if call.state is not State.ENDED else call.cost


def document(call: Call, now: Millis, currency: str) -> dict[str, Any]:
    """Return a call as JSON."""

    def instant(at: Millis | None) -> str | None:
        return None if at is None else format_instant(at)

    rate = call.rate
    return {
        "state": call.state,
        "why": call.why,
        "call": call.call,
        "tenant": call.tenant,
        "account": call.account,
        "pin": call.pin or None,
        "source": call.source,
        "trunk": call.trunk,
        "number": call.number,
        "region": None if call.region == NO_REGION else call.region,
        "domestic": call.domestic,
        "destination": None if rate is None else rate.destination,
        "prefix": None if rate is None else rate.prefix,
        "per_minute": None if rate is None else show_money(rate.per_minute),
        "connect_fee": None if rate is None else show_money(rate.connect_fee),
        "minimum_seconds": None if rate is None else rate.minimum_seconds,
        "increment_seconds": None if rate is None else rate.increment_seconds,
        "seconds": _seconds(call, now),
        "cost": show_money(_cost(call, now)),
        "currency": currency,
        "lease_seconds": call.lease_seconds,
        "began_at": instant(call.began_at),
        "answered_at": instant(call.answered_at),
        "ended_at": instant(call.ended_at),
        "cause": call.cause,
        "cdr_seconds": call.cdr_seconds,
        "reconstructed": call.reconstructed,
        "cut": call.cut,
        "asterisk": call.leg.asterisk,
        "channel": call.leg.channel,
        "caller": call.caller,
        "uniqueid": call.leg.uniqueid,
        "linkedid": call.leg.linkedid,
    }
