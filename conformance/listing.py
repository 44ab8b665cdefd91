"""Lists the names of the ``gevent`` that is importable: gevent's wheel, or treadle by its alias.

The script is run by its path and prints JSON:

    python listing.py                the public names of gevent
    python listing.py RECORDED       the entries of the names in such a listing

An entry holds facts only: kind, parameters, plain value, bases of a class.
"""

import ast
import importlib
import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from inspect import Parameter, Signature
from pathlib import Path
from types import BuiltinFunctionType, ModuleType
from types import ClassMethodDescriptorType as ClassMethodDescriptor
from typing import Any

#: Subpackages that programs do not import: tests, and the bindings of two event loops.
NOT_FOR_PROGRAMS = {"tests", "testing", "libev", "libuv"}
#: The methods with underscores that programs call by syntax.
PROTOCOLS = {
    f"__{name}__"
    for name in ("enter", "exit", "iter", "next", "len", "call", "contains", "getitem")
}
#: The packages whose stubs and docstrings are read for parameters.
OURS = {"gevent", "treadle"}
PLAIN = (bool, int, float, str, bytes, type(None))

Entry = dict[str, Any]
Listing = dict[str, dict[str, Entry]]


# Modules and their names.


def public_modules() -> Iterator[str]:
    """Yield the names of the modules of gevent that programs may import."""
    yield "gevent"
    for found in pkgutil.walk_packages(importlib.import_module("gevent").__path__, "gevent."):
        parts = found.name.split(".")
        if not any(part.startswith("_") or part in NOT_FOR_PROGRAMS for part in parts):
            yield found.name


