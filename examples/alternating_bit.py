"""The alternating bit: every message arrives once and in order, over channels that lose some.

The sender sends its message with a bit, zero or one, again and again, until it is acknowledged with
that bit; then comes the next message, with the other bit. The receiver takes what has the bit that
it waits for, and acknowledges everything, since the acknowledgement before may have been lost
(Bartlett, Scantlebury and Wilkinson, 1969).

Sender and receiver hear of each other through two channels. That a channel delivers, and that it
loses what it carries, comes from outside: `explore` tries both, at any time, and lets the sender
send again at any time. The ledger is a machine that only watches: it knows what was promised.

A receiver that ignores the bit delivers a message twice.

Run it with `python examples/alternating_bit.py`.
"""

from statemachine import State, StateMachine

from statemachines_orchestrator import Orchestrator, on, timeout
from statemachines_orchestrator.exploration import Exploration, explore, invariant

EVENTS = [
    f"{channel}.{event}"
    for channel in ("messages", "answers")
    for event in ("deliver_zero", "deliver_one", "lose")
]


class Channel(StateMachine):
    """A channel for one bit, with what belongs to it."""

    empty = State(initial=True)
    zero = State()
    one = State()
    put_zero = empty.to(zero)
    put_one = empty.to(one)
    deliver_zero = zero.to(empty)
    deliver_one = one.to(empty)
    lose = zero.to(empty) | one.to(empty)


class Sender(StateMachine):
    """What sends one message after the other, with the bit that is its state."""

    zero = State(initial=True)
    one = State()
    hear_zero = zero.to(one)
    hear_one = one.to(zero)


class Receiver(StateMachine):
    """What receives them; its state is the bit that it waits for."""

    zero = State(initial=True)
    one = State()
    hear_zero = zero.to(one) | one.to(one)
    hear_one = one.to(zero) | zero.to(zero)


class Ledger(StateMachine):
    """What is promised: a message is sent, then it is delivered, then comes the next one."""

    sent = State(initial=True)
    delivered = State()
    wrong = State()
    begin = delivered.to(sent) | sent.to(wrong) | wrong.to(wrong)
    deliver = sent.to(delivered) | delivered.to(wrong) | wrong.to(wrong)


class Link(Orchestrator):
    """Sender and receiver, and the channels between them. A full channel takes nothing more."""

    sender: Sender
    messages: Channel
    receiver: Receiver
    answers: Channel
    ledger: Ledger

    send_zero = timeout("sender.zero", seconds=1, repeat=True).send(
        "messages.put_zero", if_enabled=True
    )
    send_one = timeout("sender.one", seconds=1, repeat=True).send(
        "messages.put_one", if_enabled=True
    )
    receive_zero = on("messages.deliver_zero").send("receiver.hear_zero")
    receive_one = on("messages.deliver_one").send("receiver.hear_one")
    answer_zero = on("receiver.hear_zero").send("answers.put_zero", if_enabled=True)
    answer_one = on("receiver.hear_one").send("answers.put_one", if_enabled=True)
    go_on_with_one = on("answers.deliver_zero").send("sender.hear_zero", if_enabled=True)
    go_on_with_zero = on("answers.deliver_one").send("sender.hear_one", if_enabled=True)

    note_beginning = on("sender.*").send("ledger.begin")
    note_delivery = on("receiver.*", cond="is_new").send("ledger.deliver")

    def is_new(self, source: State, target: State) -> bool:
        """Say whether the message has the bit that the receiver waited for."""
        return source.id != target.id

    @invariant
    def each_message_once(self) -> bool:
        """No message is lost, and none is delivered twice."""
        return not self.ledger.wrong.is_active


class CarelessLink(Link):
    """A receiver that takes whatever comes."""

    def is_new(self, source: State, target: State) -> bool:  # noqa: ARG002 - it ignores the bit
        """Say yes."""
        return True


def explored(link: type[Link]) -> Exploration:
    """Walk through a link; that both bits can always come next says that it goes on."""
    goals = [{"receiver": "zero"}, {"receiver": "one"}]
    return explore(link, events=EVENTS, can_always=goals)


def main() -> None:
    """Look whether messages get lost, and whether one comes twice."""
    for link in (Link, CarelessLink):
        result = explored(link)
        told = "\n".join(map(str, result.findings)) or "every message arrives once, and it goes on"
        print(f"{link.__name__}: {result.states} joint states\n{told}")


if __name__ == "__main__":
    main()
