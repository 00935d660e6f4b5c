"""Every name that crosses the wire between the dialplan and the guard, once. Operators depend on them: never rename."""

from __future__ import annotations

from typing import Final

# Channel variables: the answer. Cleared before the guard is asked, because AGISTATUS says SUCCESS even
# when the server closed the connection without a word (measured on Asterisk 22.10.1).
VERDICT: Final = "FRAUDGUARD_VERDICT"
REASON: Final = "FRAUDGUARD_REASON"
NUMBER: Final = "FRAUDGUARD_NUMBER"
LEASE: Final = "FRAUDGUARD_LEASE"
CALL: Final = "FRAUDGUARD_CALL"
ANSWER: Final = (VERDICT, REASON, NUMBER, LEASE, CALL)

PING: Final = "FRAUDGUARD_PING"

# Channel variable: the question. Set by the operator on an endpoint (set_var) to say whose phone it is.
TENANT: Final = "FRAUDGUARD_TENANT"

# AGI request paths and argument keys: agi://HOST:PORT/outbound,number=..,trunk=..
PATH_OUTBOUND: Final = "outbound"
PATH_PING: Final = "ping"
ARG_NUMBER: Final = "number"
ARG_TRUNK: Final = "trunk"
ARG_ACCOUNT: Final = "account"
ARG_TENANT: Final = "tenant"
ARG_SOURCE: Final = "source"
ARG_ASTERISK: Final = "asterisk"
ARG_LINKEDID: Final = "linkedid"
ARG_FORWARDED: Final = "forwarded"
ARGUMENTS: Final = frozenset(
    {ARG_NUMBER, ARG_TRUNK, ARG_ACCOUNT, ARG_TENANT, ARG_SOURCE, ARG_ASTERISK, ARG_LINKEDID, ARG_FORWARDED}
)

# Channel variables of Asterisk's own, on a call that a phone transferred (REFER, feature code) or forwarded (302).
FORWARD_MARKS: Final = ("BLINDTRANSFER", "FORWARDERNAME")

# Contexts of the generated dialplan.
CONTEXT_GUARD: Final = "fraudguard"
CONTEXT_FENCE: Final = "fraudguard-fence"
CONTEXT_NOWHERE: Final = "fraudguard-nowhere"
CONTEXT_OUT: Final = "fraudguard-out-{trunk}"
CONTEXT_EMERGENCY: Final = "fraudguard-emergency-{trunk}"

# Contexts behind those: parts of the machine that nobody includes by hand.
CONTEXT_EMERGENCY_RETURN: Final = "fraudguard-emergency"  # an emergency number met in a Gosub: returns unasked
CONTEXT_URGENT: Final = "fraudguard-urgent"  # the answer that it returns with
CONTEXT_ASKED: Final = "fraudguard-asked"  # what Gosub(fraudguard,..) reaches when it is no emergency
CONTEXT_GUARDED: Final = "fraudguard-guarded-{trunk}"  # the same for the included form: asks, then dials
CONTEXT_DECIDE: Final = "fraudguard-decide"  # the one place that asks the guard and reads its answer
CONTEXT_FENCE_ALLOWED: Final = "fraudguard-fence-allowed"  # what the fence lets go
CONTEXT_FENCE_REST: Final = "fraudguard-fence-rest"  # what no pattern of the fence knows
CONTEXT_FENCE_STAGE: Final = "fraudguard-fence-{plan}-{stage}"  # the patterns of one way of dialling
FENCE_STAGES: Final = ("dialled", "rewrite", "number", "deny", "allow")

# Channel variables local to one decision.
DIALLED: Final = "FRAUDGUARD_DIALLED"  # what was dialled, untouched: only ever an argument of FILTER, LEN, URIENCODE
DIGITS: Final = "FRAUDGUARD_DIGITS"  # its digits and plus signs
DROPPED: Final = "FRAUDGUARD_DROPPED"  # how many other characters it had
ASKED: Final = "FRAUDGUARD_ASKED"  # the number the guard is asked about
ACCOUNT: Final = "FRAUDGUARD_ACCOUNT"
CUSTOMER: Final = "FRAUDGUARD_CUSTOMER"  # the tenant, filtered
SOURCE: Final = "FRAUDGUARD_SOURCE"
CALLER: Final = "FRAUDGUARD_CALLER"  # the extension that called Gosub(fraudguard,..), untouched
CALLERID: Final = "FRAUDGUARD_CALLERID"  # what the phone says of itself, untouched
FORM: Final = "FRAUDGUARD_FORM"  # what asked: 'dials' for the included form, which is sent on to its Dial
LOCALS: Final = (DIALLED, DIGITS, DROPPED, ASKED, ACCOUNT, CUSTOMER, SOURCE, CALLER, CALLERID, FORM)

DIAL_PRIORITY: Final = "1001"
"""Where an included trunk dials. Not 2: an operator's own extension that has a priority 1 only would fall through to
it, past the guard, because Asterisk looks for each priority anew, in the included contexts too."""


def back_to_dial() -> str:
    """Return the way there from the decision: to the extension that asked, which where it was allowed has digits and
    plus only.
    """
    return f"${{STACK_PEEK(1,c)}},${{{DIGITS}}},{DIAL_PRIORITY}"
