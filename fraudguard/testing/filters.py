"""Which events a manager session gets: classes of privilege and eventfilter expressions, as main/manager.c has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

CLASSES: Final = (
    *("system", "call", "log", "verbose", "command", "agent", "user", "config", "dtmf", "reporting", "cdr"),
    *("dialplan", "originate", "agi", "cc", "aoc", "test", "security", "message"),
)
"""In the order in which Asterisk prints them."""

ALL: Final = frozenset(CLASSES)

_TRUE: Final = frozenset({"yes", "true", "y", "t", "1", "on"})
_FALSE: Final = frozenset({"no", "false", "n", "f", "0", "off"})
_OPTION = re.compile(r"(action|name|header|method)\(([^()]+)\)")


class FilterError(ValueError):
    """An eventfilter expression that Asterisk refuses, in its words."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """One eventfilter: `matches(name, text)` says whether it is about an event."""

    exclude: bool
    matches: Callable[[str, str], bool]

    @classmethod
    def parse(cls, criteria: str, pattern: str) -> EventFilter:
        """Read 'eventfilter(CRITERIA) = PATTERN'; without criteria the pattern is matched with the whole event.

        Raises FilterError.
        """
        bare = pattern.removeprefix("!")
        options = dict(_OPTION.findall(criteria))
        if _OPTION.sub("", criteria).strip(" ,") or not (options or bare):
            raise FilterError("Filter was formatted incorrectly.  Check the syntax of the filter given.")
        method = options.get("method", "none" if options else "regex")
        if method not in _METHODS or options.get("action", "include") not in {"include", "exclude"}:
            raise FilterError("Filter was formatted incorrectly.  Check the syntax of the filter given.")
        try:
            test = _METHODS[method](bare)
        except re.error:
            raise FilterError("Filter did not compile.  Check the syntax of the filter given.") from None
        name, header = options.get("name"), options.get("header", "").removesuffix(":")

        def matches(event: str, text: str) -> bool:
            if name is not None and event != name:
                return False
            return test(text) if not header else any(test(value) for value in _values(text, header))

        exclude = options["action"] == "exclude" if "action" in options else pattern.startswith("!")
        return cls(exclude, matches)


_METHODS: Final[dict[str, Callable[[str], Callable[[str], bool]]]] = {
    "regex": lambda wanted: lambda text, found=re.compile(wanted).search: found(text) is not None,  # type: ignore[misc]
    "exact": lambda wanted: lambda text: text == wanted,
    "starts_with": lambda wanted: lambda text: text.startswith(wanted),
    "ends_with": lambda wanted: lambda text: text.endswith(wanted),
    "contains": lambda wanted: lambda text: wanted in text,
    "none": lambda _: lambda _: True,
}


def wanted(filters: Iterable[EventFilter], event: str, text: str) -> bool:
    """Say whether an event passes: what no including filter wants does not, nor what an excluding one matches."""
    including = [each for each in filters if not each.exclude]
    excluding = [each for each in filters if each.exclude]
    if including and not any(each.matches(event, text) for each in including):
        return False
    return not any(each.matches(event, text) for each in excluding)


def event_mask(text: str) -> frozenset[str] | None:
    """Read an EventMask: 'on', 'off' or classes. What Asterisk does not know means none; nothing at all is None."""
    if not text:
        return None
    if text.lower() in _FALSE:
        return frozenset()
    if text.lower() in _TRUE:
        return ALL
    named = {word.strip() for word in text.split(",")}
    return ALL if "all" in named else ALL & named


def privileges(classes: Iterable[str]) -> str:
    """Write classes as Asterisk does: 'system,call,all', '<none>' for none."""
    named = [each for each in CLASSES if each in set(classes)]
    return ",".join([*named, "all"]) if named else "<none>"


def _values(text: str, header: str) -> list[str]:
    lines = (line.partition(": ") for line in text.split("\r\n"))
    return [value for name, _, value in lines if name == header]
