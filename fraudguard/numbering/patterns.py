"""What the fence needs: a home plan as Asterisk patterns, for the time when the guard does not answer.

A dialled string takes three steps, each a context of its own, because Asterisk picks the most specific
pattern of a context and not the first:

1. `rewrites`: the one that matches strips and prepends, which leaves E.164 digits; no match: refused.
2. `deny`: a match is refused (premium numbers inside ranges that are otherwise allowed).
3. `allow`: a match goes; no match: refused.

Whatever passes all three is DOMESTIC or TOLL_FREE to the Normaliser of the same plan, with the same digits.
The patterns are computed, not guessed: sets of dialled strings, as boxes of digits, are taken through the
Normaliser's own decisions and split wherever two strings would fare differently, so no two rewrites
disagree about a string. What cannot be told from patterns is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fraudguard.numbering.digitsets import (
    ANY,
    Box,
    asterisk,
    boxes_of,
    first_string,
    hulls,
    intersect,
    literal,
    merged,
    share,
    starts_with,
    subtract_all,
)
from fraudguard.numbering.normaliser import MAX_DIGITS, MIN_DIGITS, NANP, PREMIUM_EXCHANGE, Normaliser
from fraudguard.numbering.table import CallingCode, Region, Tariff, short_codes

MAX_PATTERNS = 4000
"""Patterns per context. Measured on Asterisk 22: reloading 5,000 takes 0.5 s of CPU, 20,000 take 8 s."""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One way of dialling: strings that match `pattern` lose `strip` characters in front, then gain `prepend`."""

    pattern: str
    strip: int
    prepend: str


@dataclass(frozen=True, slots=True)
class FencePlan:
    """The fence of one home plan: Asterisk patterns without the leading underscore, in the order of the steps.

    `deny` and `allow` are over E.164 digits without plus. `coverage` is the share of computed patterns that
    stayed within the limit: 1.0 where nothing had to be dropped.
    """

    rewrites: tuple[Rewrite, ...]
    deny: tuple[str, ...]
    allow: tuple[str, ...]
    coverage: float


def fence_plan(normaliser: Normaliser, max_patterns: int = MAX_PATTERNS) -> FencePlan:
    """Return the fence of the normaliser's plan, at most `max_patterns` patterns in each context. Pure."""
    targets = [target for code in normaliser.codes.values() if (target := _target(normaliser, code)).allow]
    allow = [box for target in targets for box in target.allow]
    deny = [box for target in targets for box in target.deny]
    plus = [(Rewrite("+" + asterisk(box), 1, ""), 1.0) for target in targets for box in target.hulls]
    dialled = [
        (Rewrite(asterisk(box), strip, prepend), share(box))
        for (strip, prepend), boxes in _Dialling(normaliser, targets).forms().items()
        for box in merged(boxes)
    ]
    rewrites = sorted(plus + dialled, key=lambda ranked: -ranked[1])[:max_patterns]
    # A deny list cut short would let premium numbers through, so it takes everything with it.
    allowed = sorted(allow, key=share, reverse=True)[: max_patterns if len(deny) <= max_patterns else 0]
    return FencePlan(
        rewrites=tuple(sorted((rewrite for rewrite, _share in rewrites), key=lambda rewrite: rewrite.pattern)),
        deny=tuple(map(asterisk, deny[:max_patterns])),
        allow=tuple(sorted(map(asterisk, allowed))),
        coverage=(len(rewrites) + len(allowed)) / (len(plus) + len(dialled) + len(allow)),
    )


@dataclass(frozen=True, slots=True)
class _Target:
    """E.164 numbers of one calling code: those that may go, those among them that may not, and where they lie.

    `hulls` has one box per length, the smallest around the allowed numbers of that length.
    """

    code: str
    allow: list[Box]
    deny: list[Box]
    hulls: list[Box]


