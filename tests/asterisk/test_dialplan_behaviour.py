"""The generated dialplan on a real Asterisk, with a stand-in guard that answers well, badly or not at all."""

from __future__ import annotations

import pytest
from harness import standin
from harness.standin import StandIn

ALLOW = standin.verdict("allow", "ok", "+12025550123", "600")
EMERGENCY_FORMS = {"911": "911", "9911": "911", "112": "112", "9112": "112", "999": "999"}


def test_the_rendered_dialplan_loads_without_a_warning(site):
    shown = site.asterisk.command("dialplan show fraudguard-out-carrier")
    assert shown.index("fraudguard-emergency-carrier") < shown.index("fraudguard-guarded-carrier")


def test_an_allowed_call_goes_to_the_number_of_the_verdict(site, reached):
    with StandIn(site.guard_port, ALLOW) as guard:
        call = site.phones.dial("912025550199")
    assert call.answered
    assert reached() == ["+12025550123"]
    (request,) = guard.requests
    assert request["number"] == "912025550199"
    assert request["trunk"] == "carrier"
    assert (request["tenant"], request["account"], request["asterisk"]) == ("default", "alice", "asterisk")
    assert request["source"].startswith("127.0.0.1:")
    assert request["linkedid"]
