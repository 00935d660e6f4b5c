"""`fraudguard pin export` and `import`: everybody's PINs, as CSV."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO, TypeAlias

import rich_click as click

from fraudguard.cli.app import App, examples, printable
from fraudguard.cli.pin.known import Known, known
from fraudguard.cli.pin.rows import COLUMNS, export_row, read_people
from fraudguard.cli.pin.secrets import COUNT, Wish, authenticator_uri, vault_of, warn_of_guesses
from fraudguard.errors import InputError, UnreachableError
from fraudguard.pins.digits import Digits
from fraudguard.pins.guessing import digits_for
from fraudguard.pins.vault import Vault
from fraudguard.policy import DEFAULT_TENANT
from fraudguard.policy.pin import NewPin, Pin, PinKind, Scheme, Seal
from fraudguard.secretfile import new_private_file
from fraudguard.store import Writer
from fraudguard.store import pins as store

_THREADS: Final = 4  # 19 MB each
_SLOW: Final = 100  # PINs from which on it is said that they take their time

_Made: TypeAlias = tuple[NewPin, Seal, Digits | None]


@click.command(epilog=examples("pin export", "pin export people.csv"))
@click.argument("file", type=click.File("w", encoding="utf-8", atomic=True), default="-")
@click.pass_obj
def export(app: App, file: TextIO) -> None:
    """Write who has a PIN, and what it is good for, as CSV to FILE, else to standard output. Never the digits.

    'pin import' reads it back; whoever is in it gets a new PIN then.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(export_row, app.read(store.list_pins)))


@click.command(
    "import",
    epilog=examples(
        "pin import people.csv --output pins.csv", "pin import people.csv --tenant acme --digits 8 > pins.csv"
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, metavar="TENANT", help="For rows that name none.")
@click.option("--digits", type=COUNT, metavar="N", help="How many. [default: as many as guessing makes necessary]")
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="A new file for the PINs. [default: stdout]"
)
@click.pass_obj
def import_(app: App, file: Path, tenant: str, digits: int | None, output: Path | None) -> None:
    """Give everybody in FILE (CSV) a PIN: all of them, or none if a row is bad; every bad one is told.

    The first line names the columns: name, and if wanted tenant, kind (digits or totp), duress (yes or no), regions,
    prefixes, max_price, per_day, from, until, hours, accounts. In a cell that holds several a semicolon separates them.

    The PINs are made up and written as CSV, this once: name, pin, tenant, duress. For an authenticator app the pin is
    the otpauth URI. The file of --output can be read by you alone.
    """
    before = app.read(known)
    whose = app.tenant(tenant)
    reading = read_people(file, before, tenant=whose, check_tenant=app.tenant, now=app.clock.now())
    drafts = reading.drafts
    vault = vault_of(app, before)
    wishes = _wishes(drafts, before, digits)
    for warning in reading.warnings:
        click.echo(f"warning: {printable(warning)}", err=True)
    if len(drafts) > _SLOW:
        click.echo(f"making {len(drafts)} PINs", err=True)
    author, now = app.author, app.clock.now()
    with _new_file(output) as new:

        async def edit(writer: Writer) -> list[_Made]:
            all_made: list[_Made] = []
            for of in dict.fromkeys(draft.tenant for draft in drafts):
                scheme = await store.settle_scheme(writer, of, vault.new_scheme())
                mine = [draft for draft in drafts if draft.tenant == of]
                all_made += _seal_all(vault, scheme, mine, wishes, before.taken(of))
            if new is not None:  # before they are stored: what is stored and cannot be told is lost
                _save(new, _as_csv(all_made, vault), where=str(output))
            await store.add_pins(writer, [(new, seal) for new, seal, _ in all_made], author=author, now=now)
            return all_made

        made = app.write(edit)
    if output is None:
        click.echo(_as_csv(made, vault), nl=False)
    click.echo(f"{len(made)} PINs made{'' if output is None else f', written to {output}'}", err=True)


def _wishes(drafts: Sequence[NewPin], before: Known, digits: int | None) -> Mapping[str, int]:
    """Return by tenant how many digits its new PINs get."""
    everybody: list[Pin | NewPin] = [*before.pins, *drafts]
    counts = Counter(pin.tenant for pin in everybody if pin.kind is PinKind.DIGITS)
    wanted = {}
    for tenant in dict.fromkeys(draft.tenant for draft in drafts if draft.kind is PinKind.DIGITS):
        wanted[tenant] = digits or digits_for(counts[tenant])
        warn_of_guesses(counts[tenant], wanted[tenant], tenant)
    return wanted


def _seal_all(
    vault: Vault, scheme: Scheme, drafts: Sequence[NewPin], lengths: Mapping[str, int], taken: set[bytes]
) -> list[_Made]:
    """Make the PINs of one tenant. Sealing takes its time and lets other threads run meanwhile."""

    def seal(draft: NewPin) -> _Made:
        count = lengths[draft.tenant] if draft.kind is PinKind.DIGITS else 0
        wish = Wish(count=count, names={draft.name, *draft.terms.accounts})
        keyed, sealed = wish.seal(vault, scheme, draft.tenant, taken)
        return draft, sealed, keyed

    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        made = list(pool.map(seal, drafts))
    for index, (draft, sealed, _) in enumerate(made):
        if sealed.index in taken:  # two of this file drew the same digits
            made[index] = seal(draft)
        taken.add(made[index][1].index)
    return made


@contextmanager
def _new_file(path: Path | None) -> Iterator[TextIO | None]:
    """Make a file that nobody else can read. It is removed again if what is done with it fails."""
    if path is None:
        yield None
        return
    try:
        file = new_private_file(path)
    except FileExistsError:
        raise InputError("exists already", where=str(path), fix="name another file with --output") from None
    try:
        with file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _save(file: TextIO, text: str, *, where: str) -> None:
    """Write the PINs so that they are there. Raises UnreachableError when the disk is full."""
    try:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        raise UnreachableError(
            f"cannot be written: {error.strerror}", where=where, fix="nothing was imported"
        ) from None


def _as_csv(made: Sequence[_Made], vault: Vault) -> str:
    """Write the PINs as CSV: for those who hand them out."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("name", "pin", "tenant", "duress"))
    for new, seal, keyed in made:
        told = authenticator_uri(new, seal, vault) if keyed is None else keyed.reveal()
        writer.writerow((new.name, told, new.tenant, "yes" if new.duress else "no"))
    return text.getvalue()
