"""The rules of the house (docs/architecture.md), enforced on the source and proved able to fail.

Every rule is a function from a source tree to a list of breaches. Each is used twice: on `src`,
where the list has to be empty, and on a small tree that breaks the rule, where it must not be.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"

# ── the plan of the house ────────────────────────────────────────────────────────────────────────

PURE_LAYERS = ("wire", "crypto", "core")

# A part may import parts of a lower number and itself. Parts that are not named are applications.
LAYERS: Mapping[str, int] = {
    "_version": 0,
    "_posix": 0,
    "_memory": 0,
    "wire": 1,
    "crypto": 2,
    "core": 3,
    "_logger": 4,
    "_reactor": 4,
    "streams": 4,
    "interfaces": 4,
    "error": 4,
    "ttymodes": 4,
    "ssh": 5,
}
APPLICATIONS = 6
COMMANDS = 7
COMMAND_PARTS = ("scripts", "__main__")

# Inside `ssh`: what each part may import of its sisters.
SSH_PARTS: Mapping[str, frozenset[str]] = {
    "common": frozenset(),
    "address": frozenset({"common"}),
    "keys": frozenset({"common"}),
    "service": frozenset({"common"}),
    "transport": frozenset({"common", "address", "service", "keys"}),
    "userauth": frozenset({"common", "address", "service", "keys", "transport"}),
    "channel": frozenset({"common", "address"}),
    "hostkeyproofs": frozenset({"common"}),
    "connection": frozenset({"common", "address", "service", "channel", "hostkeyproofs"}),
    "session": frozenset({"common", "address", "channel", "connection"}),
    "forwarding": frozenset({"common", "address", "channel", "connection", "session"}),
    "agent": frozenset({"common", "keys"}),
    "filetransfer": frozenset({"common"}),
    "factory": frozenset(
        {"common", "address", "service", "keys", "transport", "userauth", "channel", "connection"}
    ),
}

# What the pure layers may use from outside; everything else in them is the standard library.
OUTSIDE_OF_PURE: Mapping[str, frozenset[str]] = {
    "wire": frozenset(),
    "crypto": frozenset({"cryptography", "bcrypt"}),
    "core": frozenset(),
}
IMPURE_STANDARD = frozenset(
    {"asyncio", "socket", "selectors", "threading", "subprocess", "logging"}
)

NAMES_WITHOUT_A_PURPOSE = frozenset({"util", "utils", "helper", "helpers", "misc", "tools"})

# Underscores stand only where a prefix chooses a handler by a name of the protocol, as Conch
# documents it (`ssh_CHANNEL_DATA`, `request_pty_req`), and in the pack/parse pairs named after one.
HANDLER_NAME = re.compile(
    r"_*(ssh|request|packet|global|channel|auth|ext|agentc?|open|opt|cb|eb|visit)_\w+"
    r"|(parse|pack|unpack)\w*?_(pty_req|window_change|\w+)"
)
CAMEL_CASE = re.compile(r"_{0,2}[a-zA-Z][a-zA-Z0-9]*|__[a-z_]+__|_")
SNAKE_CASE_PARTS = frozenset({"aio"})  # asyncio's own style, because its users expect it
# Named by others: `importlib` calls the first three, and users know the last.
NAMES_OF_OTHERS = frozenset({"find_spec", "create_module", "exec_module", "install_as_conch"})


# ── reading a source tree ────────────────────────────────────────────────────────────────────────


@functools.cache
def modulesOf(src: Path) -> dict[str, ast.Module]:
    """{dotted name: syntax tree} of all modules of the package `limpet` under `src`."""
    modules = {}
    for path in sorted((src / "limpet").rglob("*.py")):
        parts = list(path.relative_to(src).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        modules[".".join(parts)] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return modules


def isPackage(src: Path, module: str) -> bool:
    return (src.joinpath(*module.split(".")) / "__init__.py").exists()


def importsOf(src: Path, module: str, tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, name or "") for every import anywhere in the tree, `TYPE_CHECKING` included."""
    package = module.split(".") if isPackage(src, module) else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [base])])
            for alias in node.names:
                yield base, alias.name


