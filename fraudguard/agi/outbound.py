"""The requests the dialplan makes: /outbound asks for a verdict, /ping whether anybody is there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from fraudguard import __version__
from fraudguard.agi.dialogue import Dialogue
from fraudguard.agi.protocol import MAX_TEXT, SURROGATES, ProtocolError, Request, set_variables
from fraudguard.agi.session import Handler, RefusedError, Session
from fraudguard.asking.keypad import Keypad
from fraudguard.clock import Clock, Millis
from fraudguard.dialplan import names
from fraudguard.errors import FraudguardError
from fraudguard.house import Asking
from fraudguard.numbering import BadNumber
from fraudguard.policy.reasons import Reason
from fraudguard.policy.records import DEFAULT_TENANT, Attempt, Verdict

MAX_NUMBER: Final = 80
"""Characters of the dialled string that are kept: Asterisk's longest extension. A longer one is no number."""

NOT_FORWARDED: Final = ("", "0")
"""What forwarded= says of a call that a phone began: how many marks of another origin the dialplan found."""

LOCAL: Final = "Local"
"""The type of channels that Asterisk makes for itself: what a 302 or a ring group dials. No keypad is behind them."""


class Decider(Protocol):
    """Who decides: the Guard, or a stand-in of a test."""

    def decide(self, attempt: Attempt, keypad: Keypad) -> Awaitable[Verdict]:
        """Return what gives the verdict once it is committed. This, or that, raises when there will be none."""
        ...


def routes(decider: Decider, clock: Clock, asking: Callable[[str], Asking]) -> dict[str, Handler]:
    """Return the paths that the generated dialplan asks for. `asking` says how a tenant's callers are asked a PIN."""

    def outbound(session: Session) -> None:
        attempt, unknown = read_attempt(session.request, clock.now())
        session.counters.unknown_keys += unknown
        decided = decider.decide(attempt, Dialogue(session, asking(attempt.tenant)))
        session.answer_when(decided, lambda verdict: set_variables(names.ANSWER, answer(verdict)))

    async def ping(session: Session) -> None:
        reply = await session.command("SET VARIABLE", names.PING, __version__)
        if not reply.ok:
            raise RefusedError(f"Asterisk did not set {names.PING}: {reply.code}")

    return {names.PATH_OUTBOUND: outbound, names.PATH_PING: ping}


def read_attempt(request: Request, at: Millis) -> tuple[Attempt, int]:
    """Return what is attempted at `at`, and how many arguments nobody knows. Raises ProtocolError."""
    fields, strays = request.fields()
    if names.ARG_NUMBER not in fields:
        raise ProtocolError(f"argument {names.ARG_NUMBER}= is missing")
    if not fields.get(names.ARG_TRUNK):
        raise ProtocolError(f"argument {names.ARG_TRUNK}= is missing or empty")
    if len(fields[names.ARG_NUMBER]) > MAX_NUMBER:
        # Cut, but with a mark that no number has: it gets its verdict, bad_number, and is no shorter number.
        fields[names.ARG_NUMBER] = fields[names.ARG_NUMBER][:MAX_NUMBER] + "…"
    if not fields.get(names.ARG_ACCOUNT):
        fields[names.ARG_ACCOUNT] = request.sole("agi_accountcode") or ""
    attempt = Attempt(
        number=_text(fields, names.ARG_NUMBER),
        trunk=_text(fields, names.ARG_TRUNK),
        account=_text(fields, names.ARG_ACCOUNT),
        tenant=_text(fields, names.ARG_TENANT) or DEFAULT_TENANT,
        source=_text(fields, names.ARG_SOURCE),
        at=at,
        asterisk=_text(fields, names.ARG_ASTERISK),
        linkedid=_text(fields, names.ARG_LINKEDID),
        uniqueid=_bounded(request.sole("agi_uniqueid") or "", "agi_uniqueid"),
        forwarded=fields.get(names.ARG_FORWARDED, "") not in NOT_FORWARDED or request.sole("agi_type") == LOCAL,
    )
    return attempt, strays + len(fields.keys() - names.ARGUMENTS)


def answer(verdict: Verdict) -> tuple[str, str, str, str, str]:
    """Return the values of names.ANSWER. Raises FraudguardError for an allowed call without a lease or number.

    The lease becomes Dial(...,S(lease)), and an empty S() is no limit at all: only emergency has that.
    """
    number = verdict.facts.number
    dialable = "" if isinstance(number, BadNumber) else number.dialable
    lease = "0"
    if verdict.allowed:
        if not dialable:
            raise FraudguardError("a verdict allows what is not a number")
        if verdict.reason is Reason.EMERGENCY:
            lease = ""
        elif not verdict.lease_seconds or verdict.lease_seconds < 0:
            raise FraudguardError("a verdict allows a call without a lease")
        else:
            lease = str(verdict.lease_seconds)
    return verdict.outcome.value, verdict.reason.value, dialable, lease, verdict.call


def _text(texts: Mapping[str, str], key: str) -> str:
    return _bounded(texts.get(key, ""), key)


def _bounded(text: str, key: str) -> str:
    if len(text) > MAX_TEXT:
        raise ProtocolError(f"{key} has more than {MAX_TEXT} characters")
    if text.isascii():
        return text
    return text.encode("utf-8", SURROGATES).decode("utf-8", "replace")  # the database refuses half characters
