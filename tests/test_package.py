"""What is built and shipped, what importing it costs, and what it declares."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from adapters import is_adapter

import treadle

MODULES = [
    "treadle",
    *sorted(found.name for found in pkgutil.walk_packages(treadle.__path__, "treadle.")),
]
MODULES.remove("treadle.__main__")  # a command, which must not be imported
MODULES = [module for module in MODULES if not is_adapter(module)]


def compiled(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    return spec is not None and str(spec.origin).endswith(tuple(EXTENSION_SUFFIXES))


#: Py_TPFLAGS_HEAPTYPE.
HEAPTYPE = 1 << 9

#: The only C in the package from another project.
LLHTTP = "src/treadle/http/llhttp"

COMPILED = [module for module in MODULES if compiled(module)]


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def distributions(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build an sdist, and a wheel from that sdist alone; return their folder."""
    out = tmp_path_factory.mktemp("dist")
    # The build requirements are in the "test" extra: no isolation, no network.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def sdist(distributions: Path) -> set[str]:
    (archive,) = distributions.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        return {name.partition("/")[2] for name in tar.getnames()}


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> set[str]:
    (archive,) = distributions.glob("*.whl")
    with zipfile.ZipFile(archive) as zipped:
        return set(zipped.namelist())


@pytest.mark.timeout(900)
def test_sdist_holds_every_source_and_nothing_generated(root: Path, sdist: set[str]) -> None:
    sources = {
        str(path.relative_to(root))
        for suffix in ("py", "pyx", "pxd", "pyi", "h")
        for path in root.glob(f"src/treadle/**/*.{suffix}")
    }
    sources |= {str(path.relative_to(root)) for path in (root / LLHTTP).iterdir()}
    expected = {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "setup.py"}
    assert sources | expected | {"src/treadle/py.typed"} <= sdist
    junk = {name for name in sdist if name.endswith((".so", ".pyc", ".html"))}
    junk |= {name for name in sdist if name.startswith(("build", "src/")) and name[-2:] == ".c"}
    assert {name for name in junk if not name.startswith(LLHTTP)} == set()


