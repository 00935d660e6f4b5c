"""Longest prefix match: fraudguard's table against other ways to do it, in one run on one machine.

    python benchmarks/prefix_lookup.py [--json] [SIZE ...]

Each way runs in processes of its own: one is timed, in the other memory is what the process has grown by when the
table stands, fed from a file so that nothing but the table is held. Lookups take numbers in random order, half of
them from a small set, as calls do. Peers that are not installed are left out (pip install --group bench).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fraudguard.rating import PrefixTable, Rate

SIZES = (10_000, 1_000_000)
LOOKUPS = 200_000
ROUNDS = 3
COUNTRIES = ("1", "7", *map(str, range(20, 99)))

Lookup = Callable[[str], object]


def write_inputs(folder: Path, size: int) -> None:
    """Write rates sorted by prefix, a hundred to a destination and price as in real lists, and numbers to look up."""
    source = random.Random(size)
    prefixes: set[str] = set()
    while len(prefixes) < size:
        prefixes.add(source.choice(COUNTRIES) + str(source.randrange(10 ** source.choice((2, 4, 5, 6, 6, 7)))))
    ordered = sorted(prefixes)
    (folder / "prefixes").write_text("\n".join(ordered))
    numbers = [f"{source.choice(ordered).ljust(7, '5')}{source.randrange(10**4):04d}" for _ in range(LOOKUPS // 2)]
    numbers += source.choices(source.sample(numbers, 500), k=LOOKUPS - len(numbers))
    source.shuffle(numbers)
    (folder / "numbers").write_text("\n".join(numbers))


def read_rates(folder: Path) -> Iterator[Rate]:
    """Yield the rates, fresh strings and all, as a database would hand them out."""
    with (folder / "prefixes").open() as lines:
        for line in lines:
            prefix = line.rstrip()
            area = int(prefix[:3])
            yield Rate(prefix, f"Destination {area}", 1000 + area * 37, 0, 0, 60 if area % 3 else 1, 0)


def ours(rates: Iterator[Rate]) -> Lookup:
    return PrefixTable(rates).longest


def dict_of_slices(rates: Iterator[Rate]) -> Lookup:
    table = {rate.prefix: rate for rate in rates}
    longest = max(map(len, table))

    def lookup(number: str) -> Rate | None:
        for end in range(min(longest, len(number)), -1, -1):
            rate = table.get(number[:end])
            if rate is not None:
                return rate
        return None

    return lookup


def nested_dicts(rates: Iterator[Rate]) -> Lookup:
    root: dict = {}
    for rate in rates:
        node = root
        for digit in rate.prefix:
            node = node.setdefault(digit, {})
        node[""] = rate

    def lookup(number: str) -> Rate | None:
        node, found = root, root.get("")
        for digit in number:
            node = node.get(digit)
            if node is None:
                break
            found = node.get("", found)
        return found

    return lookup


def marisa(rates: Iterator[Rate]) -> Lookup:
    import marisa_trie  # noqa: PLC0415 - a peer; the benchmark runs without it

    known: dict[tuple, int] = {}
    pairs = [(rate.prefix, (known.setdefault(rate[1:], len(known)),)) for rate in rates]
    table, terms = marisa_trie.RecordTrie("<I", pairs), list(known)

    def lookup(number: str) -> Rate | None:
        prefixes = table.prefixes(number)
        return Rate(prefixes[-1], *terms[table[prefixes[-1]][0][0]]) if prefixes else None

    return lookup


def pygtrie(rates: Iterator[Rate]) -> Lookup:
    import pygtrie  # noqa: PLC0415 - a peer; the benchmark runs without it

    table = pygtrie.CharTrie((rate.prefix, rate) for rate in rates)
    return lambda number: table.longest_prefix(number).value


WAYS = {
    "fraudguard PrefixTable": ours,
    "dict of slices": dict_of_slices,
    "nested dicts": nested_dicts,
    "marisa-trie RecordTrie": marisa,
    "pygtrie CharTrie": pygtrie,
}


def resident() -> int:
    """Return the bytes of memory that this process holds, what was freed given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measure_memory(name: str, folder: Path) -> int:
    """Return the bytes that a table holds."""
    build = WAYS[name]
    build(iter([next(read_rates(folder))]))  # imports are not the table
    before = resident()
    lookup = build(read_rates(folder))
    held = resident() - before
    lookup("1")
    return held


def measure_time(name: str, folder: Path) -> tuple[float, float, list[str]]:
    """Return the seconds to build and to look up once, and some answers."""
    numbers = (folder / "numbers").read_text().split()
    rates = list(read_rates(folder))
    gc.collect()
    start = time.perf_counter()
    lookup = WAYS[name](iter(rates))
    built = time.perf_counter() - start
    best = min(time_lookups(lookup, numbers) for _ in range(ROUNDS))
    return built, best, [str(lookup(number)) for number in numbers[:500]]


def time_lookups(lookup: Lookup, numbers: list[str]) -> float:
    """Return the seconds of one lookup, the loop around it taken off."""
    start = time.perf_counter()
    for number in numbers:
        lookup(number)
    middle = time.perf_counter()
    for _number in numbers:
        pass
    return (middle - start - (time.perf_counter() - middle)) / len(numbers)


def apart(function: Callable[[str, Path], Any], name: str, folder: Path) -> Any:
    """Call a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, (name, folder))


def run(size: int) -> list[dict[str, Any]]:
    """Measure every way that is installed."""
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, size)
        for way in WAYS:
            try:
                built, lookup, answers = apart(measure_time, way, folder)
                held = apart(measure_memory, way, folder)
            except ImportError as error:
                print(f"{way}: left out, {error}", file=sys.stderr)
                continue
            if results and answers != results[0]["answers"]:
                raise SystemExit(f"{way} answers differently")
            results.append({"way": way, "build_s": built, "lookup_ns": lookup * 1e9, "bytes": held / size})
            results[-1]["answers"] = answers
    return [{key: value for key, value in result.items() if key != "answers"} for result in results]


def show(size: int, results: list[dict[str, Any]]) -> None:
    """Print one table; the ratios are to the first way."""
    ours = results[0]
    print(f"\n{size:,} prefixes{'':12}{'build s':>10}{'lookup ns':>12}{'ratio':>8}{'bytes/prefix':>14}{'ratio':>8}")
    for result in results:
        slower, bigger = result["lookup_ns"] / ours["lookup_ns"], result["bytes"] / ours["bytes"]
        print(
            f"{result['way']:<30}{result['build_s']:>10.3f}{result['lookup_ns']:>12.0f}{slower:>8.2f}"
            f"{result['bytes']:>14.1f}{bigger:>8.1f}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, metavar="SIZE")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    chosen = parser.parse_args()
    results = {size: run(size) for size in chosen.sizes}
    if chosen.json:
        print(json.dumps(results, indent=2))
        return
    for size, measured in results.items():
        show(size, measured)


if __name__ == "__main__":
    main()
