"""`fraudguard demo`: the real service at work, on an office and an attack played by FakeAsterisk."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from importlib import resources
from pathlib import Path
from typing import Final, Literal

import rich_click as click
import structlog
from rich.console import Console
from rich.live import Live
from rich.table import Table

from fraudguard.ami.events import EVENTS
from fraudguard.cli.app import App, examples, printable
from fraudguard.cli.demo_story import EMERGENCY, RATE, TRUNK, Stage, play
from fraudguard.cli.demo_view import CURRENCY, Lines, Screen, Seen, about, grouped, headline
from fraudguard.cli.pin.known import Known
from fraudguard.cli.pin.secrets import Wish, make_pin, vault_of
from fraudguard.cli.rates_import import import_sample
from fraudguard.clock import Millis
from fraudguard.config import ENV_PREFIX
from fraudguard.dialplan.manager import READ, WRITE
from fraudguard.ledger import Call, Why
from fraudguard.money import Micros, format_amount
from fraudguard.pins.digits import Digits
from fraudguard.policy import DEFAULT_TENANT, Outcome, Ruling
from fraudguard.policy.pin import NewPin, PinKind, Terms
from fraudguard.rating import Rate, cost
from fraudguard.service import running
from fraudguard.store import Reader, create_database, open_reader, open_writer
from fraudguard.store.alerts import list_alerts
from fraudguard.store.attempts import list_attempts
from fraudguard.store.calls import list_calls
from fraudguard.testing import FakeAsterisk, ManagerUser

LOOK_SECONDS: Final = 0.2
"""How often the database is looked at."""

ASSUMED_MINUTES: Final = 10
"""What a refused call is taken to have lasted, for the estimate at the end. Fraudulent calls are held up for as long
as they can be; ten minutes is a careful guess."""

MOST: Final = 10_000
"""Rows read of each table: the story makes some fifty."""

LINK_SECONDS: Final = 10.0
"""How long the service may take to log in to the manager."""

_CONFIGURATION: Final = """\
currency = "{currency}"
[numbering]
home = "US"
[trunks.{trunk}]
deck = "sample"
[store]
path = "fraudguard.db"
[agi]
port = 0
[http]
enabled = false
[ami.asterisk]
port = {port}
secret_file = "ami.secret"
"""


class DemoClock:
    """A clock that runs RATE times as fast as it should. Only what is waited for is real."""

    def __init__(self) -> None:
        self._wall = time.time_ns() // 1_000_000
        self._began = time.monotonic()

    def now(self) -> Millis:
        return self._wall + int((time.monotonic() - self._began) * 1000 * RATE)

    def monotonic(self) -> float:
        return time.monotonic()


@click.command(epilog=examples("demo", "demo --speed 3", "demo | less"))
@click.option("--speed", type=click.FloatRange(0.1, 50), default=1.0, show_default=True, help="How many times as fast.")
@click.option("--seed", type=int, default=7, show_default=True, metavar="N", help="Another number dials other numbers.")
def demo(speed: float, seed: int) -> None:
    """Watch the guard at work: an office, then an attack. Takes half a minute and needs no Asterisk.

    The service is the real one, with a database in a temporary folder, the sample price list and the default limit;
    it decides everything that is shown. Only Asterisk and its callers are played, over real sockets. Nothing of your
    installation is read or touched, and nothing stays behind.
    """
    console = Console(highlight=False, markup=False)
    with tempfile.TemporaryDirectory(prefix="fraudguard-demo-") as folder, _apart(Path(folder) / "log"):
        asyncio.run(_demo(console, Path(folder), speed, seed))


@contextmanager
def _apart(path: Path) -> Iterator[None]:
    """Keep the demo apart: no variable of the environment changes its settings, and its log goes to a file."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(ENV_PREFIX)}
    with path.open("w", encoding="utf-8") as file:
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(file), cache_logger_on_first_use=False)
        handler = logging.StreamHandler(file)
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)
            structlog.reset_defaults()
            os.environ.update(kept)