def _target(normaliser: Normaliser, code: CallingCode) -> _Target:
    """Ask the regions of a code in the order of CallingCode.classify, and collect what is domestic."""
    allow: list[Box] = []
    deny: list[Box] = []
    taken: list[Box] = []  # numbers that a region asked earlier has answered for
    asked = [(region, region.leading_digits) for region in code.regions]
    if code.own is not None:
        asked.insert(0, (code.own, None))
    while asked and asked[-1][0].code not in normaliser.domestic:
        asked.pop()  # nothing that may go comes after the last domestic region
    lengths = {length for region, _leading in asked for length in region.lengths}
    for region, leading in asked:
        claims = [box for length in lengths for box in _padded(leading or "", length)]
        valid = _valid(region, claims, (Tariff.ORDINARY, Tariff.TOLL_FREE))
        if region.code in normaliser.domestic:
            allow += subtract_all(valid, taken)
            deny += _valid(region, claims, (Tariff.PREMIUM,))
            taken += claims if leading else []
        else:
            taken += claims if leading else _valid(region, claims, tuple(Tariff))
    digits = literal(code.digits)
    allow = merged(digits + box for box in allow if MIN_DIGITS <= len(digits) + len(box) <= MAX_DIGITS)
    deny = [digits + box for box in deny] + _prefixes_denied(normaliser, code, allow)
    deny = merged(box for box in deny if any(intersect(box, good) for good in allow))
    return _Target(code.digits, allow, deny, hulls(allow))


def _valid(region: Region, claims: Sequence[Box], tariffs: tuple[Tariff, ...]) -> list[Box]:
    """Return the national numbers of these tariffs; the tables' order of types is left to the deny list."""
    boxes = [
        box
        for pattern, lengths, tariff in region.types
        if tariff in tariffs
        for box in boxes_of(pattern)
        if len(box) in lengths & region.lengths
    ]
    return merged(_within(_within(boxes, claims), boxes_of(region.general)))


def _within(boxes: Iterable[Box], others: Sequence[Box]) -> list[Box]:
    """Return what `boxes` and `others` have in common."""
    common: list[Box] = []
    for box in boxes:
        pieces = [both for other in others if (both := intersect(box, other))]
        common += [box] if box in pieces else pieces
    return common


def _prefixes_denied(normaliser: Normaliser, code: CallingCode, allow: Iterable[Box]) -> list[Box]:
    lengths = sorted({len(box) for box in allow})
    denied = [
        box
        for prefix in normaliser.premium + normaliser.satellite
        for length in lengths
        for box in _padded(prefix, length)
    ]
    if code.digits == NANP:
        denied += [
            _pad(literal(NANP) + (ANY,) * 3 + literal(PREMIUM_EXCHANGE), length) for length in lengths if length > 7
        ]
    return denied


def _padded(pattern: str, length: int) -> list[Box]:
    """Return the strings of `length` digits that begin as `pattern` says."""
    return [_pad(head, length) for head in boxes_of(pattern) if len(head) <= length]


