"""(attempt, number, rate, snapshot) -> verdict. Pure and synchronous: one code for live calls, `check` and replay."""

from fraudguard.policy.index import PolicyIndex
from fraudguard.policy.reasons import Outcome, Reason
from fraudguard.policy.records import (
    DEFAULT_LIMIT,
    DEFAULT_TENANT,
    EVERYBODY,
    Attempt,
    Block,
    Facts,
    Grant,
    Limit,
    Scope,
    Snapshot,
    Verdict,
)
from fraudguard.policy.rules import ORDER, decide
from fraudguard.policy.ruling import Ruling, explain, flatten

__all__ = [
    "DEFAULT_LIMIT",
    "DEFAULT_TENANT",
    "EVERYBODY",
    "ORDER",
    "Attempt",
    "Block",
    "Facts",
    "Grant",
    "Limit",
    "Outcome",
    "PolicyIndex",
    "Reason",
    "Ruling",
    "Scope",
    "Snapshot",
    "Verdict",
    "decide",
    "explain",
    "flatten",
]