def innerImports(src: Path) -> dict[str, set[str]]:
    """{module: the limpet modules that it names in imports}."""
    modules = modulesOf(src)
    graph: dict[str, set[str]] = {}
    for module, tree in modules.items():
        targets = set()
        for base, name in importsOf(src, module, tree):
            if base.split(".")[0] == "limpet":
                deeper = f"{base}.{name}"
                targets.add(deeper if deeper in modules else base)
        graph[module] = targets
    return graph


def layerOf(module: str) -> int:
    parts = module.split(".")
    if len(parts) == 1 or parts[1] in COMMAND_PARTS:
        return COMMANDS
    return LAYERS.get(parts[1], APPLICATIONS)


# ── the rules ────────────────────────────────────────────────────────────────────────────────────


def importsAgainstTheLayers(src: Path) -> list[str]:
    """A layer imports itself and what stands below it in `LAYERS`, nothing else."""
    return [
        f"{module} imports {target}"
        for module, targets in innerImports(src).items()
        for target in sorted(targets)
        if layerOf(target) > layerOf(module)
    ]


def importsAgainstTheOrderOfSsh(src: Path) -> list[str]:
    """Inside `limpet.ssh` a part imports only the sisters that `SSH_PARTS` grants it."""
    breaches = []
    for module, targets in innerImports(src).items():
        if not module.startswith("limpet.ssh."):
            continue
        part = module.split(".")[2]
        if part not in SSH_PARTS:
            breaches.append(f"{module}: the plan knows no part '{part}'")
            continue
        for target in sorted(targets):
            sister = target.removeprefix("limpet.ssh.").split(".")[0]
            if target.startswith("limpet.ssh.") and sister not in SSH_PARTS[part] | {part}:
                breaches.append(f"{module} imports {target}")
    return breaches


def importCycles(src: Path) -> list[str]:
    """Modules that reach themselves through imports, those under TYPE_CHECKING included."""
    graph = innerImports(src)
    done: set[str] = set()
    cycles = []

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            cycles.append(" → ".join([*path[path.index(module) :], module]))
            return
        if module in done or module not in graph:
            return
        for target in sorted(graph[module]):
            visit(target, [*path, module])
        done.add(module)

    for module in graph:
        visit(module, [])
    return cycles


def impureImports(src: Path) -> list[str]:
    """wire, crypto and core name only the standard library and what `OUTSIDE_OF_PURE` grants."""
    breaches = []
    for module, tree in modulesOf(src).items():
        layer = module.split(".")[1] if "." in module else ""
        if layer not in PURE_LAYERS:
            continue
        for base, name in importsOf(src, module, tree):
            root = base.split(".")[0]
            known = root in sys.stdlib_module_names and root not in IMPURE_STANDARD
            if not (known or root == "limpet" or root in OUTSIDE_OF_PURE[layer]):
                breaches.append(f"{module} imports {base} {name}".rstrip())
    return breaches


def namedAnywhere(src: Path, forbidden: str, allowed: tuple[str, ...] = ()) -> list[str]:
    """Modules that import `forbidden` or a part of it."""
    breaches = []
    for module, tree in modulesOf(src).items():
        for base, name in importsOf(src, module, tree):
            full = f"{base}.{name}" if name else base
            if module not in allowed and f"{full}.".startswith(f"{forbidden}."):
                breaches.append(f"{module} imports {full}")
    return breaches


