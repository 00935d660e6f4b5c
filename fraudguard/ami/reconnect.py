"""When to connect again, and when not to: pure functions, and the errors of the AMI room.

AmiError(UnreachableError)
├── DisconnectedError     there is no link, or it was lost before the answer; whether Asterisk acted is not known
├── ActionTimeoutError    no answer in time; whether Asterisk acted is not known
├── ActionRefusedError    Asterisk answered with an error, or the action cannot be written
└── LoginRefusedError     Asterisk refused name, secret or address: final

None of them says what was sent: it may have been the secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fraudguard.errors import UnreachableError


class AmiError(UnreachableError):
    """Root of what goes wrong with a manager connection."""


class DisconnectedError(AmiError):
    """No link, or none any more. Nothing is ever sent again: what was asked may have happened or not."""


class ActionTimeoutError(AmiError):
    """No answer within the deadline. What was asked may have happened or not."""


class ActionRefusedError(AmiError):
    """Asterisk said no, or the action holds what cannot be sent. It did not happen."""


class LoginRefusedError(AmiError):
    """Asterisk refuses this user, secret or address. Trying again would only fill its log."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Every wait of a connection, in seconds."""

    connect: float = 5.0  # TCP and TLS; a host that is off answers nothing for minutes
    login: float = 10.0  # greeting and login; Asterisk sleeps 1 s before it refuses
    action: float = 5.0  # an answer takes milliseconds, 1 s under full load
    collect: float = 15.0  # a list of 10,000 channels with their variables
    ping: float = 5.0  # between pings
    pong: float = 5.0  # after that a link is lost: who answers no ping hangs up no call either
    backoff: float = 0.5  # before the second try ...
    backoff_most: float = 10.0  # ... doubled up to this: a restarted Asterisk is followed soon after it is back
    steady: float = 10.0  # a link that lived so long was sound, and the next waits begin small again


def delays(timing: Timing, random: Callable[[], float]) -> Iterator[float]:
    """Give the seconds before each further try: doubling, capped, between half and all of it.

    `random` gives numbers from 0 to 1; without it all guards of a restarted Asterisk would come at once.
    """
    most = timing.backoff
    while True:
        yield min(most, timing.backoff_most) * (0.5 + random() / 2)
        most = min(most * 2, timing.backoff_most)


def is_final(refusal: str) -> bool:
    """Say whether the text with which Asterisk refuses a login rules out that it will be accepted later.

    Wrong user, wrong secret and an address outside the ACL are all 'Authentication failed' (action_login() of
    main/manager.c). The others pass: 'Login Already In Use' while Asterisk has not noticed that our last link is
    gone, 'Asterisk is shutting down', 'Permission denied' while it takes its actions away.
    """
    return refusal == "Authentication failed"
