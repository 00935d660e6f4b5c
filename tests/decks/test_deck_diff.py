"""What a new price list changes."""

from __future__ import annotations

from fraudguard.decks import Change, DeckDiff, compare, diff
from fraudguard.rating import PrefixTable, Rate


def rate(prefix, price, fee=0, offered=True, **more):
    return Rate(prefix, f"to {prefix}", price, fee, 0, 1, 0, offered)._replace(**more)


def changes(old, new) -> DeckDiff:
    return compare(PrefixTable(old), PrefixTable(new), limit=250_000)


def told(found, kind):
    return [str(change) for change in found.changes[kind]]


def test_every_kind_of_change():
    found = changes(
        [rate("1", 10_000), rate("33", 20_000), rate("44", 10_000), rate("49", 30_000), rate("7", 1), rate("81", 5, 5)],
        [
            rate("1", 10_000),
            rate("39", 40_000),
            rate("44", 20_000),
            rate("49", 20_000),
            rate("7", 1, increment_seconds=60),
            rate("81", 4, 6),
        ],
    )
    assert told(found, Change.ADDED) == ["39 to 39: no rate -> 0.04"]
    assert told(found, Change.REMOVED) == ["33 to 33: 0.02 -> no rate"]
    assert told(found, Change.DEARER) == [
        "44 to 44: 0.01 -> 0.02",
        "81 to 81: 0.000005 + 0.000005 a call -> 0.000004 + 0.000006 a call",
    ]
    assert told(found, Change.CHEAPER) == ["49 to 49: 0.03 -> 0.02"]
    assert told(found, Change.OTHER) == ["7 to 7: 0.000001 -> 0.000001"]
    assert found.describe() == [
        "added: 1",
        "removed: 1",
        "dearer: 2",
        "cheaper: 1",
        "other: 1",
        "shut: 1",
        "opened: 1",
        "unchanged: 1",
    ]


def test_crossing_the_limit_either_way():
    found = changes(
        [rate("33", 250_000), rate("44", 250_001), rate("49", 1, 250_001), rate("7", 1), rate("81", 1, offered=False)],
        [rate("33", 250_001), rate("44", 250_000), rate("49", 1, 250_000), rate("7", 1, offered=False), rate("81", 1)],
    )
    assert told(found, Change.SHUT) == ["33 to 33: 0.25 -> 0.250001", "7 to 7: 0.000001 -> not offered"]
    assert [change.prefix for change in found.changes[Change.OPENED]] == ["44", "49", "81"]


def test_a_removed_prefix_falls_back_to_the_shorter_one_and_may_open():
    found = changes([rate("44", 10_000), rate("4470", 900_000)], [rate("44", 10_000)])
    assert told(found, Change.REMOVED) == ["4470 to 44: 0.90 -> 0.01"]
    assert told(found, Change.OPENED) == ["4470 to 44: 0.90 -> 0.01"]
    assert told(changes([rate("44", 10_000)], [rate("44", 10_000), rate("4470", 900_000)]), Change.SHUT) == [
        "4470 to 4470: 0.01 -> 0.90"
    ]


def test_a_catch_all_and_a_new_date_alone():
    found = changes([rate("", 1), rate("44", 1)], [rate("", 2), rate("44", 1, effective_from=5)])
    assert told(found, Change.DEARER) == ["catch-all to : 0.000001 -> 0.000002"]
    assert found.unchanged == 1


def test_many_changes_are_all_counted_and_some_kept(monkeypatch):
    monkeypatch.setattr(diff, "MAX_KEPT", 2)
    found = changes([], [rate(str(prefix), 1) for prefix in range(10, 20)])
    assert (found.counts[Change.ADDED], len(found.changes[Change.ADDED])) == (10, 2)
