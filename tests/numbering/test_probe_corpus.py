"""What attackers really dial: a honeypot's log, kept beside the checkout because it is not ours to ship."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from fraudguard.numbering import HomePlan, Kind, Normaliser

NAME = "*/data/numbers/sentrypeer-2022-probes-no-ip.csv.gz"
CORPUS = next(Path(__file__).parents[3].glob(NAME), Path("/nonexistent"))  # in a folder beside the checkout


@pytest.mark.parametrize(
    "plan", [HomePlan("US", outside_line="9", area_code="212"), HomePlan("DE", outside_line="0"), HomePlan("AU")]
)
def test_no_probe_raises_or_is_mistaken_for_an_emergency(plan) -> None:
    if not CORPUS.exists():
        pytest.skip("the honeypot's log is not beside the checkout")
    normaliser = Normaliser(plan)
    with gzip.open(CORPUS, "rt", encoding="utf-8", errors="surrogateescape", newline="") as file:
        dialled = {row["called_number"] for row in csv.DictReader(file)}
    assert len(dialled) > 20_000
    kinds = {text: getattr(normaliser.normalise(text), "kind", None) for text in dialled}
    emergencies = {text for text, kind in kinds.items() if kind is Kind.EMERGENCY}
    assert emergencies <= normaliser.emergency_numbers  # scanners of extensions try 110 and 911 themselves, too
