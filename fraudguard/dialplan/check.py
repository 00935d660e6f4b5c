"""A rendered dialplan read back and judged: does it hold what the guard relies on, and is it today's?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from fraudguard.config import Settings
from fraudguard.dialplan import names
from fraudguard.dialplan.parse import Context, Dialplan, Extension, Finding, Step, parse
from fraudguard.dialplan.render import digest, render, split_header

APPLICATIONS = frozenset(
    {
        *("AGI", "Congestion", "Dial", "Gosub", "Goto", "GotoIf", "Hangup", "NoOp"),
        *("Playback", "Progress", "Return", "Ringing", "Set", "Wait"),
    }
)
FUNCTIONS = frozenset(
    {"CALLERID", "CHANNEL", "FILTER", "LEN", "LOCAL", "REDIRECTING", "REGEX", "STACK_PEEK", "URIENCODE"}
)
VARIABLES = frozenset(
    {*names.ANSWER, *names.LOCALS, *names.FORWARD_MARKS, names.TENANT, "AGISTATUS", "ARG1", "EXTEN", "HANGUPCAUSE"}
)

_LEASE_OPTION = f"S(${{{names.LEASE}}})"
_DECISION = f"{names.CONTEXT_DECIDE},s,1("
_RAW = (names.DIALLED, names.CALLER, names.CALLERID)  # hold what a phone sent, whatever it was
_RAW_USE = re.compile(r"(?P<guard>LEN\(|URIENCODE\(|FILTER\([^$()]*,|)\$\{(?P<name>" + "|".join(_RAW) + r")\b")
_KEEPING = {f"LOCAL({names.DIALLED})=${{{source}}}" for source in ("EXTEN", names.CALLER, names.CALLERID)}
_NAME_USE = re.compile(r"\$\{(\w+)(\()?")
_SET = re.compile(r"(?:(\w+)\()?(\w+)\)?=")

_ANEW = "write the file anew with 'fraudguard dialplan install'"


def _known_contexts() -> re.Pattern[str]:
    templates = [value for key, value in vars(names).items() if key.startswith("CONTEXT_")]
    stages = "|".join(names.FENCE_STAGES)
    patterns = (
        re.escape(text)
        .replace(r"\{trunk\}", "[A-Za-z0-9_-]{1,40}")
        .replace(r"\{plan\}", "[0-9]{1,6}")
        .replace(r"\{stage\}", f"(?:{stages})")
        for text in templates
    )
    return re.compile("|".join(patterns))


_KNOWN_CONTEXT = _known_contexts()


def check(text: str, settings: Settings) -> list[Finding]:
    """Return what is wrong with a dialplan file, in the order of its lines; nothing when it is safe and today's.

    Raises ConfigError when no dialplan can be made of the settings.
    """
    if split_header(text) is None:
        return [Finding(1, "the first line is not fraudguard's: another program or a hand wrote this file", _ANEW)]
    return sorted([*_stale(text, settings), *judge(text)], key=lambda finding: finding.line)


def judge(text: str) -> list[Finding]:
    """Return what is wrong with a dialplan file whatever the configuration: names, order, structure."""
    dialplan = parse(text)
    rules: tuple[Callable[[Dialplan], Iterator[Finding]], ...] = (
        _unknown_names,
        _missing_targets,
        _emergency_order,
        _emergency_contents,
        _unleased_dials,
        _uncleared_questions,
        _raw_strings,
        _way_back_from_nowhere,
    )
    return [*dialplan.findings, *(finding for rule in rules for finding in rule(dialplan))]


def _stale(text: str, settings: Settings) -> Iterator[Finding]:
    """Say how the file differs from what would be written now."""
    mine, current = split_header(text), split_header(render(settings))
    assert mine is not None
    assert current is not None
    header, body = mine
    if header.digest != digest(body):
        yield Finding(1, "the file was changed after fraudguard wrote it", _ANEW)
        return
    if body != current[1]:
        pairs = zip(body.split("\n"), current[1].split("\n"), strict=False)
        same = next((place for place, (old, new) in enumerate(pairs) if old != new), body.count("\n"))
        yield Finding(same + 2, "the configuration has changed since the file was written; here it differs", _ANEW)


def _unknown_names(dialplan: Dialplan) -> Iterator[Finding]:
    for context in dialplan.contexts.values():
        if not _KNOWN_CONTEXT.fullmatch(context.name):
            yield Finding(
                context.line, f"unknown context {context.name}", "fraudguard's file holds no other's contexts"
            )
        for step in context.steps():
            if step.application not in APPLICATIONS:
                yield Finding(step.line, f"unknown application {step.application}", _ANEW)
            yield from _unknown_variables(step)


def _unknown_variables(step: Step) -> Iterator[Finding]:
    for name, is_function in _NAME_USE.findall(step.argument):
        kind, known = ("function", FUNCTIONS) if is_function else ("variable", VARIABLES)
        if name not in known:
            yield Finding(step.line, f"unknown {kind} {name}", _ANEW)
    if step.application == "Set" and (target := _SET.match(step.argument)):
        function, name = target.groups()
        if (function or "LOCAL") not in FUNCTIONS or (function != "CALLERID" and name not in VARIABLES):
            yield Finding(step.line, f"sets the unknown variable {name}", _ANEW)


def _missing_targets(dialplan: Dialplan) -> Iterator[Finding]:
    for context in dialplan.contexts.values():
        wanted = list(context.includes)
        for extension in context.extensions:
            labels = {step.label for step in extension.steps}
            for step in extension.steps:
                target = _target(step)
                if "," in target:
                    wanted.append((target.partition(",")[0], step.line))
                elif target and target not in labels:
                    yield Finding(step.line, f"there is no label {target} in extension {extension.pattern}", _ANEW)
        for name, line in wanted:
            if name not in dialplan.contexts:
                yield Finding(line, f"there is no context {name} in the file", _ANEW)


def _target(step: Step) -> str:
    """Where a step jumps: 'context,extension,priority', a label, or '' when it does not."""
    if step.argument == names.back_to_dial():
        return ""  # to whoever asked
    if step.application == "GotoIf":
        return step.argument.rpartition("?")[2]
    return step.argument if step.application in {"Goto", "Gosub"} else ""


def _emergency_order(dialplan: Dialplan) -> Iterator[Finding]:
    """Own extensions are searched before includes, and includes in order: emergency must be the first of them."""
    expected = {names.CONTEXT_GUARD: [names.CONTEXT_EMERGENCY_RETURN, names.CONTEXT_ASKED]}
    for trunk in _trunks(dialplan):
        parts = (names.CONTEXT_EMERGENCY, names.CONTEXT_GUARDED)
        expected[names.CONTEXT_OUT.format(trunk=trunk)] = [part.format(trunk=trunk) for part in parts]
    for name, includes in expected.items():
        context = dialplan.contexts.get(name)
        if context is None:
            yield Finding(1, f"there is no context {name}", _ANEW)
        elif context.extensions or [include for include, _ in context.includes] != includes:
            yield Finding(
                context.line,
                f"{name} must hold nothing but the includes {' and '.join(includes)}, in this order",
                _ANEW,
            )


def _trunks(dialplan: Dialplan) -> list[str]:
    """Every trunk that any context of the file speaks of."""
    prefixes = [
        template.format(trunk="") for template in (names.CONTEXT_OUT, names.CONTEXT_EMERGENCY, names.CONTEXT_GUARDED)
    ]
    found = {name.removeprefix(prefix) for name in dialplan.contexts for prefix in prefixes if name.startswith(prefix)}
    return sorted(found)


def _is_emergency(context: Context) -> bool:
    return context.name.startswith(names.CONTEXT_EMERGENCY_RETURN)


def _emergency_contents(dialplan: Dialplan) -> Iterator[Finding]:
    """Exact numbers, and nothing between them and the trunk."""
    for context in dialplan.contexts.values():
        if not _is_emergency(context):
            continue
        applications = {"Goto"} if context.name == names.CONTEXT_EMERGENCY_RETURN else {"Dial", "Hangup"}
        for extension in context.extensions:
            if not extension.pattern.isdecimal():
                yield Finding(extension.line, f"{extension.pattern} is not an emergency number", _ANEW)
            for step in extension.steps:
                if step.application not in applications:
                    yield Finding(step.line, f"{step} stands in the way of an emergency call", _ANEW)


def _unleased_dials(dialplan: Dialplan) -> Iterator[Finding]:
    """Outside emergency a Dial follows a decision and carries its lease: an empty S() would mean no limit."""
    for context, extension, place, step in _walk(dialplan, "Dial"):
        if _is_emergency(context):
            continue
        if step.argument.split(",")[-1] != _LEASE_OPTION or "&" in step.argument:
            yield Finding(step.line, f"{step} does not end with the lease {_LEASE_OPTION}", _ANEW)
        decided = any(
            earlier.application == "Gosub" and earlier.argument.startswith(_DECISION)
            for earlier in extension.steps[:place]
        )
        if not decided:
            yield Finding(step.line, f"{step} is reached without asking the guard", _ANEW)
        if not step.apart:
            yield Finding(step.line, f"{step} can be fallen into from another extension", _ANEW)


def _uncleared_questions(dialplan: Dialplan) -> Iterator[Finding]:
    """The answer's variables are cleared right before the guard is asked: silence must not look like consent."""
    for _, extension, place, step in _walk(dialplan, "AGI"):
        before = extension.steps[max(0, place - len(names.ANSWER)) : place]
        cleared = {earlier.argument for earlier in before if earlier.application == "Set"}
        missing = [name for name in names.ANSWER if f"{name}=" not in cleared]
        if missing:
            yield Finding(step.line, f"the guard is asked without clearing {', '.join(missing)} first", _ANEW)


