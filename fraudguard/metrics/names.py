"""Every metric: its name, kind, labels and help, once. The names are an outside contract: add, never rename.

A label holds only values out of a closed list (reasons, states) or out of the configuration (Asterisks, channels):
an account or a number as a label would let whoever dials fill the memory of the service and of Prometheus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Name:
    """One metric. `name` is as Prometheus shows it, a counter's with its _total."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


BUILD: Final = Name("fraudguard_build_info", "gauge", "Always 1; the labels say what runs.", ("version", "python"))
LOOP_LAG: Final = Name("fraudguard_loop_lag_seconds", "gauge", "How late the event loop's latest tick was.")
LOOP_STALLS: Final = Name("fraudguard_loop_stalls_total", "counter", "Ticks of the event loop that were late.")

VERDICTS: Final = Name(
    "fraudguard_verdicts_total", "counter", "Verdicts stored, by what was decided.", ("outcome", "reason")
)
SIMULATED: Final = Name(
    "fraudguard_simulated_refusals_total", "counter", "What rules in shadow would have refused.", ("reason",)
)
VERDICT_SECONDS: Final = Name(
    "fraudguard_verdict_seconds", "histogram", "From a verdict being decided to it being on disk and answered."
)

AGI_SESSIONS: Final = Name("fraudguard_agi_sessions", "gauge", "FastAGI connections open now.")
AGI_CONNECTIONS: Final = Name("fraudguard_agi_connections_total", "counter", "FastAGI connections accepted.")
AGI_PROBES: Final = Name("fraudguard_agi_probes_total", "counter", "FastAGI connections closed without a request.")
AGI_REQUESTS: Final = Name("fraudguard_agi_requests_total", "counter", "FastAGI requests.", ("path",))
AGI_FAILURES: Final = Name(
    "fraudguard_agi_failures_total", "counter", "FastAGI sessions that ended without an answer.", ("failure",)
)
AGI_HANGUPS: Final = Name("fraudguard_agi_hangups_total", "counter", "Callers who hung up while they were served.")
AGI_REFUSED: Final = Name(
    "fraudguard_agi_refused_commands_total", "counter", "Commands that Asterisk refused with a 5xx reply."
)
AGI_UNKNOWN: Final = Name("fraudguard_agi_unknown_keys_total", "counter", "Arguments of a request that nobody knows.")
AGI_DUPLICATES: Final = Name("fraudguard_agi_duplicate_headers_total", "counter", "Headers that came twice.")

AMI_UP: Final = Name("fraudguard_ami_up", "gauge", "1 while logged in to this Asterisk's manager.", ("asterisk",))
AMI_LAG: Final = Name(
    "fraudguard_ami_lag_seconds", "gauge", "From the latest event being read to it being processed.", ("asterisk",)
)
AMI_READ: Final = Name("fraudguard_ami_events_read_total", "counter", "Messages read from the link.", ("asterisk",))
AMI_SKIPPED: Final = Name(
    "fraudguard_ami_events_skipped_total", "counter", "Events that nobody needs, not parsed.", ("asterisk",)
)
AMI_DROPPED: Final = Name(
    "fraudguard_ami_events_dropped_total", "counter", "Events lost: they did not fit the queue.", ("asterisk",)
)
AMI_RECONNECTS: Final = Name("fraudguard_ami_reconnects_total", "counter", "Links made anew.", ("asterisk",))
AMI_QUEUED: Final = Name("fraudguard_ami_queued_events", "gauge", "Events that wait to be processed.", ("asterisk",))

LIVE_CALLS: Final = Name("fraudguard_live_calls", "gauge", "Calls on guarded trunks now.", ("state",))
LIVE_COST: Final = Name("fraudguard_live_cost", "gauge", "What the live calls have cost so far.", ("currency",))
CALLS_ENDED: Final = Name(
    "fraudguard_calls_ended_total", "counter", "Calls that ended, by why they were there.", ("why", "reconstructed")
)
SET_ASIDE: Final = Name(
    "fraudguard_set_aside", "gauge", "What live calls, and verdicts not yet dialled by, may yet cost.", ("currency",)
)
LEASES_RENEWED: Final = Name("fraudguard_leases_renewed_total", "counter", "Leases of calls made longer.")
CALLS_CUT: Final = Name(
    "fraudguard_calls_cut_total", "counter", "Calls that ended because the guard ended them, or did not renew them."
)
CALLS_COST: Final = Name("fraudguard_calls_cost_total", "counter", "What the calls that ended cost.", ("currency",))

ALERTS_PENDING: Final = Name("fraudguard_alerts_pending", "gauge", "Messages that wait to be delivered.")
ALERTS_DELIVERED: Final = Name("fraudguard_alerts_delivered_total", "counter", "Messages delivered.", ("channel",))
ALERTS_FAILED: Final = Name(
    "fraudguard_alerts_failed_total", "counter", "Tries to deliver a message that failed.", ("channel",)
)
ALERTS_EXPIRED: Final = Name("fraudguard_alerts_expired_total", "counter", "Messages given up.", ("channel",))

SNAPSHOT_AGE: Final = Name(
    "fraudguard_snapshot_age_seconds", "gauge", "How long ago prices, limits, grants or blocks last changed."
)
SNAPSHOT_FAILURES: Final = Name(
    "fraudguard_snapshot_failures_total", "counter", "Tries to read operators' edits that failed."
)
STORE_ERRORS: Final = Name("fraudguard_store_errors_total", "counter", "What the database refused to read or write.")

ALL: Final = tuple(value for value in list(vars().values()) if isinstance(value, Name))
"""In the order in which they are shown."""

PROCESS: Final = (
    "process_virtual_memory_bytes",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
)
"""Those that prometheus_client reads out of /proc."""
