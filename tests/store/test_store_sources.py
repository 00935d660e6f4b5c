import dataclasses

import pytest

from fraudguard.detect.sources import FAILURES, Sighting, SightingKind
from fraudguard.store.sources import (
    Filter,
    Order,
    Source,
    known_sources,
    list_sources,
    save_sources,
    source_of,
)

NOW = 1_800_000_000_000


def test_every_kind_of_sighting_is_counted_in_its_column():
    names = {field.name for field in dataclasses.fields(Source)}
    assert names - {"asterisk", "account", "address", "first_at", "last_at"} == set(SightingKind)
    for kind in SightingKind:
        source = source_of(Sighting(NOW, "pbx1", "204", "198.51.100.7", kind))
        assert (getattr(source, kind), source.failed) == (1, int(kind in FAILURES))


@pytest.fixture
async def stored(writer):
    made = [
        Source("pbx1", "204", "198.51.100.7", NOW, NOW + 1, succeeded=5),
        Source("pbx1", "204", "203.0.113.9", NOW + 9, NOW + 9, invalid_password=3, failed_challenge=4),
        Source("pbx1", "205", "198.51.100.7", NOW + 2, NOW + 3, called=9, failed_acl=1),
        Source("pbx1", "", "203.0.113.9", NOW - 5, NOW + 8, invalid_account=70),
    ]
    await writer.transaction(lambda connection: save_sources(connection, made))
    return made


async def test_counts_add_up(stored, writer, reader):
    await writer.transaction(lambda connection: save_sources(connection, [*stored, *stored]))
    sources = {(each.account, each.address): each for each in await reader.read(list_sources)}
    assert len(sources) == 4
    for each in stored:
        assert sources[each.account, each.address] == each.plus(each).plus(each)


@pytest.mark.parametrize(
    ("wanted", "order", "found"),
    [
        (Filter(), Order.LAST, [1, 3, 2, 0]),
        (Filter(), Order.FIRST, [1, 2, 0, 3]),
        (Filter(), Order.FAILED, [3, 1, 2, 0]),
        (Filter(), Order.SUCCEEDED, [0, 1, 3, 2]),
        (Filter(), Order.CALLED, [2, 1, 3, 0]),
        (Filter(failing=True), Order.LAST, [1, 3, 2]),
        (Filter(account="204"), Order.LAST, [1, 0]),
        (Filter(account=""), Order.LAST, [3]),
        (Filter(address="198.51.100.7", since=NOW + 3), Order.LAST, [2]),
    ],
)
async def test_sources_by_filter_and_order(stored, reader, wanted, order, found):
    listed = await reader.read(lambda c: list_sources(c, wanted, order=order))
    assert [stored.index(each) for each in listed] == found
    assert len(await reader.read(lambda c: list_sources(c, wanted, order=order, limit=1))) == 1


async def test_known_is_what_succeeded_or_called_the_latest_last(stored, reader):
    assert await reader.read(known_sources) == (("204", "198.51.100.7"), ("205", "198.51.100.7"))
    assert await reader.read(lambda c: known_sources(c, limit=1)) == (("205", "198.51.100.7"),)
