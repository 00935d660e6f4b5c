"""The log: structlog, JSON when not a terminal, one line per event, secrets and control characters kept out."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Final

import structlog

from fraudguard.config import Log

HIDDEN: Final = "***"

MAX_DEPTH: Final = 6
"""Levels of nested values that are looked into; what lies deeper is hidden whole."""

MAX_TEXT: Final = 8192
"""Characters of one text that are kept, a traceback among them: a line of the log is not a place for more."""

_WORD: Final = r"(?:secret|passw(?:or)?d|passphrase|token|pin|pepper|authorization|api_?key|credentials?|cookie)"

_SECRET_KEY: Final = re.compile(rf"(?:^|[^a-z]){_WORD}s?(?![a-z])", re.IGNORECASE)
"""A key that names a secret: as a word of its own, so that neither `shipping` nor `spinning` is a PIN."""

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_IN_TEXT: Final = (
    # https://user:password@host, also without a user; nothing behind the first / ? or # is a password
    (
        re.compile(r"(?P<kept>\b[a-z][a-z0-9+.-]{0,30}://[^\s/?#:@]*:)[^\s/?#]+(?=@)", re.IGNORECASE),
        rf"\g<kept>{HIDDEN}",
    ),
    # Secret: x (AMI), authorization: Bearer x (HTTP): to the end of the line, because a secret may hold blanks
    (
        re.compile(r"(?P<kept>\b(?:secret|password|authorization|key|cookie):[ \t]*)(?!\s)[^\r\n]+", re.IGNORECASE),
        rf"\g<kept>{HIDDEN}",
    ),
    # {"pin": "x y"}, secret='x': all between the quotes
    (
        re.compile(rf"(?P<kept>(?<![a-z]){_WORD}[\"']?\s*[=:]\s*(?P<quote>[\"'])).*?(?P=quote)", re.IGNORECASE),
        rf"\g<kept>{HIDDEN}\g<quote>",
    ),
    # token=x
    (
        re.compile(rf"(?P<kept>(?<![a-z]){_WORD}[\"']?\s*[=:]\s*[\"']?)(?!\*\*\*)[^\s\"',;&}}]+", re.IGNORECASE),
        rf"\g<kept>{HIDDEN}",
    ),
)


def configure(settings: Log) -> None:
    """Set up the process's log on standard error. Call once, before the service is built."""
    json_lines = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if json_lines
        # the default formatter prints local variables, and a PIN may be one of them
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # as text before it is redacted: the message of an exception may quote what it could not read
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide every value whose key names a secret, at any depth, and every secret that a text shows as one."""
    for key, value in event.items():
        event[key] = _redacted(key, value, MAX_DEPTH)
    return event


def _redacted(key: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    if _SECRET_KEY.search(_CAMEL.sub("_", key)):
        return HIDDEN
    if isinstance(value, int):
        return value
    if isinstance(value, bytes | bytearray):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping | set | frozenset) or (isinstance(value, Sequence) and not isinstance(value, str)):
        return _inside(value, depth - 1)
    return _clean(value if isinstance(value, str) else str(value))


def _inside(value: Any, depth: int) -> Any:
    if not depth:
        return HIDDEN
    if isinstance(value, Mapping):
        return {str(key): _redacted(str(key), inner, depth) for key, inner in value.items()}
    return [_redacted("", inner, depth) for inner in value]


def _clean(text: str) -> str:
    length = len(text)
    text = text[: 2 * MAX_TEXT]  # so that the end of what is kept is still recognised for what it is
    for pattern, replacement in _IN_TEXT:
        text = pattern.sub(replacement, text)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}... ({length} characters)"
