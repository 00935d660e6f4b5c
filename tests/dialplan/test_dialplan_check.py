"""A sound file has no finding; every way of breaking one has its own, at its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudguard.config import Settings
from fraudguard.dialplan.check import check, judge
from fraudguard.dialplan.render import digest, render, split_header

SETTINGS = Settings(trunks={"carrier": {"deck": "main"}})
WHOLE = render(SETTINGS)

BREAKAGES = {
    "an unknown context": ("[fraudguard-fence-rest]", "[evil]\n[fraudguard-fence-rest]", "unknown context evil"),
    "an unknown application": ("Congestion(10)", "System(reboot)", "unknown application System"),
    "an unknown variable": ("number=${FRAUDGUARD_ASKED}", "number=${CALLERIDNUM}", "unknown variable CALLERIDNUM"),
    "an unknown function": ("linkedid=${CHANNEL(linkedid)}", "linkedid=${SHELL(id)}", "unknown function SHELL"),
    "a variable set that nobody knows": ("Set(FRAUDGUARD_REASON=fence)", "Set(REASON=x)", "sets the unknown variable"),
    "a function set that nobody knows": ("Set(FRAUDGUARD_REASON=fence)", "Set(DB(x)=x)", "sets the unknown variable"),
    "an include that is not there": (
        "include => fraudguard-fence-1-deny",
        "include => fraudguard-fence-3-deny",
        "there is no context fraudguard-fence-3-deny",
    ),
    "a jump to nowhere": ("?allowed)", "?permitted)", "there is no label permitted"),
    "the guard before emergency": (
        "include => fraudguard-emergency-carrier\ninclude => fraudguard-guarded-carrier",
        "include => fraudguard-guarded-carrier\ninclude => fraudguard-emergency-carrier",
        "fraudguard-out-carrier must hold nothing but the includes",
    ),
    "an extension before emergency": (
        "[fraudguard-out-carrier]\n",
        "[fraudguard-out-carrier]\nexten => 911,1,Hangup()\n",
        "fraudguard-out-carrier must hold nothing but the includes",
    ),
    "a trunk without its context": (
        "[fraudguard-out-second]",
        "[fraudguard-out-third]",
        "no context fraudguard-out-se",
    ),
    "a pattern among emergency numbers": (
        "exten => 9911,1,Dial",
        "exten => _9911,1,Dial",
        "is not an emergency number",
    ),
    "a question before emergency": (
        "exten => 911,1,Dial(PJSIP/911@carrier)",
        "exten => 911,1,AGI(agi://x)",
        "stands in the way of an emergency call",
    ),
    "a dial without lease": (",S(${FRAUDGUARD_LEASE}))", ")", "does not end with the lease"),
    "a dial with an empty lease": ("S(${FRAUDGUARD_LEASE})", "S()", "does not end with the lease"),
    "a dial of two places": ("@carrier,60,S(", "@carrier&SIP/b,60,S(", "does not end with the lease"),
    "a dial without asking": ("Gosub(fraudguard-decide,s,1(carrier))", "NoOp()", "without asking the guard"),
    "a dial to fall into": (" same => 1001,Dial(", " same => n,Dial(", "can be fallen into"),
    "a variable not cleared": ("Set(FRAUDGUARD_LEASE=)", "NoOp()", "without clearing FRAUDGUARD_LEASE first"),
    "the dialled string in use": (
        "Dial(PJSIP/${FRAUDGUARD_NUMBER}@carrier",
        "Dial(PJSIP/${EXTEN}@carrier",
        "uses what was dialled as it came",
    ),
    "the kept string in use": (
        "=${FRAUDGUARD_DIGITS})",
        "=${FRAUDGUARD_DIALLED})",
        "uses FRAUDGUARD_DIALLED as it came",
    ),
    "a way back from nowhere": ("Congestion(10)", "Return()", "leads out of fraudguard-nowhere"),
    "nowhere without an end": (" same => n,Hangup(21)", " same => n,Wait(1)", "does not end with Hangup"),
    "nowhere gone": ("[fraudguard-nowhere]", "[fraudguard-fence-1-other]", "there is no context fraudguard-nowhere"),
    "a context twice": (
        "[fraudguard-nowhere]",
        "[fraudguard]\n[fraudguard-nowhere]",
        "context fraudguard is there twice",
    ),
    "another section's line": (
        "[fraudguard-nowhere]",
        "#exec rm\n[fraudguard-nowhere]",
        "is not a line that fraudguard",
    ),
    "a step before any extension": (
        "[fraudguard-nowhere]\n",
        "[fraudguard-nowhere]\n same => n,Return()\n",
        "is not a line that fraudguard",
    ),
}


def test_a_rendered_file_has_no_finding(settings):
    assert check(render(settings), settings) == []


@pytest.mark.parametrize("nowhere", ["congestion", "announcement", "silence"])
def test_every_treatment_is_known(make_settings, nowhere):
    assert judge(render(make_settings(dialplan={"nowhere": nowhere}))) == []


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_every_breakage_is_found(settings, breakage):
    old, new, what = BREAKAGES[breakage]
    text = render(settings)
    assert old in text
    broken = text.replace(old, new, 1)
    findings = judge(broken)
    assert any(what in finding.what for finding in findings), [str(finding) for finding in findings]
    # whoever breaks the file also breaks its digest
    assert "changed after fraudguard wrote it" in check(broken, settings)[0].what


def test_the_finding_names_the_line(settings):
    text = render(settings).replace("Congestion(10)", "System(x)", 1)
    line = 1 + text[: text.index("System(x)")].count("\n")
    assert [str(finding) for finding in judge(text)] == [
        f"{line}: unknown application System (write the file anew with 'fraudguard dialplan install')"
    ]


def test_a_line_before_the_first_context_is_found():
    assert "stands before the first context" in judge("exten => 1,1,NoOp()")[0].what


def test_a_file_of_other_settings_is_stale_where_it_differs(settings, make_settings):
    old = render(make_settings(dialplan={"ring_seconds": 30}))
    (finding,) = check(old, settings)
    assert "the configuration has changed" in finding.what
    assert ",30,S(" in old.split("\n")[finding.line - 1]


def test_a_file_that_only_ends_early_is_stale_at_its_end(settings):
    header, body = split_header(render(settings))
    shorter = body.removesuffix(" same => n,Hangup(21)\n")
    text = f"; fraudguard dialplan {header.version} sha256={digest(shorter)}\n{shorter}"
    assert any("the configuration has changed" in finding.what for finding in check(text, settings))


def test_another_release_that_writes_the_same_is_not_stale(settings):
    header, body = split_header(render(settings))
    assert check(f"; fraudguard dialplan 9.9.9 sha256={header.digest}\n{body}", settings) == []


def test_a_foreign_file_is_said_to_be_foreign(settings):
    assert "is not fraudguard's" in check("[phones]\nexten => _X.,1,Dial(SIP/x)\n", settings)[0].what


@given(st.text(min_size=1))
def test_any_text_is_judged_without_raising(text):
    assert judge(text)  # at least that contexts are missing


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=30))
def test_no_cut_goes_unnoticed(place, length):
    place %= len(WHOLE)
    assert check(WHOLE[:place] + WHOLE[place + length :], SETTINGS)
