"""Settings: fraudguard.toml, overridden by FRAUDGUARD_* environment variables. Unknown keys are errors."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
import types
import typing
import zoneinfo
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from fraudguard.errors import ConfigError

CONFIG_NAME = "fraudguard.toml"
ENV_PREFIX = "FRAUDGUARD_"

NAME_PATTERN = r"^[A-Za-z0-9_-]{1,40}$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A trunk, tenant or deck name: it becomes part of Asterisk contexts and AGI arguments, so no punctuation."""

Region = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
"""ISO 3166-1 alpha-2."""

Digits = Annotated[str, Field(pattern=r"^[0-9]*$", max_length=15)]
Prefix = Annotated[str, Field(pattern=r"^[0-9]{1,15}$")]
Code = Annotated[str, Field(pattern=r"^[0-9]{2,6}$")]
Price = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?$")]

_PRIVATE_KEYS = frozenset({"secret", "url"})
"""Keys whose values are never shown: the address of a webhook is often all that is needed to use it."""

_NOT_A_SECTION = frozenset({"dict_type", "model_type", "model_attributes_type"})
"""Pydantic's words for a value where a section was expected: what was written there may be its secret."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Numbering(_Section):
    """How a tenant's phones dial. Every field of a tenant's section overrides the one in [numbering]."""

    home: Region = "US"
    outside_line: Digits = ""
    area_code: Digits = ""
    domestic_regions: tuple[Region, ...] = ()  # regions beside home that count as domestic
    emergency_numbers: tuple[Code, ...] = ()  # beside those that phonenumbers knows for the home region
    service_codes: dict[Code, Price] = {}  # short code -> price per minute; codes not listed have no rate
    premium_prefixes: tuple[Prefix, ...] = ()  # E.164 digits treated as premium beside the known ones
    satellite_prefixes: tuple[Prefix, ...] = ()


class Tenant(_Section):
    """One customer: what differs from [numbering]. None means: as there."""

    home: Region | None = None
    outside_line: Digits | None = None
    area_code: Digits | None = None
    domestic_regions: tuple[Region, ...] | None = None
    emergency_numbers: tuple[Code, ...] | None = None
    service_codes: dict[Code, Price] | None = None
    premium_prefixes: tuple[Prefix, ...] | None = None
    satellite_prefixes: tuple[Prefix, ...] | None = None


class Trunk(_Section):
    """An outbound endpoint. `dial` is the first part of Dial()'s argument; {number} stands for the number."""

    deck: Name
    dial: str = "PJSIP/{number}@{trunk}"
    number_format: Literal["+e164", "e164"] = "+e164"
    channel: str | None = Field(default=None, pattern=r"^[A-Za-z0-9]+/[A-Za-z0-9_.+@:/-]{1,80}$")  # None: from `dial`
    police: Literal["enforce", "report"] = "enforce"  # what happens to a call on this trunk that met no guard

    @field_validator("dial")
    @classmethod
    def _dial_is_one_destination(cls, value: str) -> str:
        # A comma would start Dial's next argument and '&' a second destination: both would leave the lease behind.
        rest = value.replace("{number}", "", 1).replace("{trunk}", "")
        if value.count("{number}") != 1 or not re.fullmatch(r"[A-Za-z0-9_/@.:+-]+", rest):
            raise ValueError('must hold {number} once and one destination, such as "PJSIP/{number}@{trunk}"')
        return value


class Store(_Section):
    """Where the database is; a relative path is taken from the configuration file's folder."""

    path: Path = Path("fraudguard.db")


class Agi(_Section):
    """The FastAGI server."""

    host: str = "127.0.0.1"
    port: int = Field(default=4573, ge=0, le=65535)
    allow: tuple[str, ...] = ("127.0.0.0/8", "::1/128")  # networks that may connect
    deadline_seconds: float = Field(default=2.0, gt=0, le=30)  # a request's own deadline
    sessions: int = Field(default=10_000, ge=1)  # at once; more are turned away with a failure line

    @field_validator("allow")
    @classmethod
    def _allow_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            ipaddress.ip_network(text, strict=False)  # its ValueError says which text is none, and why
        return value


class Policy(_Section):
    """What the verdict is made with beside the operators' edits."""

    lease_seconds: int = Field(default=7200, ge=30, le=86_400)  # the longest an allowed call may live
    shadow: tuple[Literal["blocked", "no_rate", "over_limit"], ...] = ()  # rules that only simulate


