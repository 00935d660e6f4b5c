"""A reading as Prometheus wants it: a collector of prometheus_client, in its text format."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, Final, TypeAlias

from prometheus_client import CONTENT_TYPE_LATEST, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from fraudguard import __version__
from fraudguard.metrics import names
from fraudguard.metrics.meter import BOUNDS
from fraudguard.metrics.names import Name
from fraudguard.metrics.sources import LinkState, Reading
from fraudguard.money import MICROS_PER_UNIT, Micros
from fraudguard.policy.reasons import Outcome, Reason

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

Samples: TypeAlias = Iterable[tuple[tuple[str, ...], float]]

_ALLOWING = frozenset({Reason.EMERGENCY, Reason.OK})


def render(reading: Reading) -> bytes:
    """Return the page of /metrics. Takes milliseconds: not in the event loop."""
    registry = CollectorRegistry()  # ours alone: what other libraries count in the global one is nobody's business
    registry.register(Page(reading))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class Page(Collector):
    """One reading, as metrics."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        reading = self._reading
        yield _family(names.BUILD, [((__version__, platform.python_version()), 1)])
        yield _family(names.LOOP_LAG, _single(reading.loop_lag))
        yield _family(names.LOOP_STALLS, _single(reading.loop_stalls))
        yield from _decisions(reading)
        yield from _agi(reading)
        yield from _ami(reading)
        yield from _calls(reading)
        yield from _alerts(reading)
        yield _family(names.SNAPSHOT_AGE, _single(reading.snapshot_age))
        yield _family(names.SNAPSHOT_FAILURES, _single(reading.reload_failures))
        yield _family(names.STORE_ERRORS, _single(reading.store_errors))


def _decisions(reading: Reading) -> Iterator[Metric]:
    # Every reason from the start: the first refusal after a restart is a rise from 0, and rate() sees it.
    verdicts = {_usual(reason): 0 for reason in Reason} | dict(reading.verdicts)
    yield _family(names.VERDICTS, _labelled(verdicts))
    yield _family(names.SIMULATED, [((reason.value,), count) for reason, count in reading.simulated.items()])
    bounds = [*map(str, BOUNDS), "+Inf"]
    histogram = HistogramMetricFamily(names.VERDICT_SECONDS.name, names.VERDICT_SECONDS.help)
    histogram.add_metric([], list(zip(bounds, accumulate(reading.buckets), strict=True)), reading.seconds)
    yield histogram


def _usual(reason: Reason) -> tuple[Outcome, Reason]:
    return Outcome.ALLOW if reason in _ALLOWING else Outcome.NOWHERE, reason


def _agi(reading: Reading) -> Iterator[Metric]:
    counts = reading.agi
    yield _family(names.AGI_SESSIONS, _single(counts["sessions"]))
    yield _family(names.AGI_CONNECTIONS, _single(counts["connections"]))
    yield _family(names.AGI_PROBES, _single(counts["probes"]))
    yield _family(names.AGI_REQUESTS, _one_label(reading.requests))
    yield _family(names.AGI_FAILURES, _one_label(reading.failures))
    yield _family(names.AGI_HANGUPS, _single(counts["hangups"]))
    yield _family(names.AGI_REFUSED, _single(counts["refused_commands"]))
    yield _family(names.AGI_UNKNOWN, _single(counts["unknown_keys"]))
    yield _family(names.AGI_DUPLICATES, _single(counts["duplicate_headers"]))


def _ami(reading: Reading) -> Iterator[Metric]:
    links = reading.links
    yield _family(names.AMI_UP, [((name,), link.state is LinkState.UP) for name, link in links.items()])
    yield _family(names.AMI_LAG, [((name,), link.lag) for name, link in links.items()])
    yield _family(names.AMI_READ, [((name,), link.read) for name, link in links.items()])
    yield _family(names.AMI_SKIPPED, [((name,), link.skipped) for name, link in links.items()])
    yield _family(names.AMI_DROPPED, [((name,), link.dropped) for name, link in links.items()])
    yield _family(names.AMI_RECONNECTS, [((name,), link.reconnects) for name, link in links.items()])
    yield _family(names.AMI_QUEUED, [((name,), link.queued) for name, link in links.items()])


def _calls(reading: Reading) -> Iterator[Metric]:
    calls, currency = reading.calls, (reading.currency,)
    yield _family(names.LIVE_CALLS, _one_label({"ringing": calls.ringing, "up": calls.up}))
    yield _family(names.LIVE_COST, [(currency, _units(calls.cost))])
    ended = {(why, str(reconstructed).lower()): count for (why, reconstructed), count in reading.ended.items()}
    yield _family(names.CALLS_ENDED, _labelled(ended))
    yield _family(names.SET_ASIDE, [(currency, _units(calls.set_aside))])
    yield _family(names.LEASES_RENEWED, _single(reading.renewed))
    yield _family(names.CALLS_CUT, _single(reading.cut))
    yield _family(names.CALLS_COST, [(currency, _units(reading.ended_cost))])


def _alerts(reading: Reading) -> Iterator[Metric]:
    deliveries = reading.deliveries
    channels = deliveries.channels
    yield _family(names.ALERTS_PENDING, _single(deliveries.pending))
    yield _family(names.ALERTS_DELIVERED, [((name,), channel.delivered) for name, channel in channels.items()])
    yield _family(names.ALERTS_FAILED, [((name,), channel.failed) for name, channel in channels.items()])
    yield _family(names.ALERTS_EXPIRED, [((name,), channel.expired) for name, channel in channels.items()])


def _units(amount: Micros) -> float:
    return amount / MICROS_PER_UNIT  # a float is all that Prometheus knows; it is looked at, not billed


def _single(value: float) -> Samples:
    return [((), value)]


def _one_label(values: Any) -> Samples:
    return [((label,), value) for label, value in values.items()]


def _labelled(values: Any) -> Samples:
    return [(tuple(map(str, labels)), value) for labels, value in values.items()]


def _family(name: Name, samples: Samples) -> Metric:
    kind = CounterMetricFamily if name.kind == "counter" else GaugeMetricFamily
    family: Any = kind(name.name, name.help, labels=name.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    metric: Metric = family
    return metric
