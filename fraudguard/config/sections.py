"""The sections of fraudguard.toml, their keys and what may stand there."""

from __future__ import annotations

import difflib
import ipaddress
import re
import zoneinfo
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

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


PinAskedKind = Literal["international", "premium", "satellite", "unknown", "domestic", "toll_free", "service"]
"""Kinds of number for which a PIN may be asked: all but emergency."""

Prompt = Annotated[str, Field(pattern=r"^[A-Za-z0-9_/.-]{1,80}$")]
"""A sound file as Asterisk names it: without ending, it looks for one in the channel's language by itself."""


Tries = Annotated[int, Field(ge=1, le=10)]
KeySeconds = Annotated[int, Field(ge=1, le=60)]
RememberMinutes = Annotated[int, Field(ge=0, le=1440)]
Language = Annotated[str, Field(pattern=r"^[A-Za-z_-]{0,20}$")]


class Prompts(_Section):
    """What the caller hears, by the names of sound files. The defaults are Asterisk's own."""

    ask: Prompt = "agent-pass"  # "please enter your password followed by the pound key"
    again: Prompt = "auth-incorrect"  # "password incorrect, please enter your password followed by the pound key"
    refused: Prompt = "cannot-complete-as-dialed"  # "your call cannot be completed as dialed"


class PinSettings(_Section):
    """Which calls want a PIN, and how the caller is asked. Every field of a tenant's section overrides [pin]'s."""

    ask: tuple[PinAskedKind, ...] = ("international", "premium", "satellite", "unknown")  # kinds of number; []: never
    answer: Literal["early", "answered"] = "early"  # ask before the call is answered, or answer it first
    tries: Tries = 3  # in one call
    timeout_seconds: KeySeconds = 6  # from the prompt to the first digit, and from digit to digit
    remember_minutes: RememberMinutes = 0  # the same device may dial the same region again without
    language: Language = ""  # of the prompts; "": the channel's own
    prompts: Prompts = Prompts()


class Pins(PinSettings):
    """[pin]: the settings, and the file whose secret the stored PINs are keyed with."""

    pepper_file: Path = Path("pin.pepper")  # relative to the configuration file; made with the first PIN


class TenantPins(_Section):
    """[tenants.NAME.pin]: what differs from [pin]. None means: as there."""

    ask: tuple[PinAskedKind, ...] | None = None
    answer: Literal["early", "answered"] | None = None
    tries: Tries | None = None
    timeout_seconds: KeySeconds | None = None
    remember_minutes: RememberMinutes | None = None
    language: Language | None = None
    prompts: Prompts | None = None


class StrictSettings(_Section):
    """[strict]: when the stricter profile holds, and what it adds. Every field of a tenant's section overrides it."""

    hours: tuple[str, ...] = ("20:00-07:00", "sat,sun")  # as policy.hours reads them; Sunday's night ends on Monday
    holidays: bool = False  # the public holidays of the tenant's home region as well
    holidays_in: str = ""  # a subdivision of it: "BY", "CA"
    limit: Price | None = None  # meanwhile no higher per-minute price goes through without a grant
    ask: tuple[PinAskedKind, ...] = ()  # kinds of number that want a PIN meanwhile, beside [pin]'s


class TenantStrict(_Section):
    """[tenants.NAME.strict]: what differs from [strict]. None means: as there."""

    hours: tuple[str, ...] | None = None
    holidays: bool | None = None
    holidays_in: str | None = None
    limit: Price | None = None
    ask: tuple[PinAskedKind, ...] | None = None


Often = Annotated[int, Field(ge=0, le=10_000)]
Within = Annotated[int, Field(ge=1, le=3600)]  # every attempt of the time is remembered, and read at a start
Percent = Annotated[int, Field(ge=1, le=100)]