class _Dialling:
    """Takes sets of dialled digits through the decisions of Normaliser.normalise, in the same order."""

    def __init__(self, normaliser: Normaliser, targets: Iterable[_Target]) -> None:
        plan, home = normaliser.plan, normaliser.home
        self._home = home
        self._area = plan.area_code
        self._outside = literal(plan.outside_line)
        self._targets = [box for target in targets for box in target.hulls]
        self._national = [
            box[len(home.calling_code) :]
            for target in targets
            if target.code == home.calling_code
            for box in target.hulls
        ]
        self._international = boxes_of(home.international_prefix)
        self._trunks = _trunk_boxes(home)
        self._general = boxes_of(home.general)
        self._local = _local_hulls(normaliser)
        short = short_codes(plan.home)
        self._short = [
            *map(literal, normaliser.emergency_numbers | plan.service_codes),
            *subtract_all(boxes_of(short.codes), boxes_of(short.messages)),
        ]

    def forms(self) -> dict[tuple[int, str], list[Box]]:
        """Return what may be dialled without a plus: (strip, prepend) -> the strings that it turns into E.164."""
        forms: dict[tuple[int, str], list[Box]] = defaultdict(list)
        for candidate in sorted(set(self._candidates())):
            for piece, strip, prepend in self._read(candidate):
                for target in self._targets:
                    reached = intersect(literal(prepend) + piece[strip:], target)
                    if reached is not None:
                        box = piece[:strip] + reached[len(prepend) :]
                        for dialled, outside in self._outside_line(subtract_all([box], self._short)):
                            forms[strip + outside, prepend].append(dialled)
        return forms

    def _candidates(self) -> Iterator[Box]:
        """Yield sets of strings worth reading: every way in which a target could have been dialled."""
        for prefix in self._international:
            yield from (prefix + target for target in self._targets)
        for trunk, _whole in self._trunks:
            if self._home.trunk_rewrite(first_string(trunk)) is not None:
                yield trunk
                yield from (trunk + national for national in self._national)
        yield from self._national
        yield from self._local

    def _outside_line(self, boxes: Iterable[Box]) -> Iterator[tuple[Box, int]]:
        """Yield the ways to dial `boxes` with and without the outside line, and the digits that adds."""
        for box in boxes:
            if not self._outside:
                yield box, 0
                continue
            for plain in subtract_all([box], [_pad(self._outside, len(box))]):
                yield plain, 0
            for outside in subtract_all([self._outside + box], self._short):
                yield outside, len(self._outside)

    def _read(self, box: Box) -> Iterator[tuple[Box, int, str]]:
        """Yield the parts of `box` that fare alike, with what is stripped and prepended to reach E.164."""
        left, national = [box], []
        for prefix in self._international:
            end = len(prefix)
            for piece in left:
                hit = starts_with(piece, prefix)
                if hit is None:
                    continue
                after = hit[end] if end < len(hit) else 1
                if after & ~1:
                    yield (*hit[:end], after & ~1, *hit[end + 1 :]), end, ""
                if after & 1:  # calling codes do not begin with 0, so this was no international prefix
                    national.append((*hit[:end], 1, *hit[end + 1 :])[: len(hit)])
            left = subtract_all(left, [_pad(prefix, len(box))])
        for piece in left + national:
            yield from self._read_national(piece)

    def _read_national(self, box: Box) -> Iterator[tuple[Box, int, str]]:
        home = self._home
        left = [box]
        if home.calling_code == NANP:
            left = subtract_all(left, [_pad(literal("101"), len(box))])
        if self._area:
            trunk = _pad(literal(home.national_prefix), len(box)) if home.national_prefix else ()
            short = subtract_all(left, [trunk])
            left = _within(left, [trunk])
            for local in self._local:
                yield from (
                    (hit, 0, home.calling_code + self._area) for piece in short if (hit := intersect(piece, local))
                )
            left += subtract_all(short, self._local)
        for trunk, whole in self._trunks:
            for piece in left:
                hit = intersect(piece, trunk) if whole else starts_with(piece, trunk)
                if hit is not None:
                    yield from self._without_trunk(hit)
            left = subtract_all(left, [trunk if whole else _pad(trunk, len(box))])
        yield from ((piece, 0, home.calling_code) for piece in left)

    def _without_trunk(self, box: Box) -> Iterator[tuple[Box, int, str]]:
        """Yield what becomes of strings that begin with the same trunk prefix."""
        home = self._home
        rewrite = home.trunk_rewrite(first_string(box))
        if rewrite is None:
            return
        strip, prepend = rewrite
        if rewrite == (0, "") or not home.possible(len(box) - strip + len(prepend)):
            yield box, 0, home.calling_code
            return
        for piece in subtract_all([box], self._general):
            yield piece, strip, home.calling_code + prepend
        # Strings that are a number as they stand stay whole where the rest is none; others are not told apart.
        for piece in _within([box], self._general):
            if not _within([literal(prepend) + piece[strip:]], self._general):
                yield piece, 0, home.calling_code


def _trunk_boxes(home: Region) -> list[tuple[Box, bool]]:
    """Return the trunk prefixes in the order in which they are tried, and whether one is the whole string."""
    whole, anchor, rest = home.trunk_prefix.rpartition("$")
    boxes = [(box, True) for box in boxes_of(whole)] if anchor else []
    return boxes + [(box, False) for box in boxes_of(rest.removeprefix("|"))]


def _local_hulls(normaliser: Normaliser) -> list[Box]:
    """Return boxes around the numbers that the area code completes, valid or premium, one per length."""
    area = literal(normaliser.plan.area_code)
    regions = (*normaliser.codes[normaliser.home.calling_code].regions, normaliser.home)
    return hulls(
        hit[len(area) :]
        for region in regions
        for pattern, _lengths, _tariff in region.types
        for box in boxes_of(pattern)
        if area and len(box) > len(area) and (hit := starts_with(box, area))
    )


def _pad(prefix: Box, length: int) -> Box:
    """Return the strings of `length` digits that begin with `prefix`; the prefix alone where it is longer."""
    return prefix + (ANY,) * (length - len(prefix))
