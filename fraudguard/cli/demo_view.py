"""How `fraudguard demo` shows what the service decided: a live screen in a terminal, else a line for each event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fraudguard.alerts.text import HEADLINES
from fraudguard.cli.app import printable
from fraudguard.clock import Millis, format_instant
from fraudguard.ledger import Call, State
from fraudguard.money import Micros, format_amount
from fraudguard.policy import Outcome, Ruling
from fraudguard.policy.alert import Alert, AlertKind

CURRENCY: Final = "USD"  # of the sample price list

_SEVERITIES: Final = {"notice": "cyan", "warning": "yellow", "critical": "bold red"}
_NARROW: Final = 136
"""Columns below which the panels stand under each other."""


@dataclass(slots=True)
class Seen:
    """What was read from the service's database, at `now` by the demo's clock. The newest of everything first."""

    now: Millis = 0
    attempts: Sequence[Ruling] = ()
    calls: Sequence[Call] = ()
    alerts: Sequence[Alert] = ()

    @property
    def live(self) -> list[Call]:
        return [call for call in self.calls if call.state is not State.ENDED]

    @property
    def ended(self) -> list[Call]:
        return [call for call in self.calls if call.state is State.ENDED]

    @property
    def spent(self) -> Micros:
        """What the calls cost, those that are up as far as they have come."""
        return sum(call.cost_at(self.now) or 0 for call in self.calls)


@dataclass(slots=True)
class Screen:
    """The live screen; rich asks it for its picture several times a second."""

    console: Console
    rate: int
    seen: Seen = field(default_factory=Seen)
    title: str = ""
    told: str = ""
    typed: str = ""

    def scene(self, title: str, told: str) -> None:
        self.title, self.told, self.typed = title, told, ""

    def operator(self, command: str) -> None:
        self.typed = command

    def update(self, seen: Seen) -> None:
        self.seen = seen

    def __rich__(self) -> RenderableType:
        height = self.console.size.height
        whole = Layout()
        whole.split_column(Layout(self._head(), size=5), Layout(name="body"), Layout(self._foot(), size=1))
        body = whole["body"]
        if self.console.size.width < _NARROW:
            most = max(4, (height - 6) * 2 // 5)
            body.split_column(
                Layout(self._attempts(most - 3), size=most),
                Layout(self._live(most - 4), size=most - 1),
                Layout(self._alerts(height - 8 - 2 * most)),
            )
            return whole
        body.split_row(Layout(name="left", ratio=11), Layout(name="right", ratio=9))
        body["left"].update(self._attempts(height - 10))
        half = max(3, (height - 6) // 2)
        body["right"].split_column(Layout(self._live(half - 4), size=half), Layout(self._alerts(half - 4)))
        return whole

    def _head(self) -> Panel:
        typed = Text.assemble(("operator $ ", "green"), (self.typed, "bold")) if self.typed else Text("")
        title = Text.assemble(("fraudguard demo", "bold cyan"), f"  one second here is {self.rate} of theirs")
        return Panel(Group(Text.assemble((self.title, "bold"), "  ", self.told), typed), title=title, height=4)

    def _foot(self) -> Text:
        seen = self.seen
        refused = sum(attempt.outcome is Outcome.NOWHERE for attempt in seen.attempts)
        return Text.assemble(
            (f" {len(seen.attempts) - refused} allowed", "green"),
            "   ",
            (f"{refused} refused", "red"),
            f"   {len(seen.live)} calls now, {_money(seen.spent)} spent   ",
            (f"{len(seen.alerts)} alerts", "yellow"),
            f" of {sum(alert.tries for alert in seen.alerts)} events",
        )

    def _attempts(self, rows: int) -> Panel:
        table = _table("time:8", "who:4", "number:14", "destination", ">a minute:8", "verdict:18")
        for attempt in self.seen.attempts[: max(1, rows)]:
            allowed = attempt.outcome is Outcome.ALLOW
            verdict = Text("allow" if allowed else f"nowhere {attempt.reason}", style="green" if allowed else "red")
            table.add_row(
                _time(attempt.at),
                _text(attempt.account),
                _text(attempt.number or attempt.dialled),
                _text(attempt.destination),
                _price(attempt.per_minute),
                verdict,
            )
        return Panel(table, title="Verdicts", border_style="blue")

    def _live(self, rows: int) -> Panel:
        table = _table("who:4", "number", ">time:6", ">cost so far:11", ":7")
        for call in self.seen.live[: max(1, rows)]:
            up = call.state is State.UP
            table.add_row(
                _text(call.account),
                _text(call.number),
                _span(call.seconds_at(self.seen.now)) if up else "",
                _money(call.cost_at(self.seen.now)) if up else "",
                Text("up" if up else "ringing", style="green" if up else "dim"),
            )
        return Panel(table, title="Calls now", border_style="green")

    def _alerts(self, rows: int) -> Panel:
        table = _table("severity:8", "what:31", "about", ">events:6")
        for alike in grouped(self.seen.alerts)[: max(1, rows)]:
            latest = alike[0]
            table.add_row(
                Text(latest.severity, style=_SEVERITIES.get(latest.severity, "")),
                headline(latest),
                _text(about(latest)),
                str(sum(alert.tries for alert in alike)),
            )
        return Panel(table, title="Alerts", border_style="yellow")


@dataclass(slots=True)
class Lines:
    """Without a terminal: a line for each thing that happened."""

    console: Console
    rate: int
    _attempts: int = 0
    _alerts: set[int] = field(default_factory=set)
    _ended: set[str] = field(default_factory=set)

    def scene(self, title: str, told: str) -> None:
        self._print(f"-- {title}. {told}")

    def operator(self, command: str) -> None:
        self._print(f"operator $ {command}")

    def update(self, seen: Seen) -> None:
        for attempt in reversed(seen.attempts[: len(seen.attempts) - self._attempts]):
            number, to = attempt.number or attempt.dialled, attempt.destination or "unknown destination"
            price = "no price" if attempt.per_minute is None else f"{format_amount(attempt.per_minute)} a minute"
            said = f"{attempt.outcome} ({attempt.reason})"
            self._print(f"{_time(attempt.at)} verdict  {attempt.account:4} {said:22} {number}, {to}, {price}")
        self._attempts = len(seen.attempts)
        for call in reversed(seen.ended):
            if call.leg.uniqueid not in self._ended:
                self._ended.add(call.leg.uniqueid)
                cost = f"{_span(call.seconds or 0)}, {_money(call.cost)}" if call.answered_at else "not answered"
                self._print(f"{_time(call.ended_at or 0)} call     {call.account:4} ended  {call.number}, {cost}")
        for alert in reversed(seen.alerts):  # those of refusals say again what the verdict's line said
            if alert.id not in self._alerts and alert.kind in set(AlertKind):
                self._print(f"{_time(alert.last_at)} alert    {alert.account:4} {headline(alert)}, {about(alert)}")
            self._alerts.add(alert.id)

    def _print(self, text: str) -> None:
        self.console.print(printable(text), soft_wrap=True)


def headline(alert: Alert) -> str:
    """Say what an alert is about in a few words."""
    return HEADLINES.get(alert.kind, alert.kind)


def grouped(alerts: Sequence[Alert]) -> list[list[Alert]]:
    """Put alerts of one kind and one account together, the group that something was added to last in front."""
    groups: dict[tuple[str, str], list[Alert]] = {}
    for alert in alerts:
        groups.setdefault((alert.kind, alert.account), []).append(alert)
    return list(groups.values())


def about(alert: Alert) -> str:
    """Say whom and what it concerns."""
    source = "" if alert.kind not in set(AlertKind) else alert.source
    parts = (alert.account, alert.number or alert.dialled, alert.destination, source)
    return printable(", ".join(part for part in parts if part) or alert.details.get("asterisk", ""))


def _table(*columns: str) -> Table:
    """Make a table of 'name', 'name:WIDTH' or '>name' columns. Those without a width give way."""
    table = Table(box=None, expand=True, header_style="dim", pad_edge=False)
    for column in columns:
        name, _, width = column.removeprefix(">").partition(":")
        justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
        fixed = int(width) if width else None
        table.add_column(name, justify=justify, no_wrap=True, width=fixed, ratio=None if fixed else 1)
    return table


def _text(text: str | None) -> Text:
    return Text(printable(text or ""))


def _time(instant: Millis) -> str:
    return format_instant(instant)[11:19]


def _span(seconds: int) -> str:
    return f"{seconds // 60}:{seconds % 60:02d}"


def _price(amount: Micros | None) -> str:
    return "" if amount is None else format_amount(amount)


def _money(amount: Micros | None) -> str:
    return "no price" if amount is None else f"{amount / 1_000_000:.4f} {CURRENCY}"
