"""Find references to originals: names, attributes, defaults, closures, items, subclasses.

The search uses ``gc.get_referrers()``. From each original it follows the referrers, through
unnamed containers, until it reaches a module, a class, a function or an instance.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import (
    BuiltinMethodType,
    CellType,
    FrameType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import Any

from treadle.monkey._objects import (
    COLLECTIONS,
    bases_of,
    class_namespace,
    contains,
    is_a,
    members_of,
    module_name,
    namespace,
    qualname_of,
    slots,
)
from treadle.monkey._once import COMPILED
from treadle.monkey._saved import homes, saved

#: References of the standard library that stay: (module, dotted name) -> the reason.
_KEPT = {
    ("asyncio.events", "_RunningLoop"): "the running loop is kept greenlet by greenlet elsewhere",
    ("selectors", "EpollSelector._selector_cls"): "of the original selector, which stays one",
    ("selectors", "PollSelector._selector_cls"): "the same",
    ("selectors", "SelectSelector._select"): "the same",
    ("ssl", "SSLSocket"): "who makes one gets a cooperative one",
    ("subprocess", "Popen._internal_poll._waitpid"): "asks without waiting, when all else is gone",
}

_CONTAINERS = (
    *COLLECTIONS,
    BuiltinMethodType,
    CellType,
    MappingProxyType,
    MethodType,
    classmethod,
    functools.partial,
    property,
    staticmethod,
    type(functools.lru_cache(abs)),
)

#: A module-level name with one of these words, between underscores, is meant to hold the original.
_KEEPS_ORIGINAL = frozenset({"native", "orig", "original", "real", "unpatched"})

#: How many nested containers the search follows between an original and a name.
_DEPTH = 5


@dataclass(frozen=True, eq=False)
class Original:
    """An object that patching replaced, and its replacement."""

    title: str
    old: Any
    new: Any


@dataclass(frozen=True, eq=False)
class Link:
    """An object on the path from an original to a name; it refers to the object of *below*."""

    obj: Any
    original: Original
    below: Link | None = None


@dataclass(frozen=True, eq=False)
class Reference:
    """A named place that refers to an original.

    *owner* is a module, class, function or instance. *attribute* is the name in it; it is empty if
    *owner* is a class derived from the original. *link* is the object under that name: the
    original, an instance of it, or a container.
    """

    owner: Any
    attribute: str
    link: Link

    @property
    def original(self) -> Original:
        """The original that the reference leads to."""
        return self.link.original

    @property
    def scope(self) -> Any:
        """The module, class or function whose source has the reference; an instance's class."""
        if is_a(self.owner, ModuleType, type, FunctionType):
            return self.owner
        return type(self.owner)

    @property
    def module(self) -> str:
        """The name of the module that the reference is in."""
        scope = self.scope
        if is_a(scope, FunctionType):
            return str(scope.__globals__.get("__name__"))  # functools.wraps() may change __module__
        if is_a(scope, ModuleType):
            return module_name(scope)
        return homes.get(id(scope)) or str(class_namespace(scope).get("__module__", "builtins"))

    @property
    def qualname(self) -> str:
        """The dotted name of the reference within its module."""
        scope = self.scope
        if is_a(scope, ModuleType):
            return self.attribute
        inner = scope.__code__.co_qualname if is_a(scope, FunctionType) else qualname_of(scope)
        return ".".join(filter(None, (inner, self.attribute)))

    @property
    def chain(self) -> list[Link]:
        """The links from the owner to the original, with the original last."""
        chain = [self.link]
        while chain[-1].below is not None:
            chain.append(chain[-1].below)
        return chain


def originals() -> list[Original]:
    """Return every callable that patching has replaced by another object."""
    found: dict[int, Original] = {}
    for module, items in saved.items():
        for name, old in items.items() if module in sys.modules else ():
            new = getattr(sys.modules[module], name, old)
            if callable(old) and new is not old:
                title = f"{module}.{name}"
                if isinstance(old, type):
                    title = f"{old.__module__}.{old.__qualname__}"
                found.setdefault(id(old), Original(title, old, new))
    return list(found.values())


def is_ours(module: object) -> bool:
    """Return whether *module* is the name of a module of treadle."""
    return isinstance(module, str) and (module == "treadle" or module.startswith("treadle."))


def find_references(targets: list[Original]) -> list[Reference]:
    """Return the named references to *targets*, except treadle's own and those to be kept."""
    return [
        reference
        for reference in _search(targets)
        if not (
            is_ours(reference.module)
            or (reference.module, reference.qualname) in _KEPT
            or _is_kept_on_purpose(reference)
        )
    ]


