"""From Python source to findings: which of its names are Conch's, and what is done with them.

Rule: the source is read and never run or imported. Names are followed through imports and through
the classes of one file, not through assignments or other files, so that silence is no promise.

    one file ──▶ `_Visitor`: each use, judged by `rules`, as if Limpet stood in Conch's place
    all files ──▶ `_withImports`: does it stand there, or does the program import both?
"""

from __future__ import annotations

import ast
import enum
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from limpet.doctor.rules import (
    ATTRIBUTES,
    BEFORE_INSTALL,
    CALLS,
    LOAD_CONCH,
    METHODS,
    MODULES,
    NEEDS_INSTALL,
    STAYS_CONCHS,
    TEXT_KEY_RULE,
    TEXT_KEYED,
    WEAK,
    WEAK_RSA_RULE,
    WEAK_RULE,
    Rule,
    Verdict,
)
from limpet.dropin import REPLACED, limpetsName

CONCH = "twisted.conch"
MAX_SOURCE = 4 * 1024 * 1024
"""Longest source file that is read, in bytes (ours)."""

_MIN_RSA_BITS = 2048
_INSTALLER = "install_as_conch"
_RUNNER = "limpet.conch"
_BACK = {ours: theirs for theirs, ours in REPLACED.items()}


@dataclass(frozen=True, order=True)
class Finding:
    """One use of Conch.

    Attributes:
        path: The file.
        line: From 1.
        name: What is used, below `twisted.conch`, or the method that a class has of its own.
        verdict: What becomes of it.
        advice: What is otherwise and what to do; empty for what is the same.
    """

    path: str
    line: int
    name: str
    verdict: Verdict = field(compare=False)
    advice: str = field(compare=False, default="")


@dataclass
class Reading:
    """What was found in a file or a tree.

    Attributes:
        findings: In the order of files and lines.
        files: How many files were read.
        unreadable: Files that are no Python source, and why.
        installs: Whether the program puts Limpet in Conch's place by itself.
        importsConch: Whether it imports, by Conch's names, what Limpet replaces or what needs that.
    """

    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    installs: bool = False
    importsConch: bool = False


def readTree(path: Path) -> Reading:
    """Read a file, or all Python files below a directory."""
    visitors: list[_Visitor] = []
    unreadable: dict[str, str] = {}
    for file in _sources(path):
        try:
            visitors.append(_visit(file.read_bytes()[:MAX_SOURCE], str(file)))
        except (OSError, SyntaxError, ValueError) as error:
            unreadable[str(file)] = str(error)
    return Reading(
        _withImports(visitors),
        len(visitors),
        unreadable,
        any(visitor.installs for visitor in visitors),
        any(use.origin is not _Origin.LIMPETS for visitor in visitors for use in visitor.imports),
    )


def readFile(text: str | bytes, path: str) -> list[Finding]:
    """Read one file's text, as if it were the whole program.

    Raises:
        SyntaxError: It is no Python.
        ValueError: It holds null bytes.
    """
    return _withImports([_visit(text, path)])


def _visit(text: str | bytes, path: str) -> _Visitor:
    visitor = _Visitor(path)
    visitor.visit(ast.parse(text, path))
    return visitor


def _withImports(visitors: Sequence[_Visitor]) -> list[Finding]:
    """All findings, and what there is to say of imports once all files are known.

    A program whose imports name Conch alone is started with Limpet in Conch's place, or it is no
    matter of ours. One that imports Limpet by its own name gets Conch's own beside it, unless it
    puts Limpet there first.
    """
    findings: list[Finding] = []
    installs = any(visitor.installs for visitor in visitors)
    ours = any(use.origin is _Origin.LIMPETS for visitor in visitors for use in visitor.imports)
    for visitor in visitors:
        said = {(found.line, found.name): found for found in reversed(visitor.findings)}
        for use in visitor.imports:
            if use.origin is _Origin.LIMPETS:
                continue
            rule = None
            if use.isAtOnce and use.line < visitor.installLine:
                rule = BEFORE_INSTALL
            elif ours and not installs:
                rule = STAYS_CONCHS if use.origin is _Origin.CONCHS else NEEDS_INSTALL
            where = (use.line, use.name)
            if rule is not None and said[where].verdict is Verdict.SAME:
                said[where] = Finding(visitor.path, *where, rule.verdict, rule.advice)
        findings += said.values()
    return sorted(findings)