def source_of(module: str) -> Path:
    """Return the path of a module's source; gevent's wheel has those of compiled modules too."""
    path = Path(importlib.import_module("gevent").__path__[0], *module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def syntax(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def made_in(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements bind, except by imports."""
    for node in body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.If() | ast.Try():
                handlers = [handler.body for handler in getattr(node, "handlers", ())]
                for branch in (node.body, node.orelse, *handlers):
                    yield from made_in(branch)


def made_by(module: str) -> set[str]:
    """Return the names that a module's source binds, except by imports."""
    source = source_of(module)
    return set(made_in(syntax(source).body)) if source.exists() else set()


def standard(module: str, name: str, value: Any) -> bool:
    """Return whether *value* is that of the same name in the corresponding standard module."""
    try:
        model = importlib.import_module(module.partition(".")[2])
    except (ImportError, ValueError):
        return False
    return value is getattr(model, name, standard)


def public_names(module: str) -> Iterator[str]:
    """Yield the names in ``__all__`` or bound by the module, except the standard library's."""
    loaded = importlib.import_module(module)
    listed = set(getattr(loaded, "__all__", None) or ())
    made = made_by(module)
    for name, value in sorted(vars(loaded).items()):
        public = name in listed or (name in made and not name.startswith("_"))
        if public and not isinstance(value, ModuleType) and not standard(module, name, value):
            yield name


def borrowed_names(module: str) -> Iterator[str]:
    """Yield the names that a module imports from other modules of gevent for its own use."""
    public = set(public_names(module))
    for name, value in sorted(vars(importlib.import_module(module)).items()):
        if not name.startswith("_") and name not in public and belongs_to_gevent(value):
            yield name


def home(value: Any) -> str:
    """Return the ``__module__`` of a value; empty for plain data."""
    named = getattr(value, "__module__", None)
    return named if isinstance(named, str) else ""


def belongs_to_gevent(value: Any) -> bool:
    return not isinstance(value, ModuleType) and home(value).partition(".")[0] == "gevent"


# The entries of names.


def pickled(value: Any) -> Entry:
    """Return an entry with the name by which a class or function of gevent's is pickled."""
    name = getattr(value, "__qualname__", "")
    return {"pickled": f"{home(value)}:{name}"} if belongs_to_gevent(value) and name else {}


def describe(value: Any) -> Entry:
    """Return the entry of a module's attribute."""
    if isinstance(value, type):
        return {
            "kind": "class",
            "bases": [base.__name__ for base in value.__mro__[1:-1]],
            **pickled(value),
            **noted(constructor(value)),
        }
    if callable(value):
        return {"kind": "function", **pickled(value), **noted(signature(value))}
    return {"kind": "data", **plain(value)}


def describe_member(owner: type, name: str) -> Entry | None:
    """Return the entry of a class's attribute; None if the class has none of that name."""
    found = inspect.getattr_static(owner, name, owner)
    if found is owner:
        return {"kind": "attribute"} if name in instance_attributes(owner) else None
    if isinstance(found, classmethod | staticmethod | ClassMethodDescriptor | BuiltinFunctionType):
        return {"kind": "function", **noted(signature(getattr(owner, name)))}
    if isinstance(found, type):
        return {"kind": "class"}
    if inspect.isroutine(found) and callable(found):
        if name in PROTOCOLS:
            return {"kind": "method"}
        return {"kind": "method", **noted(method_parameters(owner, name, found))}
    if hasattr(type(found), "__get__"):
        return {"kind": "attribute"}
    return {"kind": "attribute", **plain(found)}


def members(owner: type) -> Iterator[str]:
    """Yield the public attributes that a class and its instances have from gevent's classes."""
    ours = [kind for kind in owner.__mro__ if home(kind).partition(".")[0] == "gevent"]
    names = {name for kind in ours for name in vars(kind)} | instance_attributes(owner, True)
    for name in sorted(names):
        if name in PROTOCOLS or not name.startswith("_"):
            yield name


@cache
def instance_attributes(owner: type, of_gevent: bool = False) -> set[str]:
    """Return the attributes that a class's methods written in Python assign to ``self``.

    With *of_gevent*, only the methods of gevent's classes count.
    """
    return {
        node.attr
        for kind in owner.__mro__
        if not of_gevent or home(kind).partition(".")[0] == "gevent"
        for method in getattr(class_syntax(kind), "body", ())
        if isinstance(method, ast.FunctionDef)
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if isinstance(node.value, ast.Name) and node.value.id == "self"
    }


def class_syntax(kind: type) -> ast.ClassDef | None:
    """Return the syntax tree of a class that is written in Python; None for a compiled one."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    return find_class(Path(file), kind.__name__) if file.endswith(".py") else None


def class_stub(kind: type) -> ast.ClassDef | None:
    """Return the syntax tree of a class in the stub beside a compiled module, or None."""
    stub = stub_of(kind.__module__)
    return find_class(stub, kind.__name__) if stub else None


def find_class(path: Path, name: str) -> ast.ClassDef | None:
    for node in syntax(path).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node
    return None


def stub_of(module: str) -> Path | None:
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or file.endswith(".py"):
        return None
    path = Path(file)
    stub = path.with_name(path.name.partition(".")[0] + ".pyi")
    return stub if stub.exists() else None


def parameters_in(body: Iterable[ast.stmt], name: str) -> Signature | None:
    """Return the parameters of the first function called *name* that statements define."""
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return read(f"({ast.unparse(node.args)})")
    return None


def plain(value: Any) -> Entry:
    """Return an entry with the value, if it is plain data.

    Large numbers are left out: they depend on the process, as that of a thread does.
    """
    if type(value) not in PLAIN or (isinstance(value, int) and abs(value) >> 32):
        return {}
    return {"value": repr(value)}


# Parameters.


def signature(function: Any) -> Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def method_parameters(owner: type, name: str, method: Any) -> Signature | None:
    found = signature(method)
    if found is None:
        definer = next(kind for kind in owner.__mro__ if name in vars(kind))
        found = parameters_in(getattr(class_stub(definer), "body", ()), name)
    return without_self(found)


def constructor(kind: type) -> Signature | None:
    """Return the parameters that a class is called with.

    They come from its signature, from the first line of its docstring or from its stub.
    """
    found = signature(kind)
    if found is not None:
        return found
    for base in kind.__mro__:
        if base is object:
            return Signature()
        if home(base).partition(".")[0] not in OURS:
            return None
        embedded = re.match(rf"\s*{base.__name__}(\(.*\))\n", base.__doc__ or "")
        if embedded:
            return read(embedded[1])
        stated = parameters_in(getattr(class_stub(base), "body", ()), "__init__")
        if stated is not None:
            return without_self(stated)
    return None


def read(text: str) -> Signature:
    """Return the parameters in a text such as ``(a, b=1)``."""
    tree = ast.parse(f"def f{text}: pass")
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    arguments = definition.args
    for each in ast.walk(arguments):
        if isinstance(each, ast.arg):
            each.annotation = None
    for defaults in (arguments.defaults, arguments.kw_defaults):
        defaults[:] = [each and ast.Constant(constant(each)) for each in defaults]
    namespace: dict[str, Any] = {}
    exec(compile(ast.fix_missing_locations(tree), "<signature>", "exec"), namespace)
    return inspect.signature(namespace["f"])


def constant(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ...


def without_self(found: Signature | None) -> Signature | None:
    parameters = list(found.parameters.values()) if found else []
    if parameters and parameters[0].kind is not Parameter.VAR_POSITIONAL:
        del parameters[0]
    return found and Signature(parameters)


def noted(found: Signature | None) -> Entry:
    """Return an entry with a signature as text.

    Annotations and private parameters with a default are left out. A default that is not plain data
    is ``...``.
    """
    if found is None:
        return {}
    parameters = [
        each.replace(annotation=Parameter.empty, default=shown(each.default))
        for name, each in found.parameters.items()
        if not name.startswith("_") or each.default is Parameter.empty
    ]
    return {"signature": str(Signature(parameters)).replace("Ellipsis", "...")}


def shown(default: Any) -> Any:
    items = default if isinstance(default, tuple) else (default,)
    if default is Parameter.empty or all(type(each) in PLAIN for each in items):
        return default
    return ...


# The whole listing.


def settings() -> dict[str, Entry]:
    """Return the entries of the settings in ``gevent.config``, with their environment variables."""
    config = importlib.import_module("gevent._config").config
    return {f"config.{name}": setting(each) for name, each in sorted(config.settings.items())}


def setting(of: Any) -> Entry:
    keys = [of.environment_key, *filter(None, [getattr(of, "gevent_key", None)])]
    return {"kind": "setting", "environments": keys, **plain(of.default)}


def entries(module: ModuleType, names: Iterable[str]) -> dict[str, Entry]:
    """Return the entries of those names, which may be dotted, that exist in a module."""
    found: dict[str, Entry] = {}
    for name in names:
        outer, _, inner = name.partition(".")
        value = getattr(module, outer, entries)
        if value is entries:
            continue
        if not inner:
            found[name] = describe(value)
        elif isinstance(value, type) and (member := describe_member(value, inner)):
            found[name] = member
    return found


class Offer:
    """The public names of gevent's wheel.

    Each object is listed once, in its home module. Its other public names refer to that.
    """

    def __init__(self) -> None:
        self.names = {module: list(public_names(module)) for module in public_modules()}
        self.homes = {id(value): f"{module}.{name}" for module, name, value in self.ranked()}

    def ranked(self) -> Iterator[tuple[str, str, Any]]:
        """Yield module, name and value of gevent's public objects; an object's own name is last."""
        found = [
            (module, name, getattr(importlib.import_module(module), name))
            for module, names in self.names.items()
            for name in names
        ]

        def rank(item: tuple[str, str, Any]) -> tuple[bool, bool, bool]:
            module, name, value = item
            own = name == getattr(value, "__name__", name)
            return own, own and name in made_by(module), module != "gevent"

        return (item for item in sorted(found, key=rank) if belongs_to_gevent(item[2]))

    def inherited(self, owner: type) -> set[str]:
        """Return the attributes that a class inherits from classes that are listed too."""
        listed = [base for base in owner.__mro__[1:] if id(base) in self.homes]
        return {name for base in listed for name in members(base)}

    def nameable_bases(self, owner: type) -> list[type]:
        """Return the bases of a class that belong to another package or are listed too."""
        bases = owner.__mro__[1:-1]
        return [base for base in bases if id(base) in self.homes or not belongs_to_gevent(base)]

    def module(self, name: str) -> dict[str, Entry]:
        module = importlib.import_module(name)
        listed: dict[str, Entry] = {}
        for each in self.names[name]:
            value = getattr(module, each)
            of = self.homes.get(id(value), "")
            if of and of != f"{name}.{each}":
                listed[each] = {"kind": "name", "of": of}
                continue
            wanted = [each]
            if isinstance(value, type) and belongs_to_gevent(value):
                own = set(members(value)) - self.inherited(value)
                wanted += [f"{each}.{member}" for member in sorted(own)]
            listed |= entries(module, wanted)
            if isinstance(value, type):
                listed[each]["bases"] = [kind.__name__ for kind in self.nameable_bases(value)]
        for each in borrowed_names(name):
            listed[each] = {"kind": "borrowed", "home": home(getattr(module, each))}
        return listed

    def listing(self) -> Listing:
        listing = {name: self.module(name) for name in self.names}
        listing["gevent"] |= settings()
        return listing


def reached(recorded: Listing) -> Listing:
    """Return the entries that exist under the names of a recorded listing.

    A setting may have several names.
    """
    listing: Listing = {}
    for name, wanted in recorded.items():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        listing[name] = entries(module, wanted)
        for each, entry in wanted.items():
            if entry["kind"] == "name" and each in listing[name]:
                listing[name][each] = named(module, each, entry["of"])
    listing["gevent"] |= settings()
    config = importlib.import_module("gevent").config
    for name in recorded["gevent"]:
        if name.startswith("config.") and hasattr(config, name.partition(".")[2]):
            listing["gevent"].setdefault(name, {"kind": "setting"})
    return listing


def named(module: ModuleType, name: str, of: str) -> Entry:
    """Return an entry that refers to *of* if both names are of the same object."""
    owner, _, other = of.rpartition(".")
    same = getattr(importlib.import_module(owner), other, None) is getattr(module, name)
    return {"kind": "name", **({"of": of} if same else {})}


def main() -> None:
    recorded = sys.argv[1:]
    listing = reached(json.loads(Path(recorded[0]).read_text())) if recorded else Offer().listing()
    json.dump(listing, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
