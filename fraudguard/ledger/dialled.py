"""The number in what Dial was given, and whether it is the one that a verdict allowed."""

from __future__ import annotations

import re
from typing import Final

TAIL: Final = 7
"""Digits from the end that make a number recognisable: dialplans rewrite what stands before them (0, 9, +44, a
carrier's own prefix), and hardly a national number is shorter."""

SHORT_PREFIX: Final = 4
"""Digits that may stand before a number shorter than that: 9 for an outside line, 0, a carrier's prefix. More of them
would make every number that happens to end in 411 the allowed 411."""

SHORTEST_LOCAL: Final = 4
"""Digits that a number dialled without its country or area must have, to be known as the end of what was allowed."""

_SCHEME = re.compile(r"(?:sips?|tel):", re.IGNORECASE)
_END = re.compile(r"[@;:!?,&/wWpP]")  # the host, parameters, a password, DTMF to be sent after the answer
_SEPARATORS = str.maketrans("", "", "-.() ")
_NUMBER = re.compile(r"\+?[0-9*#]+")
_NO_DIGITS = re.compile(r"[^0-9]")


def number_of(string: str) -> str:
    """Return the number in a dial string: digits, with its plus if it has one; '' where there is none.

    Asterisk's own forms: '+4420@carrier', 'carrier/sip:+4420@host', 'carrier/4420', 'user:secret@peer/4420@context',
    'g1/4420'. What stands before a slash is whom to call by, and never the number.
    """
    user = string.partition("/")[2] if "/" in string else string
    scheme = _SCHEME.match(user)
    if scheme is not None:
        user = user[scheme.end() :]
        if "@" not in user and scheme.group().lower() != "tel:":
            return ""  # sip:192.0.2.1 is a host
    end = _END.search(user)
    user = (user if end is None else user[: end.start()]).translate(_SEPARATORS)
    if not _NUMBER.fullmatch(user):
        return ""
    digits = digits_of(user)
    return "+" + digits if digits and user[0] == "+" else digits


def digits_of(number: str) -> str:
    """Return the digits of a number, without its plus and whatever else."""
    return _NO_DIGITS.sub("", number)


def tail_of(number: str) -> str:
    """Return the last digits, by which a number is recognised; all of a short one."""
    return digits_of(number)[-TAIL:]


def reaches(dialled: str, tail: str) -> bool:
    """Say whether what is dialled is the number with this tail (of `tail_of`), whatever was put before it.

    Where national numbers are short (Andorra's have 6 digits), the tail begins with digits of the calling code, and
    less than it may be dialled.
    """
    digits = digits_of(dialled)
    if tail and digits.endswith(tail):
        return len(tail) == TAIL or len(digits) - len(tail) <= SHORT_PREFIX
    bare = digits.lstrip("0")
    return len(bare) >= SHORTEST_LOCAL and tail.endswith(bare)