# Imports each module alone in a fork of one warmed-up interpreter, and says what went wrong.
IMPORT_EACH_ALONE = """
import importlib, json, os, sys
warmUp, modules, forbidden = json.load(sys.stdin)
for name in warmUp:
    importlib.import_module(name)
for module in modules:
    sys.stdout.flush()
    if (child := os.fork()) == 0:
        try:
            importlib.import_module(module)
        except BaseException as error:
            print(f"{module}: {type(error).__name__}: {error}")
        for name in sorted(sys.modules):
            if any(f"{name}.".startswith(f"{prefix}.") for prefix in forbidden):
                print(f"{module} loads {name}")
                break
        sys.stdout.flush()
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(f"{module}: the interpreter died")
"""


def loadedByImport(
    src: Path, layers: tuple[str, ...], warmUp: tuple[str, ...], forbidden: tuple[str, ...]
) -> list[str]:
    """What importing the modules of `layers` (empty: all) really loads, against `forbidden`."""
    modules = [
        module
        for module in modulesOf(src)
        if (not layers or any(f"{module}.".startswith(f"limpet.{layer}.") for layer in layers))
        and not module.endswith("__main__")
    ]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH_ALONE],
        input=json.dumps([warmUp, modules, forbidden]),
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONPATH": str(src), "PATH": "/usr/bin:/bin", "HOME": "/"},
        check=True,
    )
    return done.stdout.splitlines()


def facadesWithLogic(src: Path) -> list[str]:
    """A package's `__init__` holds imports and `__all__`; only the top one has lazy names."""
    breaches = []
    for module, tree in modulesOf(src).items():
        if module == "limpet" or not isPackage(src, module):
            continue
        for node in tree.body:
            isDocstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            isAll = isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and (
                "__all__" in ast.unparse(node).split("=")[0]
            )
            if not (isDocstring or isAll or isinstance(node, ast.Import | ast.ImportFrom)):
                breaches.append(f"{module}:{node.lineno}: {ast.unparse(node).splitlines()[0]}")
    return breaches


def modulesWithoutPurpose(src: Path) -> list[str]:
    """Modules with no docstring, or with a name that says nothing."""
    breaches = []
    for module, tree in modulesOf(src).items():
        if not (ast.get_docstring(tree) or "").strip():
            breaches.append(f"{module} has no docstring")
        if module.split(".")[-1] in NAMES_WITHOUT_A_PURPOSE:
            breaches.append(f"{module}: its name says nothing")
    return breaches


def snakeCaseNames(src: Path) -> list[str]:
    """Functions, methods and arguments that are not camelCase (`aio` and handler names aside)."""
    breaches = []
    for module, tree in modulesOf(src).items():
        if SNAKE_CASE_PARTS.intersection(module.split(".")):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = node.args
                names = [node.name]
                for arg in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
                    names.append(arg.arg)
                for name in names:
                    known = name in NAMES_OF_OTHERS
                    if not (known or CAMEL_CASE.fullmatch(name) or HANDLER_NAME.fullmatch(name)):
                        breaches.append(f"{module}:{node.lineno}: {name}")
    return breaches


def loggersThatHoldInstances(src: Path) -> list[str]:
    """Classes with a `Logger()` of Twisted's own; see `limpet._logger`."""
    return [
        f"{module}.{outer.name}"
        for module, tree in modulesOf(src).items()
        for outer in ast.walk(tree)
        if isinstance(outer, ast.ClassDef)
        for statement in outer.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        and isinstance(statement.value, ast.Call)
        and isinstance(statement.value.func, ast.Name)
        and statement.value.func.id == "Logger"
    ]


# ── the tests ────────────────────────────────────────────────────────────────────────────────────


def plant(root: Path, files: Mapping[str, str]) -> Path:
    """A source tree with these files below `limpet`; every package gets a documented `__init__`."""
    for name, text in files.items():
        path = root / "limpet" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for directory in [root / "limpet", *(p for p in (root / "limpet").rglob("*") if p.is_dir())]:
        init = directory / "__init__.py"
        if not init.exists() and directory.name != "__pycache__":
            init.write_text('"""A package."""\n', encoding="utf-8")
    return root


