"""What attrs makes of an orchestrator class, and keeps when `@attrs.define` is written above it."""

from __future__ import annotations

from typing import Any

import attrs

from statemachines_orchestrator._attachment import assemble, disassemble

__all__ = [
    "attach_before_post_init",
    "attributes_of",
    "made_by_attrs",
    "respecify",
    "restore",
    "take_setattr",
]

_FROM_ATTRS = (
    "__attrs_attrs__",
    "__attrs_init__",
    "__eq__",
    "__getstate__",
    "__hash__",
    "__init__",
    "__match_args__",
    "__ne__",
    "__repr__",
    "__setattr__",
    "__setstate__",
)
"""What an explicit `@attrs.define` makes anew, and must not."""


_SPECIFICATION = attrs.field().__class__


def take_setattr(cls: type) -> Any:
    """Take what attrs wrote to set attributes: `Orchestrator.__setattr__` calls it.

    On the class it would stand in the way of ours, and of an explicit `@attrs.define`.
    """
    if not vars(cls).get("__attrs_own_setattr__"):
        return object.__setattr__
    written = vars(cls)["__setattr__"]
    delattr(cls, "__setattr__")
    cls.__attrs_own_setattr__ = False  # type: ignore[attr-defined] # attrs asks for it
    return written


def attributes_of(cls: Any) -> tuple[Any, ...]:
    """Return the fields of a class, as attrs tells them."""
    attributes: tuple[Any, ...] = attrs.fields(cls)
    return attributes


def made_by_attrs(cls: Any) -> dict[str, Any]:
    """Return what attrs made of the class, as it is to stay."""
    made: dict[str, Any] = {name: vars(cls)[name] for name in _FROM_ATTRS if name in vars(cls)}
    return _preferred(cls) | made


def _preferred(cls: Any) -> dict[str, Any]:
    """Return our identity, repr and set-once, where another attrs class stands before ours."""
    ours = next(base for base in cls.__mro__[::-1] if "__declaration__" in vars(base))
    preferred: dict[str, Any] = {}
    for name in ("__eq__", "__hash__", "__ne__", "__repr__", "__setattr__"):
        owner: type = next(base for base in cls.__mro__ if name in vars(base))
        code = getattr(vars(owner)[name], "__code__", None)
        by_attrs = (
            vars(owner)[name] is None  # the hash of a class that compares by value
            or "attrs generated" in getattr(code, "co_filename", "")
            or (name == "__setattr__" and vars(owner).get("__attrs_own_setattr__", False))
        )
        if by_attrs and not issubclass(owner, ours):
            preferred[name] = getattr(ours, name)
    return preferred


def _respecified(attribute: Any) -> Any:
    """Return the `attrs.field()` of which attrs made an attribute."""
    return attrs.field(
        default=attribute.default,
        validator=attribute.validator,
        repr=attribute.repr,
        hash=attribute.hash,
        init=attribute.init,
        metadata=dict(attribute.metadata),
        converter=attribute.converter,
        kw_only=attribute.kw_only,
        eq=attribute.eq_key or attribute.eq,
        order=attribute.order_key or attribute.order,
        on_setattr=attribute.on_setattr,
        alias=attribute.alias,
    )


def respecify(cls: type) -> None:
    """Leave what the class's fields were made of for an explicit `@attrs.define` to read."""
    for attribute in attributes_of(cls):
        if not attribute.inherited:
            setattr(cls, attribute.name, _respecified(attribute))


def restore(cls: type, made: dict[str, Any]) -> None:
    """Put back what an explicit `@attrs.define` replaced, and take away what was left for it."""
    for name in _FROM_ATTRS:
        if name in made:
            if vars(cls).get(name) is not made[name]:
                setattr(cls, name, made[name])
        elif name in vars(cls):
            delattr(cls, name)
    for attribute in attributes_of(cls):
        if type(vars(cls).get(attribute.name)) is _SPECIFICATION:
            delattr(cls, attribute.name)


def attach_before_post_init(cls: Any) -> None:
    """Let a class's own `__attrs_post_init__` find its machines attached."""
    own = cls.__attrs_post_init__
    if hasattr(own, "attaches"):
        return

    def __attrs_post_init__(self: Any) -> None:  # noqa: N807 - attrs calls it by this name
        assemble(self)
        try:
            own(self)
        except BaseException:
            disassemble(self)
            raise

    __attrs_post_init__.attaches = True  # type: ignore[attr-defined]
    cls.__own_post_init__ = own  # where attrs, which makes slotted copies, mends its `super()`
    cls.__attrs_post_init__ = __attrs_post_init__
