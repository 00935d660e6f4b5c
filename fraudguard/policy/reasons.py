"""What a verdict says: allow or nowhere, and why."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Outcome(StrEnum):
    """What happens to the call. There is no third way."""

    ALLOW = "allow"
    NOWHERE = "nowhere"


class Reason(StrEnum):
    """Why. These codes are stored, sent to the dialplan and read by scripts: add, never rename."""

    EMERGENCY = "emergency"
    BAD_NUMBER = "bad_number"
    BLOCKED = "blocked"
    NO_RATE = "no_rate"
    OVER_LIMIT = "over_limit"
    TOO_FAST = "too_fast"  # too many attempts in a time, to one number, or to countries never called before
    TOO_MANY = "too_many"  # too many calls at once
    OVER_BUDGET = "over_budget"  # a budget has no money left for it
    PIN_FORWARDED = "pin_forwarded"  # a PIN is wanted, and nobody is there to key one: forwarded or transferred
    PIN_REQUIRED = "pin_required"  # a PIN is wanted, and there is none that could be keyed
    PIN_BUSY = "pin_busy"  # too many callers are at the prompt, or wait for their PIN to be looked at
    PIN_HANGUP = "pin_hangup"  # the caller hung up instead
    PIN_TIMEOUT = "pin_timeout"  # nothing was keyed
    PIN_WRONG = "pin_wrong"
    PIN_LOCKED = "pin_locked"  # too many wrong ones before: none is looked at now
    PIN_ACCOUNT = "pin_account"  # a PIN, but not to be used from this account
    PIN_TIME = "pin_time"  # not at this time
    PIN_REGION = "pin_region"  # not for this number
    PIN_PRICE = "pin_price"  # not at this price
    PIN_MONEY = "pin_money"  # what it may spend in a day is spent
    OK = "ok"
    UNDECIDED = "undecided"  # no rule decided: a defect of ours, and therefore nowhere


QUIET: Final = frozenset(
    {Reason.PIN_HANGUP, Reason.PIN_TIMEOUT, Reason.PIN_WRONG, Reason.PIN_LOCKED, Reason.PIN_ACCOUNT}
)
"""Refusals that are no alert by themselves: a person may mistype. Of those who guess it is told what they add up to."""