def _is_kept_on_purpose(reference: Reference) -> bool:
    return (
        is_a(reference.owner, ModuleType)
        and reference.link.below is None
        and not _KEEPS_ORIGINAL.isdisjoint(reference.attribute.lower().split("_"))
    )


def _search(targets: list[Original]) -> Iterator[Reference]:
    level = [Link(each.old, each) for each in targets]
    namespaces = {
        id(namespace(module)): module
        for module in list(sys.modules.values())
        if is_a(module, ModuleType)
    }
    ignored = {id(saved), id(namespaces)}
    for items in saved.values():
        ignored |= {id(items), *map(id, items.values())}  # originals keep their own references
    seen: set[tuple[int, int]] = set()
    for _ in range(_DEPTH):
        links: dict[int, list[Link]] = {}
        for link in level:
            links.setdefault(id(link.obj), []).append(link)
        level = []
        for holder, link in _holders(links, ignored):
            if (id(holder), id(link.obj)) in seen:
                continue
            if id(holder) in namespaces:
                yield from _names(namespaces[id(holder)], holder, link)
                continue
            if _is_on_the_way(holder, link):
                seen.add((id(holder), id(link.obj)))
                level.append(Link(holder, link.original, link))
            if not _is_container(holder):
                yield from _places(holder, link)


def _holders(links: dict[int, list[Link]], ignored: set[int]) -> Iterator[tuple[Any, Link]]:
    for holder in gc.get_referrers(*[each[0].obj for each in links.values()]) if links else ():
        if id(holder) in ignored or is_a(holder, Link, Original, FrameType):
            continue
        for key in {id(obj) for obj in gc.get_referents(holder)} & links.keys():
            for link in links[key]:
                yield holder, link


def _is_container(obj: object) -> bool:
    """Return whether *obj* has no name for what it refers to."""
    return contains(_CONTAINERS, type(obj))


def _is_on_the_way(holder: Any, link: Link) -> bool:
    """Return whether the search goes on from *holder*: a container or an original's instance."""
    if link.below is None:
        if type(holder) is link.obj:
            return True
        if type(holder) is dict and contains(list(holder), link.obj):
            # A registry that has the replacement as well is left as it is.
            return not contains(list(holder), link.original.new)
    return _is_container(holder) or (
        is_a(holder, *COLLECTIONS) and contains(members_of(holder), link.obj)
    )


def _names(owner: Any, namespace: Any, link: Link) -> Iterator[Reference]:
    if is_a(owner, ModuleType) and module_name(owner) in COMPILED:
        return  # the module that defines the originals
    for name, value in list(namespace.items()):
        if value is link.obj and is_a(name, str) and name != "__new__":
            yield Reference(owner, name, link)


def _places(holder: Any, link: Link) -> Iterator[Reference]:
    if type(holder) is FunctionType:
        return _in_function(holder, link)
    if is_a(holder, type):
        return _in_class(holder, link)
    return _in_instance(holder, link)


def _in_function(function: FunctionType, link: Link) -> Iterator[Reference]:
    code, named = function.__code__, function.__kwdefaults__
    values: Any = link.obj
    names: tuple[str, ...] = ()
    if values is function.__defaults__:
        names = code.co_varnames[: code.co_argcount][-len(link.obj) :]
        values = link.obj[-len(names) :]  # there may be more of them than arguments
    elif values is function.__closure__:
        names = code.co_freevars
    if names:
        named = dict(zip(names, values, strict=True))
        named.pop("__class__", None)  # super() needs this closure variable
    if link.below is not None and (names or values is named):
        yield from _names(function, named, link.below)


def _in_class(cls: type, link: Link) -> Iterator[Reference]:
    if contains(bases_of(cls), link.obj):
        new = link.original.new
        if not (isinstance(new, type) and issubclass(cls, new)):
            yield Reference(cls, "", link)
    elif link.below is not None and type(link.obj) is dict:
        yield from _names(cls, class_namespace(cls), link.below)


def _in_instance(instance: Any, link: Link) -> Iterator[Reference]:
    names = namespace(instance)
    if link.obj is names:
        if link.below is not None:
            yield from _names(instance, names, link.below)
    else:
        yield from _names(instance, names, link)
        values = {name: slot.__get__(instance) for name, slot in slots(instance).items()}
        yield from _names(instance, values, link)