async def _demo(console: Console, folder: Path, speed: float, seed: int) -> None:
    clock = DemoClock()
    user = ManagerUser(
        secret=secrets.token_urlsafe(24),
        read=frozenset(READ),
        write=frozenset(WRITE),
        filters=tuple((f"action(include),name({event})", "") for event in EVENTS),
    )
    view = Screen(console, RATE) if console.is_terminal else Lines(console, RATE)
    async with FakeAsterisk(users=[user], clock=clock) as asterisk:
        app = App(folder / "fraudguard.toml", clock)
        await _prepare(app, asterisk, user)
        pin = await _give_pin(app)
        database = app.settings.database
        view.scene("Starting", "the service, its database and the sample price list")
        screen = Live(view, console=console, screen=True, refresh_per_second=10) if isinstance(view, Screen) else None
        with screen or nullcontext():
            async with running(app.settings, clock) as service:
                asterisk.guard = service.address
                async with asyncio.timeout(LINK_SECONDS):  # it has logged in, and asks what there is
                    await asterisk.manager.asked("Status")
                async with await open_writer(database) as writer, _watching(database, clock, view):
                    stage = Stage(asterisk, writer, clock, pin, seed, speed, view.scene, view.operator)
                    await play(stage)
    async with await open_reader(database) as reader:
        _summarise(console, await _look(reader, clock), stage.answers)


async def _prepare(app: App, asterisk: FakeAsterisk, user: ManagerUser) -> None:
    """Write configuration, secret and database, as `init --sample` does."""
    text = _CONFIGURATION.format(currency=CURRENCY, trunk=TRUNK, port=asterisk.manager.port)
    app.config_path.write_text(text, encoding="utf-8")
    secret = app.config_path.with_name("ami.secret")
    secret.touch(mode=0o600)
    secret.write_text(user.secret, encoding="ascii")
    await create_database(app.settings.database, app.clock.now())
    with resources.as_file(resources.files("fraudguard.data") / "sample-rates.csv") as file:
        await asyncio.to_thread(import_sample, app, file, "sample")  # it has a loop of its own


async def _give_pin(app: App) -> Digits:
    """Make the office a PIN for calls abroad, as `pin add` does."""
    vault = vault_of(app, Known((), {}))
    office = NewPin(DEFAULT_TENANT, "office", PinKind.DIGITS, False, Terms())
    async with await open_writer(app.settings.database) as writer:
        _, digits = await make_pin(writer, office, Wish(count=6), vault, (), author="demo", now=app.clock.now())
    assert digits is not None
    return digits


@asynccontextmanager
async def _watching(database: Path, clock: DemoClock, view: Screen | Lines) -> AsyncIterator[None]:
    """Show what the database holds, over and over, for as long as the context lasts."""

    async def watch() -> None:
        async with await open_reader(database) as reader:
            while True:
                view.update(await _look(reader, clock))
                await asyncio.sleep(LOOK_SECONDS)

    watching = asyncio.create_task(watch(), name="watch")
    try:
        yield
        await asyncio.sleep(2 * LOOK_SECONDS)
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        if not watching.cancelled():
            watching.result()


async def _look(reader: Reader, clock: DemoClock) -> Seen:
    return await reader.read(
        lambda db: Seen(
            now=clock.now(),
            attempts=list_attempts(db, limit=MOST),
            calls=list_calls(db, limit=MOST),
            alerts=list_alerts(db, limit=MOST),
        )
    )


# -- the summary


