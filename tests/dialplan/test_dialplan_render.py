"""What the rendered text holds. How Asterisk obeys it is proven in tests/asterisk."""

import re
from pathlib import Path

import pytest

from fraudguard import config
from fraudguard.config import DialplanSettings, Trunk
from fraudguard.dialplan import names
from fraudguard.dialplan.parse import parse
from fraudguard.dialplan.render import render, split_header
from fraudguard.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "dialplan" / "example" / "fraudguard.toml"


def contexts_of(settings):
    return parse(render(settings)).contexts


def test_the_example_is_what_the_renderer_writes():
    rendered = split_header(render(config.load(EXAMPLE)))
    kept = split_header(EXAMPLE.with_suffix(".conf").read_text())
    assert kept is not None
    assert rendered is not None
    assert kept[1] == rendered[1], "render dialplan/example/fraudguard.conf anew: fraudguard dialplan render"


def test_the_same_settings_give_the_same_text(settings, make_settings):
    assert render(settings) == render(make_settings())


def test_the_file_offers_the_contexts_of_the_contract(settings):
    contexts = contexts_of(settings)
    for name in (names.CONTEXT_GUARD, names.CONTEXT_FENCE, names.CONTEXT_NOWHERE):
        assert name in contexts
    for trunk in settings.trunks:
        assert names.CONTEXT_OUT.format(trunk=trunk) in contexts
        assert names.CONTEXT_EMERGENCY.format(trunk=trunk) in contexts


def test_emergency_numbers_of_all_tenants_with_and_without_outside_line(make_settings):
    settings = make_settings(tenants={"acme": {"home": "AU", "outside_line": "0"}})
    extensions = contexts_of(settings)["fraudguard-emergency-carrier"].extensions
    dialled = {extension.pattern: str(extension.steps[0]) for extension in extensions}
    for code in ("911", "112", "000"):
        assert dialled[code] == f"Dial(PJSIP/{code}@carrier)"
    assert dialled["9911"] == "Dial(PJSIP/911@carrier)"
    assert dialled["0000"] == "Dial(PJSIP/000@carrier)"
    assert all(pattern.isdecimal() for pattern in dialled)


def test_a_bare_emergency_number_is_never_read_as_another_with_a_prefix(make_settings):
    settings = make_settings(
        numbering={"home": "US", "outside_line": "9", "emergency_numbers": ["11", "911"]}, tenants={}
    )
    extensions = contexts_of(settings)["fraudguard-emergency-carrier"].extensions
    assert {extension.pattern: str(extension.steps[0]) for extension in extensions}["911"] == "Dial(PJSIP/911@carrier)"


def test_the_number_is_dialled_in_the_carriers_format(settings):
    dials = {
        trunk: next(
            str(step)
            for step in contexts_of(settings)[f"fraudguard-guarded-{trunk}"].steps()
            if step.application == "Dial"
        )
        for trunk in settings.trunks
    }
    assert dials == {
        "carrier": "Dial(PJSIP/${FRAUDGUARD_NUMBER}@carrier,60,S(${FRAUDGUARD_LEASE}))",
        "second": "Dial(PJSIP/${FILTER(0-9,${FRAUDGUARD_NUMBER})}@second,60,S(${FRAUDGUARD_LEASE}))",
    }


def test_tenants_that_dial_alike_share_a_fence(make_settings):
    tenants = {
        "one": {"home": "GB", "outside_line": "", "area_code": ""},
        "two": {"home": "GB", "outside_line": "", "area_code": ""},
        "like-home": {},
        "priced": {"service_codes": {"411": "1.00"}},
        "priced-otherwise": {"service_codes": {"411": "2.00"}},
    }
    contexts = contexts_of(make_settings(tenants=tenants))
    plans = {name.split("-")[2] for name in contexts if name.endswith("-allow")}
    assert plans == {"1", "2", "3"}
    choices = [str(step) for step in contexts[names.CONTEXT_FENCE].steps()]
    assert sum('"one"' in choice for choice in choices) == 1
    assert (
        next(choice for choice in choices if '"one"' in choice).split("?")[1]
        == (next(choice for choice in choices if '"two"' in choice).split("?")[1])
    )
    assert not any("like-home" in choice for choice in choices)
    assert choices[-1] == "Goto(fraudguard-fence-1-dialled,${EXTEN},1)"


def test_no_context_has_more_patterns_than_asterisk_loads_in_a_moment(make_settings):
    tenants = {home: {"home": home, "outside_line": "0"} for home in ("DE", "IT", "AT", "BR", "IN")}
    contexts = contexts_of(make_settings(tenants=tenants))
    assert max(len(context.extensions) for context in contexts.values()) < 5000


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"nowhere": "congestion"}, "Congestion(10)"),
        ({"nowhere": "announcement", "announcement": "custom/no-calls"}, "Progress()"),
        ({"nowhere": "silence", "silence_seconds": 20}, "Ringing()"),
    ],
)
def test_the_way_to_nowhere_is_chosen(make_settings, options, first):
    (extension,) = contexts_of(make_settings(dialplan=options))[names.CONTEXT_NOWHERE].extensions
    assert str(extension.steps[0]) == first
    assert str(extension.steps[-1]) == "Hangup(21)"
    assert "20" in str(extension.steps[1]) or options["nowhere"] != "silence"


def test_every_variable_of_the_answer_is_cleared_right_before_the_question(settings):
    steps = [str(step) for step in contexts_of(settings)[names.CONTEXT_DECIDE].steps()]
    asked = next(place for place, step in enumerate(steps) if step.startswith("AGI("))
    assert steps[asked - len(names.ANSWER) : asked] == [f"Set({name}=)" for name in names.ANSWER]


def test_the_question_has_the_arguments_of_the_contract(settings):
    (question,) = [step for step in contexts_of(settings)[names.CONTEXT_DECIDE].steps() if step.application == "AGI"]
    assert question.argument.startswith("agi://127.0.0.1:4573/outbound,")
    assert set(re.findall(r",([a-z]+)=", question.argument)) == names.ARGUMENTS


def test_names_of_the_file_are_only_those_of_the_names_module(settings):
    used = set(re.findall(r"FRAUDGUARD_[A-Z]+", render(settings)))
    assert used == {*names.ANSWER, *names.LOCALS, names.TENANT}


def test_without_a_trunk_there_is_nothing_to_render(make_settings):
    with pytest.raises(ConfigError, match=r"fraudguard\.toml: no trunk is configured \(add a \[trunks\.NAME\]"):
        render(make_settings(trunks={}))


def test_trunks_that_differ_in_case_only_are_refused(make_settings):
    with pytest.raises(ConfigError, match="trunks 'Carrier' and 'carrier' differ only in case"):
        render(make_settings(trunks={"carrier": {"deck": "a"}, "Carrier": {"deck": "a"}}))


HOSTILE = ["a\nexten => 1,1,Dial(SIP/x)", "a;b", "a&SIP/b", "a|b", 'a"b', "a b", "a\\b", "ä"]


@pytest.mark.parametrize("value", HOSTILE)
def test_no_value_gets_past_the_last_net(settings, value):
    """Values that slipped past the configuration's own checks, as a later option might."""
    trunk = settings.model_copy(update={"trunks": {"carrier": Trunk.model_construct(deck="a", dial=value)}})
    with pytest.raises(ConfigError, match="cannot stand in a dialplan"):
        render(trunk)
    guard = DialplanSettings().model_copy(update={"guard": value})
    with pytest.raises(ConfigError, match="cannot stand in a dialplan"):
        render(settings.model_copy(update={"dialplan": guard}))
