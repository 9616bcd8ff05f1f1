"""Values: objects that are made once and never changed.

They are frozen for the type checker and plain at run time: a dataclass that is frozen at run time sets each field by a call
of its own, and a request makes some 300 of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(*, eq: bool = True, repr: bool = True) -> Callable[[type[T]], type[T]]:  # noqa: A002 (the dataclass's own name)
    """A dataclass with slots; `eq` and `repr` as there. Equal ones have the same hash."""
    return dataclass(slots=True, eq=eq, unsafe_hash=eq, repr=repr)