def _summarise(console: Console, seen: Seen, answers: list[float]) -> None:
    refused = [attempt for attempt in seen.attempts if attempt.outcome is Outcome.NOWHERE]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in _COLUMNS.items():
        table.add_column(name, justify=justify)
    groups = Counter((attempt.destination or "unknown", attempt.per_minute, attempt.reason) for attempt in refused)
    for (destination, price, reason), times in groups.most_common():
        table.add_row(str(times), printable(destination), "" if price is None else format_amount(price), str(reason))
    _say(console, _let_through(seen))
    _say(console, [f"Refused: {len(refused)} calls."])
    console.print(table)
    _say(console, ["", *_alerted(seen), "", *_saved(refused), "", *_outlook(len(seen.attempts), answers)])


_COLUMNS: Final[dict[str, Literal["left", "right"]]] = {
    "times": "right",
    "destination": "left",
    "a minute": "right",
    "reason": "left",
}


def _say(console: Console, lines: list[str]) -> None:
    for line in lines:
        console.print(line, soft_wrap=True)


def _let_through(seen: Seen) -> list[str]:
    allowed = [attempt for attempt in seen.attempts if attempt.outcome is Outcome.ALLOW]
    granted = sum(attempt.grant_id is not None for attempt in allowed)
    seconds = sum(call.seconds or 0 for call in seen.ended)
    billed = sum(call.cost or 0 for call in seen.ended)
    keyed = sum(attempt.pin is not None for attempt in allowed)
    lines = [f"Let through: {len(allowed)} calls, {keyed} of them by a PIN, {granted} because of a grant."]
    emergencies = sum(call.why == Why.EMERGENCY for call in seen.ended)
    if emergencies:
        lines.append(f"  Beside them {emergencies} to {EMERGENCY}, which nobody is asked about.")
    lines += [_unguarded(call) for call in seen.ended if call.why == Why.UNGUARDED]
    talked = f"{seconds // 60} min {seconds % 60} s"
    return [*lines, f"  Talked for {talked} altogether, for {_rounded(billed)} {CURRENCY}.", ""]


def _unguarded(call: Call) -> str:
    lasted = max(1, ((call.ended_at or 0) - call.began_at) // RATE)  # real milliseconds
    how = "after it was answered" if call.answered_at is not None else "before anybody answered"
    return f"  1 to {printable(call.number)} went past the guard: it was gone after {lasted} ms, {how}."


def _alerted(seen: Seen) -> list[str]:
    events = sum(alert.tries for alert in seen.alerts)
    lines = [f"Alerted: {len(seen.alerts)} alerts about {events} events."]
    for alike in reversed(grouped(seen.alerts)):
        latest, tries = alike[0], sum(alert.tries for alert in alike)
        what = about(latest) if len(alike) == 1 else f"{latest.account}, {len(alike)} numbers"
        lines.append(f"  {latest.severity}: {headline(latest)}, {what}" + (f", {tries} times" if tries > 1 else ""))
    return lines


def _saved(refused: list[Ruling]) -> list[str]:
    """The estimate. It counts what has a price; a call without one is not guessed at."""
    priced = [amount for attempt in refused if (amount := _would_have_cost(attempt)) is not None]
    lasted = f"the {len(priced)} refused calls with a known price, had each lasted {ASSUMED_MINUTES} minutes"
    return [f"Saved: about {_rounded(sum(priced))} {CURRENCY}. That is an estimate: {lasted}."]


def _would_have_cost(attempt: Ruling) -> Micros | None:
    if attempt.per_minute is None:
        return None  # whole minutes: no increment makes them more
    rate = Rate("", "", attempt.per_minute, attempt.connect_fee or 0, 0, 60, 0)
    return cost(rate, ASSUMED_MINUTES * 60)


def _outlook(asked: int, answers: list[float]) -> list[str]:
    took = 1000 * statistics.median(answers)
    return [
        f"The guard was asked {asked} times and answered within {took:.0f} ms (median), each verdict on disk before.",
        "Your own: fraudguard init --sample, then fraudguard run, which says how to connect an Asterisk.",
    ]


def _rounded(amount: Micros) -> str:
    return f"{amount / 1_000_000:,.2f}"
