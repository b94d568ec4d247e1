"""Signals of the domain: what machines have no event for, and observers and reactions hear of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from statemachines_orchestrator.exceptions import DeclarationError

if TYPE_CHECKING:
    from typing_extensions import Self

    from statemachines_orchestrator._bus import OrderedSignal

__all__ = ["DomainSignal", "domain_signal"]


class DomainSignal:
    """A signal of the domain, declared in an orchestrator class.

    On an instance it is the blinker signal: `shop.low_stock.connect(receiver)`.
    """

    def __init__(self, meaning: str) -> None:
        self.__doc__ = meaning
        self.name: str | None = None

    def __set_name__(self, _owner: type, name: str) -> None:
        self.name = self.name or name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> OrderedSignal: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else instance.bus.signal(self.name)

    def __set__(self, instance: Any, _value: Any) -> None:
        cls = instance.__class__
        raise DeclarationError(
            f"{cls.__module__}.{cls.__qualname__}.{self.name}",
            "a signal of the domain cannot be set",
            f"Publish it: publish({self.name!r}, ...)",
        )

    def __repr__(self) -> str:
        return f"domain_signal({self.__doc__!r})"


def domain_signal(meaning: str = "") -> DomainSignal:
    """Declare a signal of the domain in an orchestrator class.

        low_stock = domain_signal("an item runs out")

    `orc.publish("low_stock", sku=…)` announces it, from a callback or from outside, where it
    opens a cascade. Observers hear of it at once, reactions (`@on("low_stock")`) next, with its
    keyword arguments; those of a holder under the name of the field (`shops.low_stock`).
    On an instance `shop.low_stock` is its blinker signal. `meaning` becomes its docstring.
    """
    return DomainSignal(meaning)
