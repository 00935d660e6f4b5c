"""The subset of extensions.conf that fraudguard writes, read back. Any other line is a finding, never skipped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from fraudguard.dialplan import names

_CONTEXT = re.compile(r"\[([A-Za-z0-9_-]{1,79})\]")
_INCLUDE = re.compile(r"include => ([A-Za-z0-9_-]+)")
_EXTENSION = re.compile(r"exten => ([^,\s]+),1,(\w+)\((.*)\)")
_SAME = re.compile(rf" same => (?:(n)|{names.DIAL_PRIORITY})(?:\((\w+)\))?,(\w+)\((.*)\)")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a dialplan file: the line (1 is the first), what, and how to mend it."""

    line: int
    what: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.line}: {self.what}" + (f" ({self.fix})" if self.fix else "")


@dataclass(frozen=True, slots=True)
class Step:
    """One priority: an application with its argument as written. `apart` says that none leads to it by itself."""

    line: int
    application: str
    argument: str
    label: str = ""
    apart: bool = False

    def __str__(self) -> str:
        return f"{self.application}({self.argument})"


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension or pattern and its steps, in order."""

    pattern: str
    line: int
    steps: list[Step]


@dataclass(frozen=True, slots=True)
class Context:
    """A context: its own extensions, which Asterisk searches first, and its includes in order."""

    name: str
    line: int
    extensions: list[Extension] = field(default_factory=list)
    includes: list[tuple[str, int]] = field(default_factory=list)

    def steps(self) -> Iterator[Step]:
        for extension in self.extensions:
            yield from extension.steps


@dataclass(frozen=True, slots=True)
class Dialplan:
    """What was read; `findings` are the lines that could not be."""

    contexts: dict[str, Context]
    findings: list[Finding]


def parse(text: str) -> Dialplan:
    """Read a dialplan file. Never raises: what it does not understand becomes a finding."""
    reader = _Reader()
    for number, line in enumerate(text.split("\n"), start=1):
        if line and not line.startswith(";"):
            reader.read(number, line)
    return Dialplan(reader.contexts, reader.findings)


class _Reader:
    """Where the file has got to: the context and the extension that the next line belongs to."""

    def __init__(self) -> None:
        self.contexts: dict[str, Context] = {}
        self.findings: list[Finding] = []
        self._context: Context | None = None

    def read(self, number: int, line: str) -> None:
        if opening := _CONTEXT.fullmatch(line):
            self._open(number, opening[1])
        elif self._context is None:
            self._complain(number, f"{line[:60]!r} stands before the first context")
        elif include := _INCLUDE.fullmatch(line):
            self._context.includes.append((include[1], number))
        elif exten := _EXTENSION.fullmatch(line):
            pattern, application, argument = exten.groups()
            step = Step(number, application, argument)
            self._context.extensions.append(Extension(pattern, number, [step]))
        elif (same := _SAME.fullmatch(line)) and self._context.extensions:
            following, label, application, argument = same.groups()
            step = Step(number, application, argument, label or "", apart=following is None)
            self._context.extensions[-1].steps.append(step)
        else:
            self._complain(number, f"{line[:60]!r} is not a line that fraudguard writes")

    def _open(self, number: int, name: str) -> None:
        self._context = Context(name, number)
        if name in self.contexts:
            self._complain(number, f"context {name} is there twice: Asterisk would add the second to the first")
        else:
            self.contexts[name] = self._context

    def _complain(self, number: int, what: str) -> None:
        self.findings.append(Finding(number, what, "write the file anew with 'fraudguard dialplan install'"))
