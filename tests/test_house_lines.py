import pytest

from fraudguard.config import Settings
from fraudguard.house import build_house, channel_of


def house(**trunk):
    return build_house(Settings(trunks={"carrier": {"deck": "main", **trunk}}))


@pytest.mark.parametrize(
    ("dial", "channel"),
    [
        ("PJSIP/{number}@{trunk}", "PJSIP/carrier"),
        ("pjsip/{number}@to-carrier", "PJSIP/to-carrier"),
        ("PJSIP/{trunk}/sip:{number}@192.0.2.1:5060", "PJSIP/carrier"),
        ("SIP/{trunk}/{number}", "SIP/carrier"),
        ("SIP/{number}@gw.example.com:5060", "SIP/gw.example.com"),
        ("IAX2/user@peer/{number}", "IAX2/peer"),
        ("IAX2/user:secret@peer:4569/{number}", "IAX2/peer"),
        ("PJSIP/{number}", None),
        ("PJSIP/{number}/x", None),
        ("DAHDI/g1/{number}", None),
        ("Local/{number}@out", None),
        ("{number}@carrier", None),
    ],
)
def test_a_trunks_channel_is_told_from_what_it_dials(dial, channel):
    built = house(dial=dial)
    assert channel_of("carrier", Settings(trunks={"carrier": {"deck": "m", "dial": dial}}).trunks["carrier"]) == channel
    assert list(built.lines) == ([] if channel is None else [channel])
    assert built.unfollowed == (("carrier",) if channel is None else ())


def test_a_configured_channel_outranks_what_is_dialled():
    assert list(house(dial="DAHDI/g1/{number}", channel="DAHDI/1").lines) == ["DAHDI/1"]


def test_a_channel_is_of_the_trunk_whose_whole_name_it_bears():
    built = house()
    assert [line.trunk for line in built.lines_of("PJSIP/carrier-0000002a")] == ["carrier"]
    assert [line.trunk for line in built.lines_of("PJSIP/carrier-0000002a<ZOMBIE>")] == ["carrier"]
    for other in ("PJSIP/carrier-two-0000002a", "PJSIP/204-0000002a", "SIP/carrier-0000002a", "PJSIP/carrier", ""):
        assert built.lines_of(other) == ()


def test_trunks_that_differ_in_a_prefix_share_a_channel():
    built = build_house(
        Settings(
            trunks={
                "good": {"deck": "main", "dial": "PJSIP/11{number}@gw"},
                "cheap": {"deck": "main", "dial": "PJSIP/22{number}@gw", "police": "report"},
            }
        )
    )
    good, cheap = built.lines_of("PJSIP/gw-00000001")
    assert (good.trunk, good.enforce, cheap.trunk, cheap.enforce) == ("good", True, "cheap", False)
    assert cheap.number.fullmatch("22+4420@gw")[1] == "+4420"
    assert good.number.fullmatch("22+4420@gw") is None
