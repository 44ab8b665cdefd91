"""``gevent._util`` under the alias: descriptors that compute an attribute when first read."""

from functools import update_wrapper


class _Unset:
    """Stands for an argument that was not given."""

    def __repr__(self):
        return "<default value>"


_NONE = _Unset()


class Lazy:
    """Calls the function once for each instance, which then has the result as attribute."""

    def __init__(self, func):
        self.func = func
        update_wrapper(self, func)

    def __get__(self, inst, class_):
        if inst is None:
            return self
        value = vars(inst)[self.func.__name__] = self.func(inst)
        return value


class readproperty:
    """A property that can be assigned over; the function computes it until then."""

    def __init__(self, func):
        self.func = func
        update_wrapper(self, func)

    def __get__(self, inst, class_):
        return self if inst is None else self.func(inst)


class LazyOnClass:
    """Calls the function once for the class, which then has the result as attribute."""

    @classmethod
    def lazy(cls, cls_dict, func):
        """Put one for *func* into the namespace of a class that is being made."""
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
    """Copy the attributes of a module into a namespace; returns the names."""
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
