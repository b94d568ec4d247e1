"""A saga: what was done is undone when a later step fails.

A trip needs a flight, a hotel and a car, booked one after the other.
No transaction spans three companies, so each booking that must not stay is cancelled.

Forwards, a booking that was made leads to the next one.
Backwards, a booking that failed or was cancelled leads to the cancellation of the one before it.
Each reaction knows only its neighbour; the reverse order follows from the chain.

Run it with `python examples/saga.py`.
"""

from statemachine import State, StateMachine

from statemachines_orchestrator import Orchestrator, on, on_enter
from statemachines_orchestrator.records import Transitioned


class Booking(StateMachine):
    """One step: it is made, or it fails; what was made can be undone."""

    planned = State(initial=True)
    booked = State()
    failed = State(final=True)
    cancelled = State(final=True)

    book = planned.to(booked, cond="is_free") | planned.to(failed)
    cancel = booked.to(cancelled)

    def is_free(self) -> bool:
        """Say whether there is a place left."""
        return True


class SoldOut(Booking):
    """A step that fails."""

    def is_free(self) -> bool:
        """Say that there is no place left."""
        return False


class Trip(Orchestrator):
    """Three steps: all of them, or none."""

    flight: Booking
    hotel: Booking
    car: Booking

    @on_enter("flight.booked")
    def book_hotel(self) -> None:
        """Go forwards."""
        self.hotel.book()

    @on_enter("hotel.booked")
    def book_car(self) -> None:
        """Go forwards."""
        self.car.book()

    @on_enter("car.failed")
    def cancel_hotel(self) -> None:
        """Go backwards."""
        self.hotel.cancel()

    @on_enter("hotel.failed", "hotel.cancelled")
    def cancel_flight(self) -> None:
        """Go backwards."""
        self.flight.cancel()

    @on("settled")
    def report(self) -> None:
        """Say what came of it: nothing is left to run now."""
        print(f"  settled as {self}")


def tell(_booking: object, record: Transitioned) -> None:
    """Print one step."""
    print(f"    {record.machine_name:6} {record.entered[0]}")


def main() -> None:
    """Book a trip for which everything is free, and two others."""
    trips = {
        "everything is free": Trip(flight=Booking(), hotel=Booking(), car=Booking()),
        "no car is left": Trip(flight=Booking(), hotel=Booking(), car=SoldOut()),
        "the hotel is full": Trip(flight=Booking(), hotel=SoldOut(), car=Booking()),
    }
    for title, trip in trips.items():
        print(title)
        trip.bus.signal("*").connect(tell)
        trip.flight.book()


if __name__ == "__main__":
    main()
