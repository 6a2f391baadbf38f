"""The house rules that a reader relies on: layers, no side effects, budgets, honest pins."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import vcr1_lib

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "vcr1_lib").rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
CODE = [*LIBRARY, *SCRIPTS, *sorted((ROOT / "tools").glob("*.py"))]

MODULE_LINES, FUNCTION_LINES, LIBRARY_LINES, SCRIPT_LINES = 300, 60, 10350, 120

# What would make a library function say, run, hide or depend on something unseen.
FORBIDDEN_CALLS = {"print", "eval", "exec", "input", "breakpoint", "__import__"}
FORBIDDEN_MODULES = {"pickle", "dill", "joblib", "marshal", "shelve"}
HIDDEN_STATE = {"os", "random", "subprocess", "time"}
BROAD = {"Exception", "BaseException"}
# A reader's own code may raise anything, and a check must name it instead of falling over.
RUNS_READERS_CODE = ROOT / "vcr1_lib" / "checks" / "__init__.py"
UNSAFE_SUFFIXES = {".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"}
UNSAFE_BYTES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
HOSTS = re.compile(r"://|\bgit\+|\bpypi\.|pythonhosted|artifactory|nexus|--(extra-)?index-url\b")
DEVELOPER_PATHS = re.compile(r"(?<![\w.:/+-])/(home|root|Users|work)/\w|\b[A-Z]:\\Users")

# The machines that the lock is for.
MACHINES = [
    {"sys_platform": system, "platform_system": name, "os_name": os, "platform_machine": machine}
    for system, name, os, machine in [
        ("linux", "Linux", "posix", "x86_64"),
        ("linux", "Linux", "posix", "aarch64"),
        ("darwin", "Darwin", "posix", "arm64"),
        ("win32", "Windows", "nt", "AMD64"),
    ]
]
PYTHONS = ["3.11", "3.12", "3.13"]


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module_of(path: Path) -> str:
    """Name a file's entry in the map: a module, or the package it lies in."""
    return path.relative_to(ROOT / "vcr1_lib").with_suffix("").parts[0]


def imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield the dotted name and line of everything a file imports, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the package's name"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


# One format or one notebook a module: the map does not name each.
ONE_KIND = {"datasets", "checks"}
ORDER = re.findall(r"^``(\w+)``", vcr1_lib.__doc__ or "", flags=re.MULTILINE)


def test_the_map_lists_every_module_once() -> None:
    modules = {module_of(path) for path in LIBRARY} - {"__init__"}
    assert len(ORDER) == len(set(ORDER))
    assert modules - set(ORDER) == set(), "add them to the list in vcr1_lib/__init__.py"
    assert set(ORDER) - modules == set(), "listed in vcr1_lib/__init__.py, but there is no file"
    entries = re.split(r"^``(\w+)``", vcr1_lib.__doc__ or "", flags=re.MULTILINE)
    for package, told in zip(entries[1::2], entries[2::2], strict=True):
        parts = {p.stem for p in (ROOT / "vcr1_lib" / package).glob("*.py")} - {"__init__"}
        if package not in ONE_KIND:
            named = set(re.findall(r"``(\w+)``", told.partition("\n\n")[0].partition("\n")[2]))
            assert parts == named, f"{package} in the map of vcr1_lib/__init__.py"


@pytest.mark.parametrize("path", LIBRARY, ids=short)
def test_a_module_imports_only_modules_above_it(path: Path) -> None:
    own = module_of(path)
    above = set(ORDER[: ORDER.index(own)]) if own in ORDER else set()
    for name, line in imported(parse(path)):
        package, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if package == "vcr1_lib" and target not in (own, "__version__"):
            assert target in above, f"{short(path)}:{line} imports {target}, which is not above it"


def may_print(tree: ast.Module, path: Path) -> set[ast.AST]:
    """Return what stands in the ``main`` of a command, or anywhere outside the library."""
    if path not in LIBRARY:
        return set(ast.walk(tree))
    mains = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main"]
    return {node for main in mains for node in ast.walk(main)}


