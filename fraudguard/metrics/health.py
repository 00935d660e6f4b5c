"""Is the service well? Judged from a reading, for /healthz."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fraudguard.metrics.sources import LinkState, Reading

FROZEN_SECONDS: Final = 1.0
"""Without a tick for so long the loop stands still; the watchdog ends the process after 2.5."""

MAX_DETAIL: Final = 300
"""Characters of one detail."""


class Status(StrEnum):
    """In the order of how bad it is.

    Failed is what keeps calls from being allowed. Degraded is what a person has to look at while callers are served:
    a link that is lost costs the sight of calls, and no restart of the guard would bring it back.
    """

    OK = "ok"
    UNKNOWN = "unknown"  # only while the loop stands still
    DEGRADED = "degraded"
    FAILED = "failed"


_ORDER: Final = (Status.OK, Status.UNKNOWN, Status.DEGRADED, Status.FAILED)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at."""

    status: Status
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """All of them. `status` is the worst."""

    checks: dict[str, Check]

    @property
    def status(self) -> Status:
        return max((check.status for check in self.checks.values()), key=_ORDER.index)

    def document(self) -> bytes:
        """Return the JSON of /healthz."""
        checks = {
            name: {"status": check.status.value, "detail": check.detail[:MAX_DETAIL]}
            for name, check in self.checks.items()
        }
        return json.dumps({"status": self.status.value, "checks": checks}, indent=2).encode() + b"\n"


def judge(reading: Reading | None, age: float) -> Health:
    """Judge by the latest reading; None when the loop gave none. `age` is the seconds since its latest tick."""
    checks = dict(_checks(reading)) if reading is not None else {}
    loop = Check(Status.OK, f"turned {age:.1f} s ago")
    if reading is None or age > FROZEN_SECONDS:
        loop = Check(Status.FAILED, f"the event loop has not turned for {age:.1f} s")
    if reading is None:
        checks = dict.fromkeys(("store", "alerts"), Check(Status.UNKNOWN, "the event loop does not answer"))
    return Health({"loop": loop, **checks})


def _checks(reading: Reading) -> Iterator[tuple[str, Check]]:
    yield "store", _store(reading)
    for name, link in reading.links.items():
        if link.state is LinkState.UP:
            yield f"ami.{name}", Check(Status.OK)
        else:
            what = "the login was refused" if link.state is LinkState.REFUSED else "the link is lost"
            yield f"ami.{name}", Check(Status.DEGRADED, f"{what}: {link.detail}".rstrip(": "))
    yield "alerts", _alerts(reading)


def _store(reading: Reading) -> Check:
    if reading.store_error:
        return Check(Status.FAILED, reading.store_error)
    if reading.reload_error:
        return Check(Status.DEGRADED, f"operators' edits cannot be read: {reading.reload_error}")
    return Check(Status.OK)


def _alerts(reading: Reading) -> Check:
    if not reading.failing:
        return Check(Status.OK)
    told = ", ".join(sorted(reading.failing))
    return Check(Status.DEGRADED, f"{reading.deliveries.pending} wait, not taken by {told}: the log says why")