def test_llhttp_is_as_it_was_released(root: Path) -> None:
    folder = root / LLHTTP
    sums = dict(line.split()[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    found = [*folder.glob("*.c"), *folder.glob("*.h")]
    assert sums == {path.name: sha256(path.read_bytes()).hexdigest() for path in found}
    header = (folder / "llhttp.h").read_text()
    version = ".".join(re.findall(r"#define LLHTTP_VERSION_\w+ (\d+)", header))
    assert f"# llhttp {version}\n" in (folder / "README.md").read_text()


@pytest.mark.timeout(900)
def test_wheel_holds_the_package_ready_to_use(root: Path, wheel: set[str]) -> None:
    source = root / "src"
    shipped = {
        str(path.relative_to(source))
        for suffix in ("py", "pyi", "pxd", "h")
        for path in source.glob(f"treadle/**/*.{suffix}")
    }
    binaries = {
        str(path.relative_to(source).with_suffix("")) + EXTENSION_SUFFIXES[0]
        for path in source.glob("treadle/**/*.pyx")
    }
    inside = {name for name in wheel if not name.startswith("treadle-")}
    assert inside == shipped | binaries | {"treadle/py.typed"}


@pytest.mark.timeout(900)
def test_wheel_names_its_licence_and_its_command(wheel: set[str]) -> None:
    info = {name.partition("/")[2] for name in wheel if name.startswith("treadle-")}
    assert {"METADATA", "licenses/LICENSE", "entry_points.txt"} <= info
    assert f"licenses/{LLHTTP}/LICENSE" in info


class TestMetadata:
    def test_the_base_install_needs_greenlet_alone(self, project: dict[str, Any]) -> None:
        (requirement,) = project["project"]["dependencies"]
        assert requirement.startswith("greenlet")

    def test_the_test_extra_can_build_without_isolation(self, project: dict[str, Any]) -> None:
        available = project["project"]["optional-dependencies"]["test"]
        available = available + project["project"]["dependencies"]
        assert set(project["build-system"]["requires"]) <= set(available)

    def test_what_is_installed_says_what_the_project_says(self, project: dict[str, Any]) -> None:
        installed = metadata("treadle")
        declared = project["project"]
        assert installed["Name"] == declared["name"]
        assert installed["Version"] == declared["version"] == treadle.__version__
        assert installed["Requires-Python"] == declared["requires-python"]
        assert installed["License-Expression"] == declared["license"]

    def test_the_changelog_opens_with_this_version(
        self, root: Path, project: dict[str, Any]
    ) -> None:
        headings = [
            line for line in (root / "CHANGELOG.md").read_text().splitlines() if line[:3] == "## "
        ]
        assert headings[0].split()[1] == project["project"]["version"]


def public(names: Any) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def defined_in(module: ModuleType) -> set[str]:
    """Return the public names that a compiled module defines, without those that it imports."""
    return {
        name
        for name in public(vars(module))
        if not isinstance(getattr(module, name), ModuleType)
        and getattr(getattr(module, name), "__module__", module.__name__) == module.__name__
    }


def declared_in(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Return the names that a stub, or a class in it, declares."""
    names: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names[node.target.id] = node
        elif isinstance(node, ast.Assign):
            names.update(
                (target.id, node) for target in node.targets if isinstance(target, ast.Name)
            )
        elif isinstance(node, ast.If):
            names.update(declared_in(node.body) | declared_in(node.orelse))
    return names


@pytest.mark.parametrize("name", COMPILED)
def test_stub_declares_what_the_compiled_module_holds(name: str) -> None:
    module = importlib.import_module(name)
    stub = Path(str(module.__file__)).with_name(name.rpartition(".")[2] + ".pyi")
    declared = declared_in(ast.parse(stub.read_text()).body)
    # A stub may declare more than its module defines: slots that higher layers fill.
    assert defined_in(module) <= public(declared) <= set(vars(module))
    for class_name, node in declared.items():
        held = getattr(module, class_name, None)
        if isinstance(node, ast.ClassDef) and isinstance(held, type):
            inherited = {name for base in held.__bases__ for name in dir(base)}
            members = public(declared_in(node.body))
            assert public(vars(held)) - inherited <= members <= set(vars(held)), class_name


@pytest.mark.parametrize("name", COMPILED)
def test_methods_of_extension_types_check_the_type_of_self(name: str) -> None:
    module = importlib.import_module(name)
    for held in list(vars(module).values()):
        # Classes that a class statement made are heap types; their methods take any self.
        if isinstance(held, type) and held.__module__ == name and not held.__flags__ & HEAPTYPE:
            for method in vars(held).values():
                if type(method).__name__ == "cython_function_or_method":
                    # One that checks by itself, so as to be called faster through a subclass.
                    parameters = inspect.signature(method).parameters.values()
                    required = [each for each in parameters if each.default is each.empty]
                    with pytest.raises(TypeError, match="doesn't apply to"):
                        method(*[object()] * len(required))


def test_a_method_called_with_a_foreign_self_raises() -> None:
    for call in [
        lambda: treadle.Greenlet.kill(treadle.getcurrent()),  # type: ignore[arg-type]
        lambda: treadle.Greenlet.kill(treadle.spawn_raw(print)),  # type: ignore[arg-type]
        lambda: treadle.Hub.wait_until_idle(object()),  # type: ignore[arg-type]
        lambda: treadle.lock.Semaphore.release(object()),  # type: ignore[arg-type]
    ]:
        with pytest.raises(TypeError, match="doesn't apply to"):
            call()


def test_modules_are_attributes_that_dir_shows(fresh: Callable[..., str]) -> None:
    shown = fresh("import treadle; print(*dir(treadle))").split()
    assert {*treadle.__all__, "pool", "event", "__version__", "__name__"} <= set(shown)
    assert [name for name in shown if name[0] == "_" and name[:2] != "__"] == []


def test_a_module_that_cannot_be_imported_is_no_attribute(fresh: Callable[..., str]) -> None:
    source = (
        "import sys; sys.modules['_ssl'] = None; import treadle\n"
        "print(hasattr(treadle, 'ssl'), getattr(treadle, 'ssl', 'none'))\n"
        "try: from treadle import ssl\n"
        "except ImportError as exc: print(exc.name)"
    )
    assert fresh(source).split() == ["False", "none", "_ssl"]


def test_there_are_compiled_modules() -> None:
    assert COMPILED


# A program imports treadle to patch these modules; treadle itself must not import them
# before.
UNPATCHED = {"asyncio", "logging", "select", "socket", "ssl", "subprocess", "threading"}


@pytest.mark.parametrize("module", ["treadle", "treadle.monkey"])
def test_import_loads_nothing_that_patching_must_come_before(
    module: str, fresh: Callable[..., str]
) -> None:
    source = (
        "import sys, importlib; before = set(sys.modules); importlib.import_module(sys.argv[1]);"
    )
    started, loaded = fresh(source + "print(*before); print(*sys.modules)", module).splitlines()
    assert UNPATCHED & set(started.split()) == set(), "the interpreter itself loads these at start"
    assert UNPATCHED & set(loaded.split()) == set()


@pytest.mark.parametrize("module", MODULES)
def test_any_module_can_be_imported_first(module: str, fresh: Callable[..., str]) -> None:
    fresh("import importlib, sys; importlib.import_module(sys.argv[1])", module)
