"""A house, verdicts and events for tests of the ledger."""

from fraudguard.config import Settings
from fraudguard.house import build_house
from fraudguard.ledger import Admission, Leg
from fraudguard.ledger.records import Answered, Billed, Dialled, HungUp, Moved, Seen
from fraudguard.rating import Rate

NOW = 1_800_000_000_000
SECOND = 1000
LONDON = "+442079460000"
SATELLITE = "+88216000123"


def price_of(per_minute=600_000, **changes):
    fields = {
        "prefix": "44",
        "destination": "Britain",
        "connect_fee": 5_000,
        "minimum_seconds": 30,
        "increment_seconds": 6,
        "effective_from": 0,
    }
    return Rate(per_minute=per_minute, **(fields | changes))


RATE = price_of()
DEAR = price_of(9_500_000, prefix="8821", destination="Satellite", connect_fee=0, increment_seconds=1)

HOUSE = build_house(
    Settings(
        numbering={"home": "US", "outside_line": "9", "area_code": "202"},
        tenants={"acme": {"home": "GB", "outside_line": "", "area_code": ""}},
        trunks={
            "carrier": {"deck": "main"},
            "lenient": {"deck": "main", "dial": "SIP/{trunk}/{number}", "police": "report"},
            "prefixed": {"deck": "main", "dial": "PJSIP/1234{number}@gateway"},
            "quality": {"deck": "main", "dial": "PJSIP/5678{number}@gateway", "police": "report"},
            "lines": {"deck": "main", "dial": "DAHDI/g1/{number}"},
        },
        dialplan={"fence_lease_seconds": 900},
    )
)


def price(_trunk, number):
    return DEAR if "882" in number else RATE if "44" in number else None


def admission(**changes):
    fields = {
        "asterisk": "pbx",
        "linkedid": "1.1",
        "call": "verdict",
        "reason": "ok",
        "tenant": "acme",
        "account": "204",
        "source": "198.51.100.7:5060",
        "trunk": "carrier",
        "number": LONDON,
        "rate": RATE,
        "lease_seconds": 600,
        "at": NOW,
    }
    return Admission(**(fields | changes))


def leg(uniqueid="1.2", linkedid="1.1", channel="PJSIP/carrier-0000000a", asterisk="pbx"):
    return Leg(asterisk, uniqueid, linkedid, channel)


PHONE = leg("1.1", "1.1", "PJSIP/204-00000009")


def dialled(at=NOW, string=LONDON + "@carrier", which=None, **changes):
    fields = {"caller": PHONE, "context": "phones", "extension": "011", "application": "Dial"}
    return Dialled(at, which or leg(), string, **(fields | changes))


def answered(at, uniqueid="1.2"):
    return Answered(at, "pbx", uniqueid)


def hung_up(at, uniqueid="1.2", cause=16):
    return HungUp(at, "pbx", uniqueid, cause)


def moved(at, which):
    return Moved(at, which)


def billed(at, seconds, channel="PJSIP/carrier-0000000a"):
    return Billed(at, "pbx", channel, seconds)


def seen(which=None, *, up=True, began_at=NOW, application="AppDial", string=LONDON + "@carrier", **changes):
    return Seen(which or leg(), up, began_at, application=application, string=string, **changes)
