"""What is wrong with a configuration, said so that it can be mended: the key, and the nearest right one."""

from __future__ import annotations

import difflib
import os
import types
import typing
from typing import Annotated, Any

from pydantic import BaseModel
from pydantic_settings import BaseSettings

_PRIVATE_KEYS = frozenset({"secret", "url"})
"""Keys whose values are never shown: the address of a webhook is often all that is needed to use it."""

_NOT_A_SECTION = frozenset({"dict_type", "model_type", "model_attributes_type"})
"""Pydantic's words for a value where a section was expected: what was written there may be its secret."""


def complaint(problem: Any, settings: type[BaseSettings]) -> str:
    """Say one of pydantic's findings: which key of the file, or which variable, what is wrong, and what was meant."""
    place = [str(part) for part in problem["loc"]]
    key = ".".join(place)
    variable = f"{settings.model_config['env_prefix']}{'__'.join(place)}".upper()
    found = _found(place[-1] if place else "", problem)
    if variable in os.environ:
        return f"{key}: {problem['msg']} (found {found or 'it'} in ${variable}, which outranks this file)"
    if problem["type"] != "extra_forbidden":
        return f"{key}: {problem['msg']}{f' (found {found})' if found else ''}"
    known = _known_keys(place[:-1], settings)
    near = difflib.get_close_matches(place[-1], known, n=1)
    hint = f"did you mean {'.'.join([*place[:-1], near[0]])}?" if near else f"known: {', '.join(known)}"
    return f"{key}: unknown key ({hint})"


def _found(key: str, problem: Any) -> str:
    """Return what stood there, '' where that may be a secret or hold one: this goes to terminals and logs."""
    value = problem.get("input")
    hidden = key in _PRIVATE_KEYS or problem["type"] in _NOT_A_SECTION or not isinstance(value, str | int | float)
    return "" if hidden else repr(value)


def _known_keys(place: list[str], settings: type[BaseSettings]) -> list[str]:
    """Return the keys of the section at `place`, which may hold free names, list positions and a channel's type."""
    section: Any = settings
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