def test_there_is_a_house_to_check() -> None:
    assert len(modulesOf(SRC)) > 20
    assert {"limpet.wire.fields", "limpet.core.errors"} <= set(modulesOf(SRC))


class TestLayers:
    def test_imports_point_down(self) -> None:
        assert importsAgainstTheLayers(SRC) == []

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("wire/fields.py", "from limpet.core import errors"),
            ("core/packets.py", "from ..ssh.transport import x"),
            ("core/packets.py", "def f():\n    import limpet.ssh.common"),
            ("interfaces.py", "if TYPE_CHECKING:\n    from limpet.ssh import common"),
            ("ssh/common.py", "import limpet.server.settings"),
            ("unix/realm.py", "from limpet.scripts import main"),
        ],
    )
    def test_a_breach_is_seen(self, tmp_path: Path, file: str, text: str) -> None:
        assert importsAgainstTheLayers(plant(tmp_path, {file: text}))

    def test_lower_layers_and_sisters_may_be_imported(self, tmp_path: Path) -> None:
        plant(tmp_path, {"core/a.py": "from limpet.wire import fields\nfrom . import b"})
        assert importsAgainstTheLayers(tmp_path) == []


class TestOrderInsideSsh:
    def test_parts_keep_their_order(self) -> None:
        assert importsAgainstTheOrderOfSsh(SRC) == []

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("ssh/channel.py", "from limpet.ssh.connection import SSHConnection"),
            ("ssh/transport/base.py", "from limpet.ssh.userauth import server"),
            ("ssh/keys.py", "from limpet.ssh import transport"),
            ("ssh/novelty.py", ""),
        ],
    )
    def test_a_breach_is_seen(self, tmp_path: Path, file: str, text: str) -> None:
        plant(tmp_path, {"ssh/userauth/server.py": "", "ssh/transport/base.py": "", file: text})
        assert importsAgainstTheOrderOfSsh(tmp_path)


class TestCycles:
    def test_there_are_none(self) -> None:
        assert importCycles(SRC) == []

    @pytest.mark.parametrize(
        "files",
        [
            {"core/a.py": "from limpet.core import b", "core/b.py": "import limpet.core.a"},
            {
                "core/a.py": "from . import b",
                "core/b.py": "if TYPE_CHECKING:\n    from .a import X",
            },
            {"core/__init__.py": "from .a import x", "core/a.py": "from limpet.core import x"},
        ],
    )
    def test_one_is_seen(self, tmp_path: Path, files: dict[str, str]) -> None:
        assert importCycles(plant(tmp_path, files))


class TestPureLayers:
    def test_they_name_nothing_impure(self) -> None:
        assert impureImports(SRC) == []

    def test_they_load_nothing_impure(self) -> None:
        forbidden = ("twisted", "zope", "asyncio", "constantly")
        assert loadedByImport(SRC, PURE_LAYERS, (), forbidden) == []

    def test_wire_loads_the_standard_library_only(self) -> None:
        forbidden = ("cryptography", "bcrypt", "twisted", "zope", "asyncio")
        assert loadedByImport(SRC, ("wire",), (), forbidden) == []

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("wire/a.py", "import cryptography"),
            ("core/a.py", "def f():\n    from twisted.internet import defer"),
            ("crypto/a.py", "import socket"),
        ],
    )
    def test_an_impure_name_is_seen(self, tmp_path: Path, file: str, text: str) -> None:
        assert impureImports(plant(tmp_path, {file: text}))

    def test_an_impure_load_is_seen(self, tmp_path: Path) -> None:
        plant(tmp_path, {"wire/a.py": "import importlib\nimportlib.import_module('asyncio')"})
        assert loadedByImport(tmp_path, ("wire",), (), ("asyncio",)) == [
            "limpet.wire.a loads asyncio"
        ]


