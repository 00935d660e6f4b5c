"""Settings to the generated dialplan: one text, the same for the same settings."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2

from fraudguard import __version__
from fraudguard.config import Numbering, Settings, Trunk
from fraudguard.dialplan import names
from fraudguard.errors import ConfigError
from fraudguard.house import House, build_house
from fraudguard.numbering import Normaliser
from fraudguard.numbering.patterns import FencePlan, fence_plan
from fraudguard.policy import DEFAULT_TENANT

TEMPLATE = "fraudguard.conf.j2"

EMERGENCY_LEASE_SECONDS = 86_400
"""A day, for emergency calls that met the guard after all: S() must hold a number, and no such call is longer."""

LONGEST_REPORTED = 64
"""Characters of an odd dialled string that are reported to the guard; three times that when percent-encoded."""

# Any string that begins with a printable ASCII character, but not a single letter: h, i, t and their like are
# Asterisk's own extensions and must not be swallowed. Strings that begin otherwise match nothing and get a 404.
# '_.' would match them too, but Asterisk warns of it at every reload, and rightly.
ANYTHING = ("_[!-~].", "_[!-@]")

# The last net below the checks of each value: nothing that ends a line, starts a comment or a second destination.
_SAFE = re.compile(r"[A-Za-z0-9_+*#@/.:,(){}$\[\]!~-]*", re.ASCII)

_HEADER = re.compile(r"; fraudguard dialplan (?P<version>[0-9A-Za-z.+-]+) sha256=(?P<digest>[0-9a-f]{64})\n")


@dataclass(frozen=True, slots=True)
class _Trunk:
    """What the template needs of a trunk."""

    name: str
    settings: Trunk

    @property
    def out(self) -> str:
        return names.CONTEXT_OUT.format(trunk=self.name)

    @property
    def emergency(self) -> str:
        return names.CONTEXT_EMERGENCY.format(trunk=self.name)

    @property
    def guarded(self) -> str:
        return names.CONTEXT_GUARDED.format(trunk=self.name)

    @property
    def number(self) -> str:
        """The allowed number in the form this carrier takes."""
        number = f"${{{names.NUMBER}}}"
        return number if self.settings.number_format == "+e164" else f"${{FILTER(0-9,{number})}}"

    def dial(self, number: str) -> str:
        """Dial()'s first argument."""
        return self.settings.dial.replace("{trunk}", self.name).replace("{number}", number)


@dataclass(frozen=True, slots=True)
class _Emergency:
    """One way to dial an emergency number, and the code the carrier is given."""

    dialled: str
    code: str


@dataclass(frozen=True, slots=True)
class _Fence:
    """The fence of all tenants that dial alike. The first is that of [numbering] and of unknown tenants."""

    plan: FencePlan
    tenants: tuple[str, ...]
    dialled: str
    rewrite: str
    number: str
    deny: str
    allow: str


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a rendered file: who wrote it, and the digest of all that follows."""

    version: str
    digest: str


def render(settings: Settings) -> str:
    """Write the dialplan of these settings. Raises ConfigError where no safe dialplan can be made of them."""
    if not settings.trunks:
        raise ConfigError("no trunk is configured", where=str(settings.path), fix="add a [trunks.NAME] section")
    _refuse_alike(settings)
    house = build_house(settings)
    own = settings.dialplan
    body = (
        environment()
        .get_template(TEMPLATE)
        .render(
            n=names,
            anything=ANYTHING,
            trunks=[_Trunk(name, trunk) for name, trunk in sorted(settings.trunks.items())],
            emergencies=_emergencies(house),
            fences=_fences(settings, house),
            default_tenant=DEFAULT_TENANT,
            guard=own.guard,
            asterisk=own.asterisk,
            ring_seconds=own.ring_seconds,
            fence_lease=own.fence_lease_seconds,
            emergency_lease=EMERGENCY_LEASE_SECONDS,
            longest=LONGEST_REPORTED,
            nowhere=own.nowhere,
            announcement=own.announcement,
            silence_seconds=own.silence_seconds,
        )
    )
    return f"; fraudguard dialplan {__version__} sha256={digest(body)}\n{body}"


def split_header(text: str) -> tuple[Header, str] | None:
    """Return a rendered file's header and body, or None when fraudguard did not write it."""
    found = _HEADER.match(text)
    return None if found is None else (Header(found["version"], found["digest"]), text[found.end() :])


