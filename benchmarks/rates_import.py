"""Import of a large price list: fraudguard's `rates import` against loading the same file without a single check.

    python benchmarks/rates_import.py [--rows 1000000]

- fraudguard    read_deck and import_deck, as `rates import` calls them: every cell checked, all rows or none
- sqlite-utils  `sqlite-utils insert --csv`, the general tool for CSV into SQLite
- bare          csv.reader into sqlite3.executemany in one transaction: what Python can do at least

Each runs in a process of its own, whose peak memory is shown. During fraudguard's import another process
commits every few milliseconds, as the running service does: the longest that it had to wait is shown.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import multiprocessing
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from fraudguard.clock import SystemClock
from fraudguard.decks import ImportOptions
from fraudguard.decks.reader import read_deck
from fraudguard.store import create_database, open_writer
from fraudguard.store.rates import Delivery, import_deck

COMMIT_EVERY = 0.005  # seconds


def write_list(path: Path, rows: int) -> None:
    source = random.Random(rows)
    prefixes: set[str] = set()
    while len(prefixes) < rows:
        prefixes.add(f"{source.randrange(20, 99)}{source.randrange(10 ** source.choice((3, 5, 6, 7)))}")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("prefix", "destination", "per_minute", "connect_fee", "minimum", "increment"))
        for prefix in prefixes:
            area = int(prefix[:4])
            writer.writerow((prefix, f"Destination {area}", f"0.{area:04}", "0", "0", 60 if area % 3 else 1))


def by_fraudguard(source: Path, database: Path) -> dict[str, float]:
    return asyncio.run(_by_fraudguard(source, database))


async def _by_fraudguard(source: Path, database: Path) -> dict[str, float]:
    now = SystemClock().now()
    started = time.perf_counter()
    parsed = read_deck(source, ImportOptions(currency="USD", effective_from=now))
    read = time.perf_counter()
    delivery = Delivery("carrier", "USD", source.name, "0" * 64, "benchmark", now)
    async with await open_writer(database) as writer:
        await import_deck(writer, delivery, parsed.rows, currency="USD", now=now)
    stored = time.perf_counter()
    return {"read": read - started, "store": stored - read}


def by_sqlite_utils(source: Path, database: Path) -> dict[str, float]:
    started = time.perf_counter()
    tool = [sys.executable, "-m", "sqlite_utils", "insert", str(database), "rates", str(source), "--csv"]
    subprocess.run([*tool, "--pk", "prefix", "--silent"], check=True)
    return {"all": time.perf_counter() - started}


def by_bare(source: Path, database: Path) -> dict[str, float]:
    started = time.perf_counter()
    with sqlite3.connect(database) as connection, source.open(newline="") as file:
        connection.execute("CREATE TABLE rates (prefix PRIMARY KEY, destination, price, fee, minimum, increment)")
        connection.executemany("INSERT INTO rates VALUES (?, ?, ?, ?, ?, ?)", csv.reader(file))
    connection.close()
    return {"all": time.perf_counter() - started}


def commit_meanwhile(database: Path, stop: Event, longest: Any) -> None:
    """Commit a row every few milliseconds; leave the longest wait in `longest`."""
    connection = sqlite3.connect(database, isolation_level=None, timeout=30)
    while not stop.wait(COMMIT_EVERY):
        started = time.perf_counter()
        connection.execute("INSERT INTO edits (at, author, noun, what) VALUES (0, '', '', '')")
        longest.value = max(longest.value, time.perf_counter() - started)
    connection.close()


def measured(
    work: Callable[[Path, Path], dict[str, float]], source: Path, database: Path
) -> tuple[dict[str, float], float]:
    """Run in a process of its own. Returns its times (s) and its peak memory (MB), children included."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_measure, args=(work, source, database, sender))
    process.start()
    times, peak = receiver.recv()
    process.join()
    return times, peak


def _measure(work: Callable[[Path, Path], dict[str, float]], source: Path, database: Path, sender: Any) -> None:
    times = work(source, database)
    kilobytes = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    sender.send((times, kilobytes / 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "list.csv"
        write_list(source, rows)
        asyncio.run(create_database(folder / "fraudguard.db", SystemClock().now()))
        stop, longest = multiprocessing.Event(), multiprocessing.Value("d", 0.0)
        beside = multiprocessing.Process(target=commit_meanwhile, args=(folder / "fraudguard.db", stop, longest))
        beside.start()
        try:
            results = {"fraudguard": measured(by_fraudguard, source, folder / "fraudguard.db")}
        finally:
            stop.set()
            beside.join()
        results["sqlite-utils"] = measured(by_sqlite_utils, source, folder / "sqlite-utils.db")
        results["bare"] = measured(by_bare, source, folder / "bare.db")
        bare = sum(results["bare"][0].values())
        print(f"{rows:,} rows, {source.stat().st_size / 1e6:.0f} MB of CSV")
        print(f"{'':14} {'seconds':>8} {'rows/s':>10} {'peak MB':>8} {'of bare':>8}")
        for peer, (times, peak) in results.items():
            total = sum(times.values())
            parts = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in times.items()) if len(times) > 1 else ""
            print(f"{peer:14} {total:8.2f} {rows / total:10,.0f} {peak:8.0f} {total / bare:7.2f}x  {parts}")
        print(f"longest that a commit beside fraudguard's import waited: {longest.value:.2f} s")


if __name__ == "__main__":
    main()