class Speed(_Section):
    """How fast, and how many at once; 0: no limit. Every field of a tenant's section overrides the one in [speed].

    One person dials abroad two or three times a minute at most; a dialler on a stolen login as often as it can. What is
    wider has room for what is narrower several times over, so that one stolen account does not stop an office: three
    accounts fill a source or a region, five a tenant. A telephone has a few lines; with 5 calls at once it can hold,
    transfer and confer. 10 tries in 10 minutes are a person's (and a fax's) patience with a busy number. Nobody calls 8
    countries in a day that they never called; diallers try dozens. Totals are off: what is domestic does not cost much.
    """

    window_seconds: Within = 60
    account_attempts: Often = 20
    tenant_attempts: Often = 100
    source_attempts: Often = 60
    region_attempts: Often = 60  # of a tenant
    same_number: Often = 10  # of an account
    same_number_seconds: Within = 600
    new_regions: Often = 8  # that an account never called before, within 24 hours
    account_calls: Often = 5  # at once, not domestic
    tenant_calls: Often = 20
    account_calls_total: Often = 0  # at once, with domestic ones
    tenant_calls_total: Often = 0
    strict_percent: Percent = 50  # at strict times each number is so much of it, rounded up


class TenantSpeed(_Section):
    """[tenants.NAME.speed]: what differs from [speed]. None means: as there."""

    window_seconds: Within | None = None
    account_attempts: Often | None = None
    tenant_attempts: Often | None = None
    source_attempts: Often | None = None
    region_attempts: Often | None = None
    same_number: Often | None = None
    same_number_seconds: Within | None = None
    new_regions: Often | None = None
    account_calls: Often | None = None
    tenant_calls: Often | None = None
    account_calls_total: Often | None = None
    tenant_calls_total: Often | None = None
    strict_percent: Percent | None = None


def _known_zone(value: str) -> str:
    known = zoneinfo.available_timezones()
    if value not in known:
        near = difflib.get_close_matches(value, known, n=1)
        raise ValueError(f"no such time zone ({f'did you mean {near[0]}?' if near else 'such as Europe/Berlin'})")
    return value


Zone = Annotated[str, AfterValidator(_known_zone)]
"""A time zone's name in the IANA database."""


class Tenant(_Section):
    """One customer: what differs from [numbering], `zone`, [pin], [strict] and [speed]. None means: as there."""

    home: Region | None = None
    outside_line: Digits | None = None
    area_code: Digits | None = None
    domestic_regions: tuple[Region, ...] | None = None
    emergency_numbers: tuple[Code, ...] | None = None
    service_codes: dict[Code, Price] | None = None
    premium_prefixes: tuple[Prefix, ...] | None = None
    satellite_prefixes: tuple[Prefix, ...] | None = None
    zone: Zone | None = None
    pin: TenantPins = TenantPins()
    strict: TenantStrict = TenantStrict()
    speed: TenantSpeed = TenantSpeed()


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


ShadowRule = Literal[
    "blocked", "no_rate", "over_limit", "too_fast", "too_many", "over_budget", "pin_forwarded", "pin_required"
]


class Policy(_Section):
    """What the verdict is made with beside the operators' edits."""

    lease_seconds: int = Field(default=7200, ge=30, le=86_400)  # the longest that a call may live before it is renewed
    shortest_lease_seconds: int = Field(default=60, ge=1, le=3600)  # where money runs out; less only for want of it
    cut_warning_seconds: int = Field(default=0, ge=0, le=60)  # a tone so long before a call is cut; 0: none
    call_seconds: int = Field(default=14_400, ge=30, le=86_400)  # the longest that a call may live at all
    shadow: tuple[ShadowRule, ...] = ()  # rules that only simulate
    grant_reminder_days: int = Field(default=7, ge=0, le=365)  # an alert so long before a grant ends; 0: none

    @model_validator(mode="after")
    def _leases_in_order(self) -> Self:
        if self.shortest_lease_seconds > self.lease_seconds:
            raise ValueError("shortest_lease_seconds is longer than lease_seconds: raise the one, or lower the other")
        return self


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
    zone: Zone = "UTC"
    severity: Literal["notice", "warning"] = "notice"  # these, and those below, wait

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
