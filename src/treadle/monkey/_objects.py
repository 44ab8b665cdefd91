"""Read and set attributes of any object without running code of its class.

Patching meets every object of the program. Their properties, ``__getattr__()`` and ``__eq__()`` may
do anything, and raise anything. Even ``isinstance()`` asks an object for its ``__class__``.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

#: The collections that programs derive their own from.
COLLECTIONS = (deque, dict, frozenset, list, set, tuple)

_default_factory: Any = vars(defaultdict)["default_factory"]
_mro_of = vars(type)["__mro__"].__get__
_namespace_of = vars(type)["__dict__"].__get__
#: Return the bases of a class.
bases_of = vars(type)["__bases__"].__get__
#: Return the qualified name of a class.
qualname_of = vars(type)["__qualname__"].__get__


def is_a(obj: object, *classes: type) -> bool:
    """Return whether *obj* is an instance of one of *classes*, whatever its ``__class__`` says."""
    return issubclass(type(obj), classes)


def contains(objects: Iterable[object], obj: object) -> bool:
    """Return whether *obj* itself is one of *objects*, not merely equal to one."""
    return any(each is obj for each in objects)


def members_of(collection: Any) -> list[Any]:
    """Return what is in a collection, including the keys of a dict and its default factory."""
    kind: Any = next(kind for kind in COLLECTIONS if is_a(collection, kind))
    found = [*kind.__iter__(collection)]
    if kind is dict:
        found += dict.values(collection)
    if is_a(collection, defaultdict):
        found.append(_default_factory.__get__(collection))
    return found


def class_namespace(cls: type) -> dict[str, Any]:
    """Return a copy of the namespace of a class."""
    return dict(_namespace_of(cls))


def namespace(obj: object) -> dict[str, Any]:
    """Return the ``__dict__`` of a module, a function or an instance; an empty one if it has none.

    A property of that name is passed over.
    """
    for cls in _mro_of(type(obj)):
        found = _namespace_of(cls).get("__dict__")
        if type(found) is GetSetDescriptorType or type(found) is MemberDescriptorType:
            return found.__get__(obj) or {}
    return {}


def slots(obj: object) -> dict[str, Any]:
    """Return the slots of an instance of a Python class that have values: name -> descriptor."""
    return {
        name: slot
        for cls in reversed(_mro_of(type(obj)))
        if "__slots__" in _namespace_of(cls)
        for name, slot in list(_namespace_of(cls).items())
        if type(slot) is MemberDescriptorType and _has_value(slot, obj)
    }


def _has_value(slot: Any, obj: object) -> bool:
    try:
        slot.__get__(obj)
    except AttributeError:
        return False
    return True


def replace_items(collection: Any, old: object, new: object) -> bool:
    """Replace *old* by *new* in a list, a deque or a dict; return False if that is impossible.

    What has *old* as a key gets another entry, so that both can be looked up.
    """
    if is_a(collection, list):
        list.__setitem__(collection, slice(None), _with(list.__iter__(collection), old, new))
    elif is_a(collection, deque):
        for index, value in enumerate(list(deque.__iter__(collection))):
            if value is old:
                deque.__setitem__(collection, index, new)
    elif is_a(collection, dict):
        for key, value in list(dict.items(collection)):
            if value is old:
                dict.__setitem__(collection, key, new)
            if key is old:
                dict.setdefault(collection, new, value)
        if is_a(collection, defaultdict) and _default_factory.__get__(collection) is old:
            _default_factory.__set__(collection, new)
    else:
        return False
    return True


def remade_tuple(old_tuple: Any, old: object, new: object) -> Any:
    """Return a copy of a tuple or named tuple with *new* for *old*; None if there can be none."""
    kind = type(old_tuple)
    if namespace(old_tuple):
        return None
    try:
        return tuple.__new__(kind, _with(tuple.__iter__(old_tuple), old, new))
    except TypeError:
        return None  # a tuple that only C code makes, such as os.stat_result


def _with(objects: Iterable[Any], old: object, new: object) -> list[Any]:
    return [new if each is old else each for each in objects]


def set_attribute(obj: object, name: str, new: object) -> bool:
    """Replace the value of an attribute that is in the object itself; return False if it is not."""
    attributes = namespace(obj)
    slot = slots(obj).get(name)
    if name in attributes:
        attributes[name] = new
    elif slot is not None:
        slot.__set__(obj, new)
    else:
        return False
    return True


def module_name(module: object) -> str:
    """Return the name of a module; an empty one if it has none."""
    name = namespace(module).get("__name__")
    return name if type(name) is str else ""
