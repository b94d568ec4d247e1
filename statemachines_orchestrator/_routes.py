"""Routes: reactions that send events and have no body of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from statemachine import Event

from statemachines_orchestrator._arguments import OF_EVENTS, check_arguments
from statemachines_orchestrator._sending import Address, Target, address_of, deliver
from statemachines_orchestrator.records import Published

if TYPE_CHECKING:
    from statemachines_orchestrator.reactions import Route

__all__ = ["RoutePlan"]


@attrs.frozen
class RoutePlan:
    """What a route sends: the body of a reaction that has none."""

    targets: tuple[str, ...]
    """The topics, as far as they are known when the class is defined."""
    route: Route

    def __call__(self, owner: Any, record: Any) -> Any:
        """Send the event to every target, with the arguments of the one it reacts to."""
        if self.route.reaction.kind == "when":
            record = None  # the arguments of the event that came last mean nothing
        args = getattr(record, "args", ())
        kwargs = {**getattr(record, "kwargs", {}), **self.route.kwargs}
        if isinstance(record, Published):  # what an event had, python-statemachine let it have
            check_arguments(kwargs, OF_EVENTS, self.route.reaction.where)
        addresses = self.addresses(owner)
        if len(addresses) == 1:
            return addresses[0].send(args, kwargs, if_enabled=self.route.if_enabled)
        targets = [target for address in addresses for target in address.targets()]
        return deliver(targets, args, kwargs, if_enabled=self.route.if_enabled)

    def addresses(self, owner: Any) -> list[Address | Target]:
        """Return what the targets name in one orchestrator."""
        return [
            address_of(owner, target)
            if isinstance(target, Event)
            else Address(topic, owner, target)
            for topic, target in zip(self.targets, self.route.targets, strict=True)
        ]

    def must_be_awaited(self, owner: Any) -> bool:
        """Whether one of the machines is async."""
        return any(address.must_be_awaited for address in self.addresses(owner))
