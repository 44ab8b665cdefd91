"""``gevent._util`` under the alias: descriptors that compute an attribute when it is read."""

from functools import update_wrapper


class _Unset:
    """The default of an argument that was not given."""

    def __repr__(self):
        return "<default value>"


_NONE = _Unset()


class Lazy:
    """A descriptor that calls its function once per instance, and stores the result there."""

    def __init__(self, func):
        self.func = func
        update_wrapper(self, func)

    def __get__(self, inst, class_):
        if inst is None:
            return self
        value = vars(inst)[self.func.__name__] = self.func(inst)
        return value


class readproperty:
    """A property that calls its function at each read until an instance attribute is assigned."""

    def __init__(self, func):
        self.func = func
        update_wrapper(self, func)

    def __get__(self, inst, class_):
        return self if inst is None else self.func(inst)


class LazyOnClass:
    """A descriptor that calls its function once per class, and stores the result there."""

    @classmethod
    def lazy(cls, cls_dict, func):
        """Add a descriptor for *func* to the namespace *cls_dict* of a class being defined."""
        cls_dict[func.__name__] = cls(func)

    def __init__(self, func, name=None):
        self.func = func
        self.name = name or func.__name__

    def __get__(self, inst, klass):
        if inst is None:
            return self
        value = self.func(inst)
        setattr(klass, self.name, value)
        return value


def copy_globals(
    source,
    globs,
    only_names=None,
    ignore_missing_names=False,
    names_to_ignore=(),
    dunder_names_to_keep=("__implements__", "__all__", "__imports__"),
    cleanup_globs=True,
):
    """Copy attributes of the module *source* into the namespace *globs*; return their names."""
    copied = []
    for name in only_names or dir(source):
        if name in names_to_ignore or (
            name.startswith("__") and name not in dunder_names_to_keep and not only_names
        ):
            continue
        try:
            globs[name] = getattr(source, name)
        except AttributeError:
            if not ignore_missing_names:
                raise
            continue
        copied.append(name)
    return copied
