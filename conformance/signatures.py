"""Checks that a function can be called in every way in which another can."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import Parameter, Signature

from conformance.listing import read

#: Signatures of functions that pass on all arguments: they do not tell which are accepted.
SAYS_NOTHING = ("(*args)", "(*args, **kwargs)")


def refusals(theirs: str, ours: str) -> list[str]:
    """Return the calls that *theirs* allows and *ours* does not, and the defaults that differ."""
    if theirs in SAYS_NOTHING:
        return []
    wanted, given = Parameters(read(theirs)), Parameters(read(ours))
    return [*given.unplaced(wanted), *given.unnamed(wanted), *given.required_beyond(wanted)]


class Parameters:
    """The parameters of a function, by how a caller can pass them."""

    def __init__(self, signature: Signature) -> None:
        parameters = list(signature.parameters.values())
        kinds = [each.kind for each in parameters]
        self.any_places = Parameter.VAR_POSITIONAL in kinds
        self.any_names = Parameter.VAR_KEYWORD in kinds
        by_name = (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        by_place = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        self.places = [each for each in parameters if each.kind in by_place]
        self.names = {each.name: each for each in parameters if each.kind in by_name}

    def unplaced(self, wanted: Parameters) -> Iterator[str]:
        """Yield the *wanted* parameters that cannot be passed by position."""
        for place, each in enumerate(wanted.places):
            if place < len(self.places):
                yield from _default(each, self.places[place])
            elif not self.any_places:
                yield f"takes no {each.name} at place {place + 1}"
        if wanted.any_places and not self.any_places:
            yield "takes no * arguments"

    def unnamed(self, wanted: Parameters) -> Iterator[str]:
        """Yield the *wanted* parameters that cannot be passed by name."""
        for name, each in wanted.names.items():
            ours = self.names.get(name)
            if ours is None:
                if not self.any_names:
                    yield f"takes no {name} by name"
            elif each not in wanted.places:
                yield from _default(each, ours)
            elif ours in self.places and self.places.index(ours) != wanted.places.index(each):
                yield f"takes {name} at another place"
        if wanted.any_names and not self.any_names:
            yield "takes no ** arguments"

    def required_beyond(self, wanted: Parameters) -> Iterator[str]:
        """Yield the required parameters that are not among the *wanted* ones."""
        beyond = [] if wanted.any_places else self.places[len(wanted.places) :]
        beyond += [
            each
            for name, each in self.names.items()
            if each not in self.places and name not in wanted.names
        ]
        for each in beyond:
            if each.default is Parameter.empty:
                yield f"requires {each.name}"


def _default(theirs: Parameter, ours: Parameter) -> Iterator[str]:
    if theirs.default is Parameter.empty:
        return
    if ours.default is Parameter.empty:
        yield f"requires {ours.name}"
    elif ... not in (theirs.default, ours.default) and repr(theirs.default) != repr(ours.default):
        yield f"{ours.name} is {ours.default!r} by default, not {theirs.default!r}"
