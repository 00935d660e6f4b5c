"""From [alerts.channels] to channels, checked: whatever is wrong is said before the service starts."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from fraudguard.alerts.channel import Channel, Message
from fraudguard.alerts.chat import AppriseChannel, open_services
from fraudguard.alerts.command import CommandChannel
from fraudguard.alerts.journal import JournalChannel
from fraudguard.alerts.mail import MailChannel, compose
from fraudguard.alerts.routes import DEFAULT_CHANNEL
from fraudguard.alerts.webhook import WebhookChannel
from fraudguard.clock import Clock
from fraudguard.config import AppriseChannel as AppriseSettings
from fraudguard.config import CommandChannel as CommandSettings
from fraudguard.config import LogChannel as LogSettings
from fraudguard.config import Settings
from fraudguard.config import SmtpChannel as SmtpSettings
from fraudguard.config import WebhookChannel as WebhookSettings
from fraudguard.errors import ConfigError
from fraudguard.secretfile import read_secret_file

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SAMPLE = Message("sample", "sample", "notice", "sample", "sample", {})


def build_channels(settings: Settings, clock: Clock) -> dict[str, Channel]:
    """Make the configured channels, or the log where there is none. Raises ConfigError naming the key.

    Relative paths are taken from the configuration file's folder.
    """
    if not settings.alerts.channels:
        return {DEFAULT_CHANNEL: JournalChannel()}
    return {name: _Builder(settings, name, clock).build() for name in settings.alerts.channels}


class _Builder:
    def __init__(self, settings: Settings, name: str, clock: Clock) -> None:
        self._settings = settings.alerts.channels[name]
        self._folder = settings.path.parent
        self._where = f"{settings.path}: alerts.channels.{name}"
        self._clock = clock

    def build(self) -> Channel:
        match self._settings:
            case LogSettings():
                return JournalChannel()
            case SmtpSettings() as smtp:
                return self._mail(smtp)
            case WebhookSettings() as webhook:
                return self._webhook(webhook)
            case CommandSettings() as command:
                return self._command(command)
            case AppriseSettings() as apprise:
                where = f"{self._where}.urls_file"
                return AppriseChannel(
                    open_services(read_secret_file(self._folder / apprise.urls_file, where=where), where=where)
                )

    def _mail(self, smtp: SmtpSettings) -> Channel:
        password = self._secret(smtp.password_file, "password_file")
        if bool(smtp.username) != (password is not None):
            raise ConfigError("username and password_file belong together", where=self._where, fix="give both, or none")
        if password is not None and smtp.tls == "none" and smtp.host not in _LOOPBACK:
            raise ConfigError(
                "would send the password in clear", where=f"{self._where}.tls", fix='take "starttls" or "implicit"'
            )
        tls = None if smtp.tls == "none" else self._tls(smtp.ca_file)
        try:
            channel = MailChannel(smtp, password, tls)
            compose(_SAMPLE, smtp.sender, smtp.recipients, "localhost")
            for key, addresses in (("sender", (smtp.sender,)), ("recipients", smtp.recipients)):
                self._addresses(key, addresses)
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001  the mail package raises many things for what is no address
            raise ConfigError(
                f"holds what is no mail address ({error})", where=self._where, fix='such as "pbx@example.com"'
            ) from None
        return channel

    def _addresses(self, key: str, addresses: tuple[str, ...]) -> None:
        for address in addresses:
            if "@" not in address or not address.isprintable():
                raise ConfigError(
                    f"{address!r} is no mail address", where=f"{self._where}.{key}", fix='such as "pbx@example.com"'
                )

    def _webhook(self, webhook: WebhookSettings) -> Channel:
        key = "url" if webhook.url is not None else "url_file"
        url = self._secret(webhook.url_file, key) if webhook.url is None else SecretStr(webhook.url)
        assert url is not None  # the settings were checked
        try:
            parts = urlsplit(url.get_secret_value())
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            valid = False
        if not valid:
            raise ConfigError("is no address", where=f"{self._where}.{key}", fix="such as https://example.com/alerts")
        secret = self._secret(webhook.secret_file, "secret_file")
        return WebhookChannel(url, secret, self._tls(webhook.ca_file), self._clock)

    def _command(self, command: CommandSettings) -> Channel:
        program = command.argv[0]
        found = shutil.which(program)
        if found is None or not Path(found).is_absolute():
            raise ConfigError(
                f"{program!r} is no program that can be run",
                where=f"{self._where}.argv",
                fix="give its absolute path, and check its mode",
            )
        return CommandChannel((found, *command.argv[1:]), command.timeout_seconds)

    def _secret(self, path: Path | None, key: str) -> SecretStr | None:
        return None if path is None else read_secret_file(self._folder / path, where=f"{self._where}.{key}")

    def _tls(self, ca_file: Path | None) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=None if ca_file is None else self._folder / ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"{ca_file} cannot be used: {error.strerror or error}",
                where=f"{self._where}.ca_file",
                fix="give a file of certificates in PEM form",
            ) from None
