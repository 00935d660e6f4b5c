"""The page of metrics and the unit on the page of services cannot drift from what is shipped."""

import re
from pathlib import Path

from fraudguard.metrics import names
from fraudguard.metrics.health import Status

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT.joinpath("docs", "reference", "metrics.md").read_text(encoding="utf-8")
SERVICE = ROOT.joinpath("docs", "how-to", "run-as-a-service.md").read_text(encoding="utf-8")


def test_every_metric_is_told_with_its_type_and_labels_and_no_other_is():
    told = {
        name: (kind, tuple(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in re.findall(r"^\| `([a-z_]+)` \| (\w+) \|([^|]*)\|", PAGE, flags=re.MULTILINE)
    }
    assert set(told) - {name.name for name in names.ALL} == set(names.PROCESS)
    assert {name.name: told[name.name] for name in names.ALL} == {
        name.name: (name.kind, name.labels) for name in names.ALL
    }


def test_rules_and_pages_use_only_metrics_that_exist():
    known = {name.name for name in names.ALL} | {"fraudguard_verdict_seconds_bucket"}
    assert set(re.findall(r"\bfraudguard_[a-z_]+\b", PAGE + SERVICE)) <= known


def test_every_status_of_health_is_told():
    assert set(Status) <= set(re.findall(r"`(\w+)`", PAGE))
