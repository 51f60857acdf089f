"""What of the installed Conch's surface Limpet lacks or has otherwise, found by looking at both.

    python surface.py      prints a JSON object: dotted name below twisted.conch to what differs

Compared are the modules that `limpet.dropin.REPLACED` names: their functions, classes, interfaces
and constants, the public attributes of the classes, and how functions and methods may be called.
What a class has from outside of Conch, and what a module only imports from there, is not compared.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import types
from collections.abc import Iterator
from typing import Any

from zope.interface import Attribute
from zope.interface.interface import InterfaceClass, Method

from limpet.dropin import REPLACED

CONSTANTS = (int, float, bytes, str, tuple, list, dict, set, frozenset)


def isConchs(thing: object) -> bool:
    return str(getattr(thing, "__module__", "")).startswith("twisted.conch")


# Imported from a sister, and used by applications as if it were the module's own.
USED_WHERE_IMPORTED = {
    "twisted.conch.ssh.filetransfer": ("ISFTPFile", "ISFTPServer"),
    "twisted.conch.ssh.session": ("EnvironmentVariableNotPermitted", "ISession", "ISessionSetEnv"),
}


def publicNames(module: types.ModuleType) -> list[str]:
    """What a module of Conch offers: its own things and its constants."""
    sisters = USED_WHERE_IMPORTED.get(module.__name__, ())
    names = []
    for name, value in vars(module).items():
        if name.startswith("_") or inspect.ismodule(value):
            continue
        own = getattr(value, "__module__", None) == module.__name__
        if own or name in sisters or (isinstance(value, CONSTANTS) and value is not False):
            names.append(name)
    return names


def positional(signature: inspect.Signature) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p for p in signature.parameters.values() if p.kind in kinds]


def callDifference(theirs: inspect.Signature, ours: inspect.Signature) -> str | None:
    """Why a call that Conch takes could fail with ours; None where none could."""
    parameters = ours.parameters.values()
    takesAll = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    takesNames = any(p.kind is p.VAR_KEYWORD for p in parameters)
    ourPositional = positional(ours)
    for index, parameter in enumerate(positional(theirs)):
        if index >= len(ourPositional):
            if takesAll:
                break
            return f"takes no {parameter.name}"
        mine = ourPositional[index]
        if mine.name != parameter.name and not takesNames:
            return f"calls {parameter.name} {mine.name}"
        if parameter.default is not parameter.empty and mine.default is mine.empty:
            return f"wants {mine.name}"
    for mine in ourPositional[len(positional(theirs)) :]:
        if mine.default is mine.empty:
            return f"wants {mine.name}"
    for parameter in theirs.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not takesNames:
            if parameter.name not in ours.parameters:
                return f"takes no {parameter.name}"
    for mine in parameters:
        if mine.kind is mine.KEYWORD_ONLY and mine.default is mine.empty:
            if mine.name not in theirs.parameters:
                return f"wants {mine.name}"
    return None


def signatureOf(thing: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(thing)
    except (TypeError, ValueError):
        return None


def compareCallables(name: str, theirs: Any, ours: Any) -> Iterator[tuple[str, str]]:
    if not callable(ours):
        yield name, "cannot be called"
        return
    mine, other = signatureOf(ours), signatureOf(theirs)
    if mine is not None and other is not None:
        difference = callDifference(other, mine)
        if difference:
            yield name, difference


def compareClasses(name: str, theirs: type, ours: Any) -> Iterator[tuple[str, str]]:
    if not inspect.isclass(ours):
        yield name, "is no class"
        return
    seen = set()
    for base in theirs.__mro__:
        if not isConchs(base):
            continue
        for attribute, value in vars(base).items():
            if attribute in seen or (attribute.startswith("_") and attribute != "__init__"):
                continue
            seen.add(attribute)
            full = f"{name}.{attribute}"
            if not hasattr(ours, attribute):
                if attribute not in getattr(ours, "__annotations__", {}):
                    yield full, "is missing"
            elif inspect.isfunction(value):
                yield from compareCallables(full, value, inspect.getattr_static(ours, attribute))


def compareInterfaces(name: str, theirs: InterfaceClass, ours: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(ours, InterfaceClass):
        yield name, "is no interface"
        return
    for attribute in theirs.names(all=True):
        full = f"{name}.{attribute}"
        mine: Any = ours.get(attribute)
        other: Attribute = theirs[attribute]
        if mine is None:
            yield full, "is missing"
        elif isinstance(other, Method):
            if not isinstance(mine, Method):
                yield full, "is no method"
            elif mine.positional[: len(other.positional)] != other.positional:
                yield full, f"takes {', '.join(mine.positional)}"


def compareModules(name: str) -> Iterator[tuple[str, str]]:
    short = name.removeprefix("twisted.conch.")
    theirs = importlib.import_module(name)
    try:
        ours = importlib.import_module(REPLACED[name])
    except ModuleNotFoundError:
        yield short, "is missing"
        return
    for attribute in publicNames(theirs):
        full = f"{short}.{attribute}"
        other = getattr(theirs, attribute)
        if not hasattr(ours, attribute):
            yield full, "is missing"
            continue
        mine = getattr(ours, attribute)
        if isinstance(other, InterfaceClass):
            yield from compareInterfaces(full, other, mine)
        elif inspect.isclass(other):
            # Where it is defined is where it is compared.
            if other.__module__ == name:
                yield from compareClasses(full, other, mine)
        elif inspect.isfunction(other):
            yield from compareCallables(full, other, mine)
        elif isinstance(other, bool | int | bytes | str) and mine != other:
            yield full, f"is {mine!r}, not {other!r}"
        elif not isinstance(mine, type(other)) and isinstance(other, CONSTANTS):
            yield full, f"is a {type(mine).__name__}, not a {type(other).__name__}"


def main() -> None:
    found = dict(difference for name in REPLACED for difference in compareModules(name))
    json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
