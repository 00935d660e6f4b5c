"""What happens in `fraudguard demo`: a morning in an office, then a stolen password. Nothing here decides anything.

Numbers are those that numbering plans set aside for stories (555-01.., 020 7946 0..., 030 23125 ..., 01 99 00 .. ..)
where there are such; addresses are the ones set aside for documentation.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from fraudguard.clock import Clock
from fraudguard.money import parse_amount
from fraudguard.pins.digits import Digits
from fraudguard.policy import Scope
from fraudguard.store import Writer
from fraudguard.store.policies import add_block, add_grant
from fraudguard.testing import Call, FakeAsterisk

RATE: Final = 10
"""The office's seconds in one of ours: so that costs are seen to grow. Every part of the demo has the same clock."""

TRUNK: Final = "carrier"
EMERGENCY: Final = "911"

OFFICE: Final = {str(account): f"192.0.2.{account - 190}:5060" for account in range(201, 209)}
THIEF: Final = "198.51.100.77:5071"
STOLEN: Final = "207"

OBEYED_SECONDS: Final = 1.2
"""Within a second a running service obeys an edit. Real seconds, whatever the speed."""

POLICE_SECONDS: Final = 3.0
"""How long the call past the guard may ring, if nobody hangs it up: then the caller gives up."""

_MORNING: Final = (  # when, who, what is dialled, how long they talk
    (0.2, "201", "12125550143", 6.0),
    (0.8, "202", "011442079460123", 6.5),
    (1.3, "203", "13105550119", 3.0),
    (1.9, "204", "0114930231251", 5.0),
    (2.5, "205", EMERGENCY, 3.0),
    (3.4, "208", "14165550177", 3.5),
    (5.8, "201", "01133199001234", 2.5),
    (6.3, "203", "13105550122", 2.0),
)
_SUPPLIER: Final = "01137167001234"
_TEST_CALL: Final = "011442079460999"
_WANTED: Final = (  # what pays whoever owns the number: prefix as dialled, digits behind it
    ("011882", 9),
    ("01153", 8),
    ("011252", 8),
    ("011960", 7),
    ("011870", 9),
    ("0118816", 8),
    ("01144701", 8),
    ("011232", 8),
    ("1900", 7),
)
_TRIES: Final = 30
_GUESSES: Final = 7
_GUESSED: Final = ("1234#", "0000#", "2580#")  # PINs that many people have


@dataclass(slots=True)
class Stage:
    """What the story is played with. `scene` and `operator` tell the audience; `speed` divides every pause. `pin` is
    what the office keys for calls abroad.

    `answers` are the real seconds that the guard took to be asked and to answer, call by call.
    """

    asterisk: FakeAsterisk
    writer: Writer
    clock: Clock
    pin: Digits
    seed: int
    speed: float
    scene: Callable[[str, str], None]
    operator: Callable[[str], None]
    answers: list[float] = field(default_factory=list)
    chance: random.Random = field(init=False)
    dialled: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.dialled = random.Random(self.seed)  # its own: the same numbers, whoever hangs up first

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)

    async def call(self, account: str, source: str, number: str, talk: float, keyed: Sequence[str] = ()) -> None:
        """Somebody calls, keys so much if asked for a PIN, and if it is let go talks for so long."""
        if number == EMERGENCY:  # the generated dialplan asks nobody about it
            phone = self.asterisk.phone(account, extension=number, context=f"fraudguard-emergency-{TRUNK}")
            call: Call | None = await self.asterisk.dial(number, trunk=TRUNK, caller=phone)
        else:
            began = time.perf_counter()
            placed = await self.asterisk.place(number, trunk=TRUNK, account=account, source=source, keyed=keyed)
            self.answers.append(time.perf_counter() - began)
            call = placed.call
        if call is None:
            return
        call.ring()
        await self.pause(0.5)
        if call.ended_at is None:
            call.answer()
            await self.pause(talk)
            await self._half_past(call)
        if call.ended_at is None:
            call.hang_up(by=self.chance.choice(("caller", "callee")))

    async def _half_past(self, call: Call) -> None:
        """Wait for the middle of a second: where one ends, Asterisk's count and the guard's may differ by another."""
        if call.answered_at is not None:
            past = (self.clock.now() - call.answered_at) % 1000
            await asyncio.sleep((500 - past) % 1000 / 1000 / RATE)


