"""Rebind references that were taken from a module before it was patched, and replace locks."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import partial
from types import BuiltinMethodType, CellType, FunctionType, ModuleType
from typing import Any

from treadle.monkey._objects import is_a, module_name, remade_tuple, replace_items, set_attribute
from treadle.monkey._references import Link, Original, Reference, find_references, originals
from treadle.monkey._saved import get_original, is_object_patched, patch_item


def rebind_all(existing_locks: bool = True) -> list[Reference]:
    """Replace all references to originals, and, if *existing_locks*, native locks and locals.

    A lock that is held is not replaced, because its holder is going to release that very object.
    Return the references that could not be replaced.
    """
    return Repair(_makers() if existing_locks else {}).rebind_all(originals())


def _makers() -> dict[type, Callable[[Any], Any]]:
    makers: dict[type, Callable[[Any], Any]] = {}
    for name, make in (("allocate_lock", _new_lock), ("RLock", _new_lock), ("_local", _new_local)):
        if is_object_patched("_thread", name):
            native = type(get_original("_thread", name)())
            makers[native] = partial(make, getattr(sys.modules["_thread"], name))
    return makers


def _new_lock(make: Callable[[], Any], old: Any) -> Any:
    owned = getattr(old, "_is_owned", None)
    if (owned is not None and owned()) or not old.acquire(False):
        return None
    old.release()
    return make()


def _new_local(make: Callable[[], Any], old: Any) -> Any:
    new = make()
    vars(new).update(vars(old))
    return new


class Repair:
    """Replaces references to originals by their replacements, and native locks by new ones.

    *makers* maps a native class to a function. It takes an instance and returns a replacement, or
    None if the instance must stay. It is called once per instance, however many references share
    the instance.
    """

    def __init__(self, makers: dict[type, Callable[[Any], Any]]) -> None:
        self._makers = makers
        self._made: dict[int, tuple[Any, Any]] = {}

    def rebind_all(self, targets: list[Original]) -> list[Reference]:
        """Replace all references to *targets*; return those that could not be replaced."""
        return [found for found in find_references(targets) if not self._rebind(found)]

    def _rebind(self, reference: Reference) -> bool:
        if not reference.attribute:
            return self._derive_anew(reference.owner, reference.original)
        chain = reference.chain
        for above, link in zip([None, *chain], chain, strict=False):
            new = self._replacement(link)
            if new is None:
                continue
            if above is None:
                return _set_in_owner(reference, new)
            return _set_in_container(above.obj, link.obj, new)
        return False

    def _replacement(self, link: Link) -> Any:
        """Return the replacement for *link*, or None if it is to be changed in place or to stay."""
        if link.below is None:
            return link.original.new
        for native, make in self._makers.items():
            if type(link.obj) is native:
                return self._remade(link.obj, make)
        inner = self._replacement(link.below)
        return None if inner is None else _rebuilt(link.obj, link.below.obj, inner)

    def _derive_anew(self, cls: type, original: Original) -> bool:
        """Replace a class by a copy derived from the replacement of its base.

        Return False if the class has subclasses, its methods use ``super()``, or not all references
        to the class could be replaced. Also if it has instances, unless each is a thread's local
        that can be made without arguments: the class then adds nothing to what is replaced.
        """
        if type(cls) is not type or cls.__subclasses__() or not isinstance(original.new, type):
            return False
        namespace = {
            name: value
            for name, value in vars(cls).items()
            if name not in ("__dict__", "__weakref__")
        }
        functions = [each for each in namespace.values() if isinstance(each, FunctionType)]
        if any("__class__" in function.__code__.co_freevars for function in functions):
            return False
        is_used = any(type(holder) is cls for holder in gc.get_referrers(cls))
        is_plain = namespace.keys().isdisjoint(("__init__", "__new__")) and len(cls.__bases__) == 1
        make = self._makers.get(original.old)
        if is_used and not (is_plain and isinstance(make, partial) and make.func is _new_local):
            return False
        bases = [original.new if base is original.old else base for base in cls.__bases__]
        try:
            new = type(cls.__name__, tuple(bases), namespace)
        except Exception:  # of __init_subclass__() or __set_name__()
            return False
        if is_used:
            self._makers[cls] = partial(_new_local, new)
        return not self.rebind_all([Original(cls.__qualname__, cls, new)])

    def _remade(self, old: Any, make: Callable[[Any], Any]) -> Any:
        if id(old) not in self._made:
            # The old object is kept alive here, so that no other object gets its id.
            self._made[id(old)] = (old, make(old))
        return self._made[id(old)][1]


def _rebuilt(holder: Any, old: Any, new: Any) -> Any:
    """Return a copy of an immutable *holder* with *new* for *old*; None for any other object."""
    kind = type(holder)
    if kind is BuiltinMethodType:
        return getattr(new, holder.__name__, None)
    if kind is staticmethod:
        return staticmethod(new)
    if kind is partial and holder.func is old:
        return partial(new, *holder.args, **holder.keywords)
    if is_a(holder, tuple):
        return remade_tuple(holder, old, new)
    return None


def _set_in_owner(reference: Reference, new: Any) -> bool:
    owner, name = reference.owner, reference.attribute
    if type(owner) is FunctionType:
        return _set_default(owner, name, new)
    if is_a(owner, type):
        if isinstance(new, FunctionType) and not isinstance(reference.original.old, FunctionType):
            new = staticmethod(new)  # builtin functions do not bind either
        try:
            type.__setattr__(owner, name, new)
        except (AttributeError, TypeError):
            return False  # an attribute of a builtin class
        return True
    if is_a(owner, ModuleType) and module_name(owner).partition(".")[0] in sys.stdlib_module_names:
        patch_item(owner, name, new)  # so that get_original() finds it under this name too
        return True
    return set_attribute(owner, name, new)


def _set_default(function: FunctionType, parameter: str, new: Any) -> bool:
    named, code = function.__kwdefaults__, function.__code__
    if named is not None and parameter in named:
        named[parameter] = new
        return True
    defaults = list(function.__defaults__ or ())
    position = code.co_varnames[: code.co_argcount].index(parameter) - code.co_argcount
    defaults[position] = new
    function.__defaults__ = tuple(defaults)
    return True


def _set_in_container(container: Any, old: Any, new: Any) -> bool:
    if type(container) is CellType:
        container.cell_contents = new
        return True
    return replace_items(container, old, new)