class DialplanSettings(_Section):
    """What the generated dialplan contains beside the trunks."""

    guard: str = Field(default="127.0.0.1:4573", pattern=r"^[A-Za-z0-9.-]+:[0-9]{1,5}$")  # as Asterisk reaches it
    asterisk: Name = "asterisk"  # this server's name in verdicts
    nowhere: Literal["congestion", "announcement", "silence"] = "congestion"
    announcement: str = Field(default="ss-noservice", pattern=r"^[A-Za-z0-9_/-]{1,80}$")
    silence_seconds: int = Field(default=30, ge=1, le=300)
    fence_lease_seconds: int = Field(default=3600, ge=30, le=86_400)
    ring_seconds: int = Field(default=60, ge=5, le=600)


class Ami(_Section):
    """The manager interface of one Asterisk; the section's name is that of its [dialplan] asterisk key.

    The secret comes from `secret_file` (relative to the configuration file) or FRAUDGUARD_AMI__NAME__SECRET.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=5038, ge=1, le=65535)
    username: str = Field(default="fraudguard", pattern=r"^[A-Za-z0-9_.-]{1,80}$")
    secret: SecretStr | None = None
    secret_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None  # who vouches for its certificate; None: the system's authorities
    queue: int = Field(default=20_000, ge=100)  # events waiting at once; beyond that they are dropped and resynced

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if (self.secret is None) == (self.secret_file is None):
            raise ValueError("needs a secret: either secret_file, or the environment variable")
        return self


Severity = Literal["notice", "warning", "critical"]


class LogChannel(_Section):
    """Alerts as lines of the service's own log."""

    type: Literal["log"]


class SmtpChannel(_Section):
    """Alerts by mail."""

    type: Literal["smtp"]
    host: str
    port: int = Field(default=587, ge=1, le=65535)
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    sender: str
    recipients: tuple[str, ...] = Field(min_length=1)


class WebhookChannel(_Section):
    """Alerts as JSON to an HTTP server, signed with HMAC-SHA256 when there is a secret."""

    type: Literal["webhook"]
    url: str | None = Field(default=None, pattern=r"^https?://")
    url_file: Path | None = None  # instead of `url`, where the address itself is a secret
    secret_file: Path | None = None
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _one_url(self) -> Self:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("needs an address: either url, or url_file where the address is a secret")
        return self


class CommandChannel(_Section):
    """Alerts as JSON on the standard input of a program. No shell is involved."""

    type: Literal["command"]
    argv: tuple[str, ...] = Field(min_length=1)
    timeout_seconds: float = Field(default=10, gt=0, le=300)


class AppriseChannel(_Section):
    """Alerts by apprise (an extra): the file holds one apprise URL a line, because such URLs hold tokens."""

    type: Literal["apprise"]
    urls_file: Path


Channel = Annotated[
    LogChannel | SmtpChannel | WebhookChannel | CommandChannel | AppriseChannel, Field(discriminator="type")
]


class Route(_Section):
    """Which alerts go to which channels. Empty tenants or kinds: all of them."""

    channels: tuple[Name, ...] = Field(min_length=1)
    tenants: tuple[Name, ...] = ()
    kinds: tuple[str, ...] = ()
    severity: Severity = "notice"  # and those above it


class QuietHours(_Section):
    """When alerts of low severity wait until it is morning. Critical ones never wait."""

    begin: str = Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
    end: str = Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
    zone: str = "UTC"
    severity: Literal["notice", "warning"] = "notice"  # these, and those below, wait

    @field_validator("zone")
    @classmethod
    def _zone_is_known(cls, value: str) -> str:
        known = zoneinfo.available_timezones()
        if value not in known:
            near = difflib.get_close_matches(value, known, n=1)
            raise ValueError(f"no such time zone ({f'did you mean {near[0]}?' if near else 'such as Europe/Berlin'})")
        return value

    @model_validator(mode="after")
    def _end_somewhere(self) -> Self:
        if self.begin == self.end:
            raise ValueError("begin and end are the same: leave [alerts.quiet] out, or give it an end")
        return self


class Alerts(_Section):
    """Where alerts are delivered. Without a channel they go to the log."""

    channels: dict[Name, Channel] = {}
    routes: tuple[Route, ...] = ()  # none: every alert to every channel
    quiet: QuietHours | None = None
    repeat_minutes: int = Field(default=3, ge=1, le=1440)  # repeats of an alert are counted, and told this often
    expire_hours: int = Field(default=24, ge=1, le=168)  # what cannot be delivered for so long is given up


class Security(_Section):
    """When failed logins become an alert."""

    failures: int = Field(default=5, ge=1)  # of one source address ...
    window_minutes: int = Field(default=10, ge=1, le=1440)  # ... within so long
    report_new_sources: bool = True  # an account used from an address that it never used before


class Http(_Section):
    """/metrics for Prometheus and /healthz for whoever watches the service."""

    host: str = "127.0.0.1"
    port: int = Field(default=9473, ge=0, le=65535)
    enabled: bool = True


