"""The whole of fraudguard.toml, read, checked, and overridden by the environment."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from pydantic import Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from fraudguard.config.complaints import complaint
from fraudguard.config.sections import (
    Agi,
    Alerts,
    Ami,
    DialplanSettings,
    Http,
    Log,
    Name,
    Numbering,
    Pins,
    PinSettings,
    Policy,
    Retention,
    Security,
    Speed,
    Store,
    StrictSettings,
    Tenant,
    Trunk,
    Zone,
)
from fraudguard.errors import ConfigError

CONFIG_NAME = "fraudguard.toml"
ENV_PREFIX = "FRAUDGUARD_"


class Settings(BaseSettings):
    """The whole of fraudguard.toml."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=ENV_PREFIX, env_nested_delimiter="__")

    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    zone: Zone = "UTC"  # whose days and hours count
    numbering: Numbering = Numbering()
    tenants: dict[Name, Tenant] = {}
    trunks: dict[Name, Trunk] = {}
    store: Store = Store()
    agi: Agi = Agi()
    policy: Policy = Policy()
    pin: Pins = Pins()
    strict: StrictSettings = StrictSettings()
    speed: Speed = Speed()
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
        own = override.model_dump(exclude_none=True, include=set(Numbering.model_fields))
        return self.numbering.model_copy(update=own)

    def pin_of(self, tenant: str) -> PinSettings:
        """Return how a tenant's callers are asked for a PIN: its own section over [pin]. Unknown tenants get [pin]."""
        override = self.tenants.get(tenant)
        if override is None:
            return self.pin
        return self.pin.model_copy(update={key: value for key, value in override.pin if value is not None})

    def strict_of(self, tenant: str) -> StrictSettings:
        """Return a tenant's stricter profile: its own section over [strict]. Unknown tenants get [strict].

        A subdivision is one of the region at home: a tenant with another home has none unless it names one.
        """
        override = self.tenants.get(tenant)
        if override is None:
            return self.strict
        own = {key: value for key, value in override.strict if value is not None}
        if override.home not in (None, self.numbering.home):
            own.setdefault("holidays_in", "")
        return self.strict.model_copy(update=own)

    def speed_of(self, tenant: str) -> Speed:
        """Return how fast a tenant may be: its own section over [speed]. Unknown tenants get [speed]."""
        override = self.tenants.get(tenant)
        if override is None:
            return self.speed
        return self.speed.model_copy(update={key: value for key, value in override.speed if value is not None})

    def wants_pins(self, tenant: str) -> bool:
        """Say whether any call of a tenant wants a PIN, be it only at strict times."""
        return bool(self.pin_of(tenant).ask or self.strict_of(tenant).ask)

    def zone_of(self, tenant: str) -> str:
        """Return the name of a tenant's time zone: its own, or that of the installation."""
        override = self.tenants.get(tenant)
        return self.zone if override is None or override.zone is None else override.zone

    def ami_of(self, name: str) -> Ami:
        """Return [ami.NAME], its certificate taken from the configuration file's folder, as every path in it."""
        ami = self.ami[name]
        return ami if ami.ca_file is None else ami.model_copy(update={"ca_file": self.path.parent / ami.ca_file})

    @property
    def pepper(self) -> Path:
        """The path of the pepper, taken from the configuration file's folder."""
        return (self.path.parent / self.pin.pepper_file).absolute()


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
        complaints = [complaint(problem, Settings) for problem in error.errors()]
        raise ConfigError("\n  ".join(complaints), where=str(path)) from None
    except SettingsError as error:  # a variable whose value should be JSON
        raise ConfigError(str(error), where=f"${ENV_PREFIX}*", fix="give JSON, or set single keys") from None
    settings._path = path  # noqa: SLF001  (ours; private so that no key and no variable can set it)
    return settings


def locate(explicit: Path | None) -> Path:
    """Return the configuration file to use: as given, or $FRAUDGUARD_CONFIG, or fraudguard.toml here."""
    return explicit or Path(os.environ.get("FRAUDGUARD_CONFIG") or CONFIG_NAME)