async def play(stage: Stage) -> None:
    """Play the whole, some twenty seconds at speed 1."""
    stage.scene(
        "An ordinary morning",
        "Eight phones call customers and suppliers. Every call is priced before it rings, and one abroad wants a PIN.",
    )
    await _morning(stage)
    stage.scene("A stolen password", f"Somebody guesses the password of phone {STOLEN}, and dials what pays him.")
    await _attack(stage)
    stage.scene("Over", "The attacker has given up.")
    await stage.pause(1.0)


async def _morning(stage: Stage) -> None:
    async with asyncio.TaskGroup() as calls:
        for at, account, number, talk in _MORNING:
            calls.create_task(_later(stage, at, partial(_office, stage, account, number, talk)))
        calls.create_task(_later(stage, 2.9, partial(_supplier, stage)))


async def _office(stage: Stage, account: str, number: str, talk: float) -> None:
    await stage.call(account, OFFICE[account], number, talk + stage.chance.random(), [f"{stage.pin.reveal()}#"])


async def _supplier(stage: Stage) -> None:
    """A call that is dearer than the limit, and an operator who permits it."""
    await _office(stage, "206", _SUPPLIER, 2.0)
    await stage.pause(0.8)
    stage.operator("fraudguard grant add +371 --account 206 --max-price 0.30 --reason 'supplier in Riga'")
    await add_grant(
        stage.writer,
        Scope("default", "206"),
        "371",
        highest=parse_amount("0.30"),
        until=None,
        reason="supplier in Riga",
        author="demo",
        now=stage.clock.now(),
    )
    await asyncio.sleep(OBEYED_SECONDS)
    await _office(stage, "206", _SUPPLIER, 2.0)


async def _attack(stage: Stage) -> None:
    for _ in range(_GUESSES):
        stage.asterisk.security("ChallengeResponseFailed", account=STOLEN, source=THIEF)
        await stage.pause(0.15)
    stage.asterisk.security("SuccessfulAuth", account=STOLEN, source=THIEF)
    await stage.pause(0.4)
    async with asyncio.TaskGroup() as calls:
        calls.create_task(stage.call(STOLEN, THIEF, _TEST_CALL, 2.0, _GUESSED))  # cheap: does it work?
        await stage.pause(1.0)
        for _ in range(_TRIES):
            calls.create_task(stage.call(STOLEN, THIEF, _dear(stage.dialled), 0.5))
            await stage.pause(0.12)
        await _past_the_guard(stage)
        stage.operator(
            f"fraudguard block add --source {THIEF.partition(':')[0]} --reason 'stolen password of {STOLEN}'"
        )
        await add_block(
            stage.writer,
            Scope(),
            "",
            THIEF.partition(":")[0],
            until=None,
            reason=f"stolen password of {STOLEN}",
            author="demo",
            now=stage.clock.now(),
        )
        await asyncio.sleep(OBEYED_SECONDS)
        for number in (_TEST_CALL, _dear(stage.dialled), _TEST_CALL):
            calls.create_task(stage.call(STOLEN, THIEF, number, 0.5))
            await stage.pause(0.3)


async def _past_the_guard(stage: Stage) -> None:
    """A forgotten context of the dialplan dials the trunk by itself: nobody is asked."""
    phone = stage.asterisk.phone(STOLEN, extension="0115255501234", context="old-pbx", source=THIEF)
    call = await stage.asterisk.dial("+88213971234", trunk=TRUNK, caller=phone)
    call.ring()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(call.over(), POLICE_SECONDS)
    if call.ended_at is None:
        call.hang_up()


def _dear(chance: random.Random) -> str:
    prefix, digits = chance.choice(_WANTED)
    return prefix + "".join(chance.choices("23456789", k=digits))


async def _later(stage: Stage, seconds: float, happens: Callable[[], Awaitable[None]]) -> None:
    await stage.pause(seconds)
    await happens()