def offences(path: Path) -> Iterator[str]:
    tree = parse(path)
    allowed = may_print(tree, path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            if name in FORBIDDEN_CALLS and not (name == "print" and node in allowed):
                yield f"line {node.lineno}: {name}()"
        elif isinstance(node, ast.ExceptHandler) and path != RUNS_READERS_CODE:
            caught = ast.walk(node.type) if node.type else [ast.Name("BaseException")]
            if BROAD & {n.id for n in caught if isinstance(n, ast.Name)}:
                yield f"line {node.lineno}: a broad except turns a bug into a result"
        elif isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
            yield f"line {node.value.lineno}: trust_remote_code"
    banned = FORBIDDEN_MODULES | (HIDDEN_STATE if path in LIBRARY else set())
    for name, line in imported(tree):
        if name.partition(".")[0] in banned:
            yield f"line {line}: import {name}"


@pytest.mark.parametrize("path", CODE, ids=short)
def test_code_has_no_hidden_effects(path: Path) -> None:
    assert not list(offences(path))


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_rewards_and_metrics_need_numpy_only() -> None:
    heavy = ("av", "decord", "matplotlib", "plotly", "torch", "transformers", "trl")
    loaded = run_python(
        "import sys, vcr1_lib.rewards, vcr1_lib.metrics; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert loaded == "[]"


def test_annotations_are_read_without_the_extras() -> None:
    missing = ("PIL", "av", "decord", "torch", "tqdm", "transformers")
    run_python(
        f"import sys; sys.modules.update(dict.fromkeys({missing}))\n"
        "from vcr1_lib.datasets import read_jsonl"
    )


def test_importing_everything_asks_the_network_nothing() -> None:
    names = [short(path)[:-3].replace("/", ".") for path in LIBRARY if path.stem != "__init__"]
    run_python(
        "import importlib, socket\n"
        "def refuse(*args, **kwargs): raise AssertionError(f'asked the network for {args}')\n"
        "socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse\n"
        f"for name in {names}: importlib.import_module(name)\n"
    )


def num_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("path", LIBRARY, ids=short)
def test_modules_and_functions_stay_short(path: Path) -> None:
    assert num_lines(path) <= MODULE_LINES
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            assert lines <= FUNCTION_LINES, f"{node.name} has {lines} lines without its docstring"


def code_lines(path: Path) -> int:
    """Count the lines that hold code: no docstring, comment or blank."""
    text = path.read_text(encoding="utf-8")
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            docstrings |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in layout and token.type != tokenize.ENDMARKER:
            held |= set(range(token.start[0], token.end[0] + 1))
    return len(held - docstrings)


def test_the_library_stays_small() -> None:
    assert sum(map(code_lines, LIBRARY)) <= LIBRARY_LINES


@pytest.mark.parametrize("path", SCRIPTS, ids=short)
def test_scripts_stay_short(path: Path) -> None:
    assert num_lines(path) <= SCRIPT_LINES


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = [
    Requirement(line)
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    if line.strip() and not line.startswith("#")
]
WANTED = [
    Requirement(text)
    for texts in (
        PROJECT["build-system"]["requires"],
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
    )
    for text in texts
    if not text.startswith(PROJECT["project"]["name"])
]


@pytest.mark.parametrize("wanted", WANTED, ids=lambda wanted: wanted.name)
def test_every_dependency_is_pinned_within_its_bounds(wanted: Requirement) -> None:
    named = [pin for pin in PINS if canonicalize_name(pin.name) == canonicalize_name(wanted.name)]
    for machine in MACHINES:
        for python in PYTHONS:
            here = machine | {"python_version": python, "python_full_version": f"{python}.9"}
            pins = [pin for pin in named if pin.marker is None or pin.marker.evaluate(here)]
            needed = wanted.marker is None or wanted.marker.evaluate(here)
            assert len(pins) == needed, f"{wanted.name} on {here}: {len(pins)} pins"
            for pin in pins:
                (exact,) = pin.specifier
                assert exact.operator == "=="
                assert wanted.specifier.contains(exact.version), f"{pin} is outside {wanted}"


def test_conda_installs_the_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (pip,) = (item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    (python,) = (i for i in environment["dependencies"] if str(i).startswith("python="))
    assert pip == ["-r requirements.lock", "-e ."]
    allowed = Requirement("python" + PROJECT["project"]["requires-python"]).specifier
    assert allowed.contains(python.removeprefix("python="))


def test_the_lock_names_no_host() -> None:
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        assert not HOSTS.search(line), line


def project_files() -> list[Path]:
    """Return what git keeps, or would once added."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_no_path_of_a_developers_machine() -> None:
    found = []
    for path in project_files():
        content = path.read_bytes()
        if b"\0" not in content and (hit := DEVELOPER_PATHS.search(content.decode())):
            found.append(f"{short(path)}: {hit[0]}")
    assert not found


def test_weights_are_safetensors() -> None:
    for path in (ROOT / "data_samples").rglob("*"):
        if path.is_file():
            assert path.suffix not in UNSAFE_SUFFIXES, short(path)
            assert not path.read_bytes()[:4].startswith(UNSAFE_BYTES), f"{short(path)} is a pickle"