class TestEveryModuleImportedAlone:
    # Loaded before the forks, so that the test takes a second instead of a minute.
    WARM_UP = (
        "twisted.internet.protocol",
        "twisted.internet.defer",
        "cryptography",
        "zope.interface",
    )

    def test_it_works_and_installs_no_reactor(self) -> None:
        forbidden = ("twisted.internet.reactor", "twisted.conch")
        assert loadedByImport(SRC, (), self.WARM_UP, forbidden) == []

    def test_an_installed_reactor_is_seen(self, tmp_path: Path) -> None:
        plant(tmp_path, {"ssh/a.py": "from twisted.internet import reactor"})
        breaches = loadedByImport(tmp_path, (), self.WARM_UP, ("twisted.internet.reactor",))
        assert breaches == ["limpet.ssh.a loads twisted.internet.reactor"]

    def test_a_module_that_cannot_be_imported_is_seen(self, tmp_path: Path) -> None:
        plant(tmp_path, {"ssh/a.py": "import limpet.nothing"})
        (breach,) = loadedByImport(tmp_path, (), (), ())
        assert breach.startswith("limpet.ssh.a: ModuleNotFoundError")


class TestForbiddenNames:
    def test_twisted_conch_is_never_imported(self) -> None:
        assert namedAnywhere(SRC, "twisted.conch") == []

    def test_one_module_names_the_reactor(self) -> None:
        assert namedAnywhere(SRC, "twisted.internet.reactor", ("limpet._reactor",)) == []

    @pytest.mark.parametrize(
        ("text", "forbidden"),
        [
            ("from twisted.conch.ssh import keys", "twisted.conch"),
            ("from twisted import conch", "twisted.conch"),
            ("def f():\n    from twisted.internet import reactor", "twisted.internet.reactor"),
            ("import twisted.internet.reactor", "twisted.internet.reactor"),
        ],
    )
    def test_a_breach_is_seen(self, tmp_path: Path, text: str, forbidden: str) -> None:
        assert namedAnywhere(plant(tmp_path, {"ssh/a.py": text}), forbidden)


class TestStyle:
    def test_facades_hold_no_logic(self) -> None:
        assert facadesWithLogic(SRC) == []

    def test_logic_in_a_facade_is_seen(self, tmp_path: Path) -> None:
        plant(
            tmp_path, {"ssh/__init__.py": '"""Doc."""\nfrom . import a\n__all__ = ["a"]\nx = 1\n'}
        )
        assert facadesWithLogic(tmp_path) == ["limpet.ssh:4: x = 1"]

    def test_every_module_says_what_it_is_for(self) -> None:
        assert modulesWithoutPurpose(SRC) == []

    def test_a_module_without_purpose_is_seen(self, tmp_path: Path) -> None:
        plant(tmp_path, {"core/utils.py": '"""Things."""', "core/a.py": "x = 1"})
        assert len(modulesWithoutPurpose(tmp_path)) == 2

    def test_names_are_camel_case(self) -> None:
        assert snakeCaseNames(SRC) == []

    def test_a_snake_case_name_is_seen(self, tmp_path: Path) -> None:
        good = "def ssh_CHANNEL_DATA(self, packet): ...\ndef __init__(self): ...\n"
        bad = "def send_data(x): ...\ndef f(max_length): ...\n"
        plant(tmp_path, {"core/a.py": good + bad})
        assert snakeCaseNames(tmp_path) == [
            "limpet.core.a:3: send_data",
            "limpet.core.a:4: max_length",
        ]

    def test_a_class_logs_without_holding_its_instances(self) -> None:
        assert loggersThatHoldInstances(SRC) == []

    @pytest.mark.parametrize("text", ["_log = Logger()", "_log: Logger = Logger()"])
    def test_a_logger_that_holds_instances_is_seen(self, tmp_path: Path, text: str) -> None:
        plant(tmp_path, {"ssh/a.py": f"class A:\n    {text}\n"})
        assert loggersThatHoldInstances(tmp_path) == ["limpet.ssh.a.A"]
