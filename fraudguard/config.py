"""Settings: fraudguard.toml, overridden by FRAUDGUARD_* environment variables. Unknown keys are errors."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator
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
    if variable in os.environ:
        return f"{key}: {problem['msg']} (found {os.environ[variable]!r} in ${variable}, which outranks this file)"
    if problem["type"] != "extra_forbidden":
        return f"{key}: {problem['msg']} (found {problem.get('input')!r})"
    near = difflib.get_close_matches(place[-1], _known_keys(place[:-1]), n=1)
    hint = (
        f"did you mean {'.'.join([*place[:-1], near[0]])}?" if near else f"known: {', '.join(_known_keys(place[:-1]))}"
    )
    return f"{key}: unknown key ({hint})"


def _known_keys(place: list[str]) -> list[str]:
    section: Any = Settings
    for part in place:
        # below tenants and trunks comes a free name, then the keys of that section
        if (inner := {"tenants": Tenant, "trunks": Trunk}.get(part)) is not None:
            section = inner
        elif section is Settings and part in Settings.model_fields:
            section = Settings.model_fields[part].annotation
    return sorted(section.model_fields)
