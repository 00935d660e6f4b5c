"""The fence, matched as Asterisk would, never lets out what the Normaliser would not call domestic."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudguard.numbering import HomePlan, Kind, Normaliser, Number
from fraudguard.numbering.digitsets import boxes_of, first_string
from fraudguard.numbering.patterns import MAX_PATTERNS, FencePlan, fence_plan

HOMES = sorted(phonenumbers.SUPPORTED_REGIONS)
MAIN_HOMES = [
    "US",
    "CA",
    "GB",
    "DE",
    "FR",
    "IT",
    "ES",
    "NL",
    "CH",
    "AT",
    "AU",
    "BR",
    "RU",
    "IN",
    "MX",
    "PL",
    "SE",
    "ZA",
]
MAY_GO = (Kind.DOMESTIC, Kind.TOLL_FREE)


def matcher(pattern: str) -> re.Pattern[str]:
    """Read an Asterisk pattern: X, Z, N, classes and plain characters."""
    classes = {"X": "[0-9]", "Z": "[1-9]", "N": "[2-9]", "+": r"\+"}
    return re.compile("".join(classes.get(character, character) for character in pattern))


def tokens(pattern: str) -> list[str]:
    """Return the characters that each place of an Asterisk pattern can hold."""
    classes = {"X": "0123456789", "Z": "123456789", "N": "23456789"}
    return [classes.get(token, token.strip("[]")) for token in re.findall(r"\[[0-9]+\]|.", pattern)]


class Fence:
    """The three contexts. A string that two rewrites would treat differently is an error of ours."""

    def __init__(self, plan: FencePlan) -> None:
        self.plan = plan
        self._rewrites = [(matcher(rewrite.pattern), rewrite) for rewrite in plan.rewrites]
        self._deny = [matcher(pattern) for pattern in plan.deny]
        self._allow = [matcher(pattern) for pattern in plan.allow]

    def passes(self, dialled: str) -> str | None:
        """Return the E.164 digits that go out, or None."""
        ways = {(way.strip, way.prepend) for pattern, way in self._rewrites if pattern.fullmatch(dialled)}
        assert len(ways) <= 1, f"{dialled} could be rewritten as {ways}"
        for strip, prepend in ways:
            digits = prepend + dialled[strip:]
            if not any(pattern.fullmatch(digits) for pattern in self._deny):
                return digits if any(pattern.fullmatch(digits) for pattern in self._allow) else None
        return None

    def invented(self, random: Random) -> Iterator[str]:
        """Yield strings that ought to pass: each rewrite undone for a number that is allowed."""
        for rewrite in self.plan.rewrites:
            for pattern in random.choices(self.plan.allow, k=8):
                digits = "".join(map(random.choice, tokens(pattern)))
                if digits.startswith(rewrite.prepend):
                    stripped = "".join(map(random.choice, tokens(rewrite.pattern)[: rewrite.strip]))
                    yield stripped + digits[len(rewrite.prepend) :]


def dialled_forms(random: Random, normaliser: Normaliser, national: str) -> list[str]:
    """Return the ways in which a national number of the home might be dialled."""
    home, plan = normaliser.home, normaliser.plan
    international = first_string(random.choice(boxes_of(home.international_prefix)))
    forms = [
        international + home.calling_code + national,
        home.national_prefix + national,
        national,
        national.removeprefix(plan.area_code),
        f"{random.randrange(10 ** random.randint(2, 14))}",
    ]
    forms += [plan.outside_line + form for form in forms]
    return ["+" + home.calling_code + national, *forms]


PLANS = st.builds(
    HomePlan,
    home=st.sampled_from(HOMES),
    outside_line=st.sampled_from(["", "", "0", "9", "81"]),
    area_code=st.sampled_from(["", "", "2", "11", "30", "212", "900"]),
    domestic_regions=st.frozensets(st.sampled_from([*HOMES, "CA", "PR", "GG", "VA", "KZ", "EH", "US"]), max_size=3),
    service_codes=st.sampled_from([frozenset(), frozenset({"155", "2222222"})]),
    premium_prefixes=st.sampled_from([(), ("1212", "4420", "4930", "3906", "5511")]),
)


@settings(max_examples=80)
@given(plan=PLANS, random=st.randoms(use_true_random=False))
def test_what_the_fence_lets_out_is_domestic(make_national, plan: HomePlan, random: Random) -> None:
    normaliser = Normaliser(plan)
    fence = Fence(fence_plan(normaliser))
    near = [normaliser.home, *normaliser.codes[normaliser.home.calling_code].regions[:4]]
    forms = [
        dialled for region in near * 3 for dialled in dialled_forms(random, normaliser, make_national(random, region))
    ]
    for dialled in [*forms, *fence.invented(random)]:
        digits = fence.passes(dialled)
        if digits is not None:
            number = normaliser.normalise(dialled)
            assert isinstance(number, Number), dialled
            assert (number.digits, number.kind in MAY_GO) == (digits, True), dialled


@pytest.mark.parametrize("home", MAIN_HOMES)
@pytest.mark.parametrize("outside_line", ["", "9"])
def test_the_fence_lets_out_what_is_dialled_at_home(make_national, home: str, outside_line: str) -> None:
    """Complete where people live: every generated domestic number in every common form passes."""
    normaliser = Normaliser(HomePlan(home, outside_line=outside_line))
    plan = fence_plan(normaliser)
    fence = Fence(plan)
    assert plan.coverage == 1.0
    random = Random(1)
    met = 0
    for _ in range(150):
        national = make_national(random, normaliser.home)
        for dialled in dialled_forms(random, normaliser, national):
            number = normaliser.normalise(dialled)
            # Not +44 (0)20: the Normaliser repairs it, the fence refuses it.
            whole = getattr(number, "digits", "") == normaliser.home.calling_code + national
            if isinstance(number, Number) and number.kind in MAY_GO and whole:
                met += 1
                assert fence.passes(dialled) == number.digits, dialled
    assert met > 100


@pytest.mark.parametrize(
    ("plan", "dialled", "digits"),
    [
        (HomePlan("US"), "2015550123", "12015550123"),
        (HomePlan("US"), "12015550123", "12015550123"),
        (HomePlan("US"), "+12015550123", "12015550123"),
        (HomePlan("US"), "18005551212", "18005551212"),
        (HomePlan("US"), "12019761234", None),
        (HomePlan("US"), "19005551212", None),
        (HomePlan("US"), "14165550123", None),
        (HomePlan("US", domestic_regions=frozenset({"CA"})), "14165550123", "14165550123"),
        (HomePlan("US"), "18765230123", None),
        (HomePlan("US"), "011442079460000", None),
        (HomePlan("US"), "10102882015550", None),
        (HomePlan("US"), "911", None),  # emergency has contexts of its own
        (HomePlan("US"), "411", None),
        (HomePlan("US"), "+80012345678", None),
        (HomePlan("US", outside_line="9", area_code="212"), "95550123", "12125550123"),
        (HomePlan("US", outside_line="9", area_code="212"), "5550123", "12125550123"),
        (HomePlan("US", outside_line="9"), "912015550123", "12015550123"),
        (HomePlan("US", outside_line="9"), "9172345678", None),  # 9 for outside, then too few
        (HomePlan("US", premium_prefixes=("1212",)), "12125550123", None),
        (HomePlan("US", satellite_prefixes=("1212555",)), "12125550123", None),
        (HomePlan("GB"), "02079460000", "442079460000"),
        (HomePlan("GB"), "07781123456", None),
        (HomePlan("GB"), "09012345678", None),
        (HomePlan("DE", outside_line="0", area_code="30"), "0030123456", "4930123456"),
        (HomePlan("DE", outside_line="0", area_code="30"), "0123456", "4930123456"),
        (HomePlan("DE"), "00499001234567", None),
        (HomePlan("IT"), "0612345678", "390612345678"),
        (HomePlan("IT"), "0669812345", None),  # the Vatican
        (HomePlan("IT"), "390612345678", None),
        (HomePlan("BR"), "01123456789", "551123456789"),
        (HomePlan("BR"), "0151123456789", "551123456789"),
        (HomePlan("RU"), "84951234567", "74951234567"),
        (HomePlan("RU"), "87172123456", None),
        (HomePlan("AR"), "0111523456789", None),  # the 15 in the middle: more than strip and prepend
        (HomePlan("BB"), "4161234", "12464161234"),
    ],
)
def test_forms_by_home(plan: HomePlan, dialled: str, digits: str | None) -> None:
    assert Fence(fence_plan(Normaliser(plan))).passes(dialled) == digits


@pytest.mark.parametrize("home", HOMES)
def test_every_fence_is_small_and_whole(home: str) -> None:
    plan = fence_plan(Normaliser(HomePlan(home, outside_line="9")))
    assert plan.coverage == 1.0
    assert 0 < len(plan.rewrites) <= MAX_PATTERNS
    assert 0 < len(plan.allow) <= MAX_PATTERNS
    assert len(plan.deny) <= 200


def test_a_limit_drops_patterns_towards_refusing() -> None:
    normaliser = Normaliser(HomePlan("DE"))
    whole, part = fence_plan(normaliser), fence_plan(normaliser, max_patterns=40)
    assert len(part.rewrites) == len(part.allow) == 40
    assert set(part.allow) < set(whole.allow)
    assert 0 < part.coverage < 1


def test_a_deny_list_cut_short_allows_nothing() -> None:
    normaliser = Normaliser(HomePlan("US", premium_prefixes=("1212", "1203555", "1205777")))
    assert len(fence_plan(normaliser).deny) > 2
    part = fence_plan(normaliser, max_patterns=2)
    assert part.allow == ()