def _sources(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for directory, inner, names in os.walk(path):
        inner[:] = sorted(name for name in inner if not name.startswith((".", "__pycache__")))
        for name in sorted(names):
            if name.endswith((".py", ".tac")):
                yield Path(directory, name)


class _Origin(enum.Enum):
    """Under which name something of Conch is imported."""

    LIMPETS = enum.auto()
    """Limpet's own."""
    CONCHS = enum.auto()
    """Conch's, of a module that Limpet replaces."""
    KEPT = enum.auto()
    """Conch's, of a module that stays Twisted's and imports some that Limpet replaces."""


@dataclass(frozen=True)
class _Import:
    """One imported name.

    Attributes:
        line: Where, from 1.
        name: Below `twisted.conch`.
        origin: Under whose name.
        isAtOnce: Whether it is loaded as soon as the file is run.
    """

    line: int
    name: str
    origin: _Origin
    isAtOnce: bool


class _Visitor(ast.NodeVisitor):
    """Follows the names of one file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.findings: list[Finding] = []
        self.imports: list[_Import] = []
        self.installs = False
        # The line of the file's own code that installs Limpet; 0 where none does.
        self.installLine = 0
        self._depth = 0
        # A local name to the full name under twisted.conch that it stands for.
        self._names: dict[str, str] = {}
        # A class of this file to Conch's classes that it is made of.
        self._classes: dict[str, set[str]] = {}
        self._bases: list[set[str]] = []

    # ── What is said ──────────────────────────────────────────────────────────────────────────

    def _say(self, node: ast.AST, name: str, rule: Rule | None) -> None:
        verdict, advice = (Verdict.SAME, "") if rule is None else (rule.verdict, rule.advice)
        line = getattr(node, "lineno", 1)
        self.findings.append(Finding(self.path, line, name, verdict, advice))

    def _import(self, node: ast.stmt, written: str, full: str) -> None:
        """A full name below twisted.conch is imported, maybe as one of Limpet's."""
        self._use(node, full, isImport=True)
        name = full.removeprefix(CONCH + ".")
        if written != full:
            origin = _Origin.LIMPETS
        elif limpetsName(full) is not None:
            origin = _Origin.CONCHS
        elif name.partition(".")[0] in LOAD_CONCH:
            origin = _Origin.KEPT
        else:
            return
        self.imports.append(_Import(node.lineno, name, origin, self._depth == 0))

    def _use(self, node: ast.AST, full: str, isImport: bool = False) -> None:
        """A full name below twisted.conch is imported, read or called."""
        name = full.removeprefix(CONCH + ".")
        rule = CALLS.get(name)
        if rule is None and isImport:
            # Of a module that Twisted keeps, the import says it all.
            rule = _ruleOfModule(name)
        if rule is None and _isMissing(full):
            rule = Rule(
                Verdict.MISSING,
                "does not exist here: docs/differences.md says why, or Conch has dropped it, too",
            )
        self._say(node, name, rule)

    # ── Imports ───────────────────────────────────────────────────────────────────────────────

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            full = _asConchs(alias.name)
            if full is None:
                continue
            self._import(node, alias.name, full)
            if alias.asname:
                self._names[alias.asname] = full

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or not node.module:
            return
        for alias in node.names:
            isAll = alias.name == "*"
            written = node.module if isAll else f"{node.module}.{alias.name}"
            full = _asConchs(written)
            if full is None:
                continue
            if full != CONCH:
                self._import(node, written, full)
            if not isAll:
                self._names[alias.asname or alias.name] = full

    # ── Classes ───────────────────────────────────────────────────────────────────────────────

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        bases: set[str] = set()
        for base in node.bases:
            full = self._resolve(base)
            if full is not None:
                bases.add(full)
            elif isinstance(base, ast.Name):
                bases |= self._classes.get(base.id, set())
        self._classes[node.name] = bases
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                self._sayOfOwn(METHODS, bases, statement.name, statement, node.name)
            for target in _targetsOf(statement):
                if isinstance(target, ast.Name):
                    self._sayOfOwn(ATTRIBUTES, bases, target.id, statement, node.name)
        self._bases.append(bases)
        self.generic_visit(node)
        self._bases.pop()

    def _sayOfOwn(
        self,
        table: Mapping[str, Mapping[str, Rule]],
        bases: set[str],
        name: str,
        node: ast.AST,
        owner: str,
    ) -> None:
        for base in bases:
            module = _moduleOf(base)
            rule = table.get(module, {}).get(name)
            if rule is not None:
                self._say(node, f"{owner}.{name}", rule)
                return

    # ── Functions ─────────────────────────────────────────────────────────────────────────────

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Within a function, a name that it gives a value to is not the module's."""
        kept = self._names
        own = {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                own.add(inner.id)
        self._names = {name: full for name, full in kept.items() if name not in own}
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1
        imported = {name: full for name, full in self._names.items() if name not in kept}
        self._names = kept
        # An import within a function most often serves the whole file.
        self._names.update(imported)

    visit_AsyncFunctionDef = visit_FunctionDef

    # ── Expressions ───────────────────────────────────────────────────────────────────────────

    def visit_Attribute(self, node: ast.Attribute) -> None:
        full = self._resolve(node)
        if full is not None:
            self._use(node, full)
            return
        if isinstance(node.value, ast.Name) and node.value.id == "self" and self._bases:
            self._sayOfOwn(ATTRIBUTES, self._bases[-1], node.attr, node, "self")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, str) and _RUNNER in value.split():
            # A command that this program starts: python -m limpet.conch …
            self.installs = True
        if isinstance(value, bytes | str) and len(value) < 400 and self._isAboutConch():
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            found = None if " " in text.strip() else WEAK.search(text)
            if found:
                self._say(node, found.group(), WEAK_RULE)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Attribute | ast.Name) and _nameOf(target) in TEXT_KEYED:
                self._textKeys(node.value)
            elif isinstance(target, ast.Subscript) and _nameOf(target.value) in TEXT_KEYED:
                self._textKey(target.slice)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = _nameOf(node.func)
        if name == _INSTALLER:
            self.installs = True
            if not self._depth and not self.installLine:
                self.installLine = node.lineno
        elif name == "update" and isinstance(node.func, ast.Attribute):
            if _nameOf(node.func.value) in TEXT_KEYED:
                for argument in node.args:
                    self._textKeys(argument)
        elif ast.unparse(node.func).endswith("rsa.generate_private_key"):
            for keyword in node.keywords:
                size = keyword.value
                if keyword.arg == "key_size" and isinstance(size, ast.Constant):
                    if isinstance(size.value, int) and size.value < _MIN_RSA_BITS:
                        self._say(node, f"key_size={size.value}", WEAK_RSA_RULE)
        self.generic_visit(node)

    def _textKeys(self, node: ast.expr) -> None:
        if isinstance(node, ast.Dict) and self._isAboutConch():
            for key in node.keys:
                if key is not None:
                    self._textKey(key)

    def _textKey(self, node: ast.expr) -> None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and self._isAboutConch():
            self._say(node, repr(node.value), TEXT_KEY_RULE)

    # ── Names ─────────────────────────────────────────────────────────────────────────────────

    def _isAboutConch(self) -> bool:
        return bool(self._names or self.findings)

    def _resolve(self, node: ast.expr) -> str | None:
        """The full name below twisted.conch that an expression is, or None."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        known = self._names.get(node.id)
        if known is not None:
            return ".".join([known, *reversed(parts)])
        full = _asConchs(".".join([node.id, *reversed(parts)]))
        return full if full != CONCH else None


def _asConchs(name: str) -> str | None:
    """A name of Conch's as it is, one of Limpet's as Conch's would be, else None."""
    if f"{name}.".startswith(CONCH + "."):
        return name
    whole, rest = name, ""
    while whole:
        if whole in _BACK:
            return _BACK[whole] + rest
        whole, _, last = whole.rpartition(".")
        rest = f".{last}{rest}"
    return None


def _moduleOf(full: str) -> str:
    """The module of a full name, below twisted.conch."""
    name = full
    while name and name not in REPLACED:
        name = name.rpartition(".")[0]
    return name.removeprefix(CONCH + ".")


def _ruleOfModule(name: str) -> Rule | None:
    """What is to be said of a part of Conch that Limpet does not replace."""
    for module, rule in MODULES.items():
        if f"{name}.".startswith(module + "."):
            return rule
    return None


def _isMissing(full: str) -> bool:
    """Whether a name of a module that Limpet replaces does not exist in Limpet's."""
    ours = limpetsName(full)
    if ours is None:
        return False
    module = ours
    rest: list[str] = []
    while module not in _BACK:
        module, _, last = module.rpartition(".")
        rest.insert(0, last)
    thing: object = importlib.import_module(module)
    for index, name in enumerate(rest):
        if not hasattr(thing, name):
            # What an instance has is not seen from its class.
            return index == 0 or name.startswith("__")
        thing = getattr(thing, name)
    return False


def _targetsOf(statement: ast.stmt) -> list[ast.expr]:
    if isinstance(statement, ast.Assign):
        return statement.targets
    return [statement.target] if isinstance(statement, ast.AnnAssign) else []


def _nameOf(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
