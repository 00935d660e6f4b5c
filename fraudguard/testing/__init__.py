"""Test doubles for those who build on fraudguard: FakeAsterisk plays the other end of its sockets.

asterisk = FakeAsterisk("127.0.0.1", port)
result = await asterisk.outbound(number="+442079460000", trunk="carrier")
assert result.variables["FRAUDGUARD_VERDICT"] == "nowhere"
"""

from fraudguard.testing.agi import AgiResult, Channel, Faults, agi_words, application_arguments
from fraudguard.testing.asterisk import FakeAsterisk

__all__ = ["AgiResult", "Channel", "FakeAsterisk", "Faults", "agi_words", "application_arguments"]