def digest(body: str) -> str:
    """Return what the header says of a body that nobody touched."""
    return hashlib.sha256(body.encode("utf-8", "surrogateescape")).hexdigest()


@cache  # with the templates compiled: that is most of the time of a rendering
def environment(held: Callable[[Any], Any] | None = None) -> jinja2.Environment:
    """Return what reads the templates. Each value goes through `held`, which refuses what must not be written."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("fraudguard.dialplan"),
        variable_start_string="<<",
        variable_end_string=">>",
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - escaping for HTML would be wrong here: _held refuses instead
        finalize=held or _held,
    )


def _held(value: Any) -> Any:
    """Let a value into the file, or refuse: nothing that Asterisk reads otherwise than it was meant."""
    if not _SAFE.fullmatch(str(value)):
        raise ConfigError(f"{str(value)[:80]!r} cannot stand in a dialplan", fix="use letters, digits, '_' and '-'")
    return value


def _refuse_alike(settings: Settings) -> None:
    """Asterisk looks some names up without regard to case: two trunks must differ in more than that."""
    seen: dict[str, str] = {}
    for name in sorted(settings.trunks):
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise ConfigError(
                f"trunks {other!r} and {name!r} differ only in case", where=str(settings.path), fix="rename one"
            )


def _emergencies(house: House) -> list[_Emergency]:
    """Every emergency number of every tenant, with and without its outside-line prefix."""
    normalisers = _normalisers(house)
    codes = {code for normaliser in normalisers for code in normaliser.emergency_numbers}
    dialled = {code: code for code in codes}
    for normaliser in normalisers:
        for code in normaliser.emergency_numbers:
            dialled.setdefault(normaliser.plan.outside_line + code, code)
    return [_Emergency(text, code) for text, code in sorted(dialled.items())]


def _normalisers(house: House) -> Iterable[Normaliser]:
    return [tenancy.normaliser for tenancy in (house.fallback, *house.tenancies.values())]


def _fences(settings: Settings, house: House) -> list[_Fence]:
    """One fence for each way of dialling, so that a thousand tenants of one country share theirs."""
    alike: dict[str, list[str]] = {_plan_key(settings.numbering): []}
    normalisers = {_plan_key(settings.numbering): house.fallback.normaliser}
    for tenant in sorted(settings.tenants):
        key = _plan_key(settings.numbering_of(tenant))
        alike.setdefault(key, []).append(tenant)
        normalisers.setdefault(key, house.tenancies[tenant].normaliser)
    first, *others = alike
    # tenants that dial as [numbering] does need no line of their own
    groups = [(first, ()), *((key, tuple(alike[key])) for key in others)]
    return [_fence(place, normalisers[key], tenants) for place, (key, tenants) in enumerate(groups, start=1)]


def _fence(place: int, normaliser: Normaliser, tenants: tuple[str, ...]) -> _Fence:
    contexts = {stage: names.CONTEXT_FENCE_STAGE.format(plan=place, stage=stage) for stage in names.FENCE_STAGES}
    return _Fence(plan=fence_plan(normaliser), tenants=tenants, **contexts)


def _plan_key(numbering: Numbering) -> str:
    """What makes two ways of dialling the same: all but the price of service codes, which no fence lets through."""
    return numbering.model_dump_json(exclude={"service_codes"}) + ",".join(sorted(numbering.service_codes))