def _raw_strings(dialplan: Dialplan) -> Iterator[Finding]:
    """What a phone sent may hold '&', '/', ',' or worse: it is measured, filtered and encoded, never used."""
    for context in dialplan.contexts.values():
        digits_only = context.name == names.CONTEXT_URGENT or context.name.startswith(names.CONTEXT_FENCE)
        for step in context.steps():
            if step.argument in _KEEPING:
                continue
            if not digits_only and "${EXTEN" in step.argument:
                yield Finding(step.line, f"{step} uses what was dialled as it came", _ANEW)
            for use in _RAW_USE.finditer(step.argument):
                if not use["guard"]:
                    yield Finding(step.line, f"{step} uses {use['name']} as it came", _ANEW)


def _way_back_from_nowhere(dialplan: Dialplan) -> Iterator[Finding]:
    context = dialplan.contexts.get(names.CONTEXT_NOWHERE)
    if context is None:
        yield Finding(1, f"there is no context {names.CONTEXT_NOWHERE}", _ANEW)
        return
    for extension in context.extensions:
        if extension.steps[-1].application != "Hangup":
            yield Finding(extension.line, f"{context.name} does not end with Hangup", _ANEW)
        for step in extension.steps:
            if step.application in {"Dial", "Goto", "GotoIf", "Gosub", "Return", "AGI"}:
                yield Finding(step.line, f"{step} leads out of {context.name}", _ANEW)


def _walk(dialplan: Dialplan, application: str) -> Iterator[tuple[Context, Extension, int, Step]]:
    """Every step of one application, with its place in its extension."""
    for context in dialplan.contexts.values():
        for extension in context.extensions:
            for place, step in enumerate(extension.steps):
                if step.application == application:
                    yield context, extension, place, step