class Retention(_Section):
    """How long records are kept; 0 keeps them for good. Open alerts and live calls are never dropped."""

    attempts_days: int = Field(default=400, ge=0)
    calls_days: int = Field(default=400, ge=0)
    alerts_days: int = Field(default=400, ge=0)
    sources_days: int = Field(default=400, ge=0)


class Log(_Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class Settings(BaseSettings):
    """The whole of fraudguard.toml."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=ENV_PREFIX, env_nested_delimiter="__")

    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    numbering: Numbering = Numbering()
    tenants: dict[Name, Tenant] = {}
    trunks: dict[Name, Trunk] = {}
    store: Store = Store()
    agi: Agi = Agi()
    policy: Policy = Policy()
    dialplan: DialplanSettings = DialplanSettings()
    ami: dict[Name, Ami] = {}
    alerts: Alerts = Alerts()
    security: Security = Security()
    http: Http = Http()
    retention: Retention = Retention()
    log: Log = Log()
    _path: Path = PrivateAttr(default=Path(CONFIG_NAME))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  (the signature is pydantic's)
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The environment outranks the file, which arrives as init arguments (see load).
        return env_settings, init_settings

    @property
    def path(self) -> Path:
        """The file these settings were read from."""
        return self._path

    @property
    def database(self) -> Path:
        """The database's path, taken from the configuration file's folder."""
        return (self.path.parent / self.store.path).absolute()

    def numbering_of(self, tenant: str) -> Numbering:
        """Return the numbering of a tenant: its own section over [numbering]. Unknown tenants get [numbering]."""
        override = self.tenants.get(tenant)
        if override is None:
            return self.numbering
        return self.numbering.model_copy(update=override.model_dump(exclude_none=True))


def load(path: Path) -> Settings:
    """Read and check the configuration file. Raises ConfigError naming every wrong key and the nearest right one."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(
            "no such file", where=str(path), fix="run 'fraudguard init' or name it with --config"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not valid TOML: {error}", where=str(path)) from None
    try:
        settings = Settings(**values)
    except ValidationError as error:
        complaints = [_complaint(problem) for problem in error.errors()]
        raise ConfigError("\n  ".join(complaints), where=str(path)) from None
    except SettingsError as error:  # a variable whose value should be JSON
        raise ConfigError(str(error), where=f"${ENV_PREFIX}*", fix="give JSON, or set single keys") from None
    settings._path = path  # noqa: SLF001  (ours; private so that no key and no variable can set it)
    return settings


def locate(explicit: Path | None) -> Path:
    """Return the configuration file to use: as given, or $FRAUDGUARD_CONFIG, or fraudguard.toml here."""
    return explicit or Path(os.environ.get("FRAUDGUARD_CONFIG") or CONFIG_NAME)


def _complaint(problem: Any) -> str:
    place = [str(part) for part in problem["loc"]]
    key = ".".join(place)
    variable = f"{ENV_PREFIX}{'__'.join(place)}".upper()
    found = _found(place[-1] if place else "", problem)
    if variable in os.environ:
        return f"{key}: {problem['msg']} (found {found or 'it'} in ${variable}, which outranks this file)"
    if problem["type"] != "extra_forbidden":
        return f"{key}: {problem['msg']}{f' (found {found})' if found else ''}"
    near = difflib.get_close_matches(place[-1], _known_keys(place[:-1]), n=1)
    hint = (
        f"did you mean {'.'.join([*place[:-1], near[0]])}?" if near else f"known: {', '.join(_known_keys(place[:-1]))}"
    )
    return f"{key}: unknown key ({hint})"


def _found(key: str, problem: Any) -> str:
    """Return what stood there, '' where that may be a secret or hold one: this goes to terminals and logs."""
    value = problem.get("input")
    hidden = key in _PRIVATE_KEYS or problem["type"] in _NOT_A_SECTION or not isinstance(value, str | int | float)
    return "" if hidden else repr(value)


def _known_keys(place: list[str]) -> list[str]:
    """Return the keys of the section at `place`, which may hold free names, list positions and a channel's type."""
    section: Any = Settings
    for part in place:
        section = _below(section, part)
    return sorted(section.model_fields)


def _below(section: Any, part: str) -> Any:
    while typing.get_origin(section) is Annotated:
        section = typing.get_args(section)[0]
    if isinstance(section, type) and issubclass(section, BaseModel):
        return _only(section.model_fields[part].annotation)
    if typing.get_origin(section) is types.UnionType:  # of channels; `part` is a type
        return next(
            one for one in typing.get_args(section) if part in typing.get_args(one.model_fields["type"].annotation)
        )
    return typing.get_args(section)[1 if typing.get_origin(section) is dict else 0]


def _only(annotation: Any) -> Any:
    """Return what an optional section is when it is there."""
    present = [one for one in typing.get_args(annotation) if one is not types.NoneType]
    return present[0] if typing.get_origin(annotation) is types.UnionType and len(present) == 1 else annotation
