"""Test doubles for those who build on fraudguard: FakeAsterisk plays the other end of its sockets.

asterisk = FakeAsterisk("127.0.0.1", port)
result = await asterisk.outbound(number="+442079460000", trunk="carrier")
assert result.variables["FRAUDGUARD_VERDICT"] == "nowhere"

async with FakeAsterisk() as asterisk:  # now also a manager (AMI): port asterisk.manager.port
    call = await asterisk.dial("+442079460000", trunk="carrier")
    call.answer()
    asterisk.manager.cut()  # and more that can go wrong in asterisk.manager.faults
    call.hang_up()
"""

from fraudguard.testing.agi import AgiResult, Channel, Faults, agi_words, application_arguments
from fraudguard.testing.ami import Action, AmiServer, AmiSession, ManagerUser
from fraudguard.testing.asterisk import FakeAsterisk, Placed
from fraudguard.testing.calls import Call, Exchange
from fraudguard.testing.channels import ChannelState, LiveChannel
from fraudguard.testing.faults import AmiFaults

__all__ = [
    "Action",
    "AgiResult",
    "AmiFaults",
    "AmiServer",
    "AmiSession",
    "Call",
    "Channel",
    "ChannelState",
    "Exchange",
    "FakeAsterisk",
    "Faults",
    "LiveChannel",
    "ManagerUser",
    "Placed",
    "agi_words",
    "application_arguments",
]
