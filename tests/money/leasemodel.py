"""The protocol of leases as a machine of small steps, to be tried in every order.

Two replicas share one account of a few units; a hold is one unit, and a call costs one or nothing. A state is everything
there is: what each replica believes, what the store has, and the messages that are on their way. A message can be carried
out at any later time, also when its sender has given it up, drawn anew, been stopped for a while, been buried, or died.
What an ask is granted is decided by `router.core.lease`. `Rules` are what the argument in docs/leases.md rests on: each can
be left out, and then a way must be found in which a cap is passed.
"""

from typing import NamedTuple

from exploring import explored

from router.core.lease import Ask, granted


class Rules(NamedTuple):
    numbered: bool = True  # a draw that was given up does nothing once a later one was carried out
    lowered_first: bool = True  # who gives back stops counting on it before the message leaves
    heeds_newest: bool = True  # an answer counts only if it is that to the newest draw
    fenced_open: bool = True  # nothing is opened for a replica that was buried
    unsure_kept: bool = True  # an open whose answer was lost goes on being held, and is closed
    surely_dead: bool = True  # nobody is buried that may still make holds
    charged: bool = True  # what a dead replica had open is charged at its holds


class Sizes(NamedTuple):
    limit: int = 2
    slots: int = 2
    lives: int = 2  # names that a slot may have one after the other
    draws: int = 3  # of each name
    holds: int = 2  # of each slot at once
    faults: int = 2  # crashes, stops, lost answers
    free_calls: int = 1  # that cost nothing


class Replica(NamedTuple):
    """What a process believes."""

    life: int
    valid: bool = True  # it may make new holds
    lease: int = 0
    settled: int = 0
    turn: int = 0  # of its newest draw
    waits: bool = False  # for the answer


class Row(NamedTuple):
    """What the store has of a name."""

    nano: int = 0
    settled: int = 0
    turn: int = 0


class Hold(NamedTuple):
    """`phase` is what its replica knows: asked (to be opened), unsure (the answer was lost), called (which cost nothing), billed,
    dead (nobody knows it any more).
    """

    slot: int
    life: int
    phase: str = "asked"
    store: str = ""  # open or closed
    sent: bool = True  # the message that opens it is on its way


class Draw(NamedTuple):
    slot: int
    life: int
    turn: int
    keep: int
    need: int
    want: int


class Answer(NamedTuple):
    slot: int
    life: int
    turn: int
    nano: int


class State(NamedTuple):
    replicas: tuple[Replica | None, ...]
    rows: tuple[tuple[tuple[int, int], Row], ...]  # by name: (slot, life)
    holds: tuple[Hold, ...] = ()
    mail: tuple = ()  # draws and answers
    spend: int = 0
    bill: int = 0
    lives: tuple[int, ...] = ()
    faults: int = 0
    free_calls: int = 0


def first(sizes):
    replicas = tuple(Replica(0) for _ in range(sizes.slots))
    rows = tuple(((slot, 0), Row()) for slot in range(sizes.slots))
    return State(replicas, rows, lives=(1,) * sizes.slots)


def taken(state):
    """The left side of the invariant."""
    return state.spend + sum(max(row.nano, row.settled) - row.settled for _, row in state.rows)


def wrong(state, sizes):
    """What is wrong with a state, if anything."""
    if state.bill > sizes.limit:
        return "the vendor's bill is past the cap"
    if state.spend > sizes.limit:
        return "what is settled is past the cap"
    if taken(state) > sizes.limit:
        return "what is leased is past the cap"
    rows = dict(state.rows)
    for slot, replica in enumerate(state.replicas):
        if replica is not None and replica.valid and replica.lease > rows.get((slot, replica.life), Row()).nano:
            return "a replica counts on more than it has"
    return None


def used(state, slot, replica):
    """Own settled and own held."""
    return replica.settled + sum(
        hold.slot == slot and hold.life == replica.life and hold.phase != "dead" for hold in state.holds
    )


def _at(items, index, item):
    return (*items[:index], item, *items[index + 1 :])


def _order(items):
    return tuple(sorted(items))


def _believes(state, slot, **changes):
    return state._replace(replicas=_at(state.replicas, slot, state.replicas[slot]._replace(**changes)))


def _becomes(state, index, hold):
    """Another hold in its place; none, once nothing can come of it any more."""
    rest = state.holds[:index] + state.holds[index + 1 :]
    if hold.store == "closed":
        hold = hold._replace(sent=False)
    if hold.phase != "dead" or hold.sent or hold.store == "open":
        rest = (*rest, hold)
    return state._replace(holds=_order(rest))


def _stores(state, name, row):
    rest = tuple(pair for pair in state.rows if pair[0] != name)
    return state._replace(rows=tuple(sorted((*rest, (name, row)))) if row is not None else rest)


def steps(state, rules, sizes):
    """(what happens, the state after it) for everything that can happen next."""
    for slot, replica in enumerate(state.replicas):
        if replica is None:
            if state.lives[slot] < sizes.lives:
                yield (slot, "starts"), _joins(state, slot)
        else:
            yield from _of_replica(state, slot, replica, rules, sizes)
    for index, hold in enumerate(state.holds):
        yield from _of_hold(state, index, hold, rules, sizes)
    for letter in state.mail:
        rest = state._replace(mail=tuple(other for other in state.mail if other is not letter))
        if isinstance(letter, Draw):
            yield (letter, "is carried out"), _carried_out(rest, letter, rules, sizes)
        else:
            yield (letter, "is heard"), _heard(rest, letter, rules)
    for name, _ in state.rows:
        owner = state.replicas[name[0]]
        if not rules.surely_dead or owner is None or owner.life != name[1] or not owner.valid:
            yield (name, "is buried"), _buried(state, name, rules)


def _joins(state, slot):
    life = state.lives[slot]
    state = state._replace(replicas=_at(state.replicas, slot, Replica(life)), lives=_at(state.lives, slot, life + 1))
    return _stores(state, (slot, life), Row())


def _of_replica(state, slot, replica, rules, sizes):
    count = sum(hold.slot == slot and hold.phase != "dead" for hold in state.holds)
    own = used(state, slot, replica)
    if replica.valid and own < replica.lease and count < sizes.holds:
        yield (slot, "holds"), state._replace(holds=_order((*state.holds, Hold(slot, replica.life))))
    if replica.valid and not replica.waits and replica.turn < sizes.draws:
        yield from _draws(state, slot, replica, own, rules, sizes)
    if not replica.valid:
        if any(name == (slot, replica.life) for name, _ in state.rows):
            yield (slot, "renews"), _believes(state, slot, valid=True)
        elif state.lives[slot] < sizes.lives:
            yield (slot, "starts over"), _joins(state, slot)
    elif not count and not replica.waits:
        left = state._replace(replicas=_at(state.replicas, slot, None))
        yield (slot, "leaves"), _stores(left, (slot, replica.life), None)
    if state.faults < sizes.faults:
        state = state._replace(faults=state.faults + 1)
        if replica.valid:
            yield (slot, "is stopped for long"), _believes(state, slot, valid=False)
        if replica.waits:
            yield (slot, "gives its draw up"), _believes(state, slot, waits=False)
        dead = state._replace(replicas=_at(state.replicas, slot, None))
        for hold in state.holds:
            if hold.slot == slot:
                dead = _becomes(dead, dead.holds.index(hold), hold._replace(phase="dead"))
        yield (slot, "is killed"), dead


def _draws(state, slot, replica, own, rules, sizes):
    """It asks for one more, or for all there is; or gives back what it does not need."""
    for want in {own + 1, sizes.limit, own} - {replica.lease}:
        if want > replica.lease:
            keep, need, believed = replica.lease, max(replica.lease, own + 1), replica.lease
        elif want == own:
            keep, need, believed = own, own, own if rules.lowered_first else replica.lease
        else:
            continue
        draw = Draw(slot, replica.life, replica.turn + 1, keep, need, want)
        after = _believes(state, slot, turn=draw.turn, waits=True, lease=believed)
        yield (slot, "sends", draw), after._replace(mail=_order((*after.mail, draw)))


def _carried_out(state, draw, rules, sizes):
    name = draw.slot, draw.life
    row = dict(state.rows).get(name)
    if row is None or (rules.numbered and draw.turn <= row.turn):
        return state
    others = taken(state) - max(row.nano, row.settled)
    nano = granted(Ask("a", 0, sizes.limit, draw.keep, draw.need, draw.want), others)
    state = _stores(state, name, row._replace(nano=nano, turn=max(row.turn, draw.turn)))
    return state._replace(mail=_order((*state.mail, Answer(*draw[:3], nano))))


def _heard(state, answer, rules):
    replica = state.replicas[answer.slot]
    if replica is None or replica.life != answer.life:
        return state
    if rules.heeds_newest and not (replica.waits and answer.turn == replica.turn):
        return state
    return _believes(state, answer.slot, lease=answer.nano, waits=False)


def _of_hold(state, index, hold, rules, sizes):
    if hold.sent:
        yield (hold, "is opened in the store"), _opened(state, index, hold, rules)
    if hold.phase == "asked":
        if hold.store and not hold.sent:
            billed = _becomes(state._replace(bill=state.bill + 1), index, hold._replace(phase="billed"))
            yield (hold, "is known to be open, called and billed"), billed
            if state.free_calls < sizes.free_calls:
                free = state._replace(free_calls=state.free_calls + 1)
                yield (
                    (hold, "is known to be open, called and fails"),
                    _becomes(free, index, hold._replace(phase="called")),
                )
        if state.faults < sizes.faults:
            lost = state._replace(faults=state.faults + 1)
            after = hold._replace(phase="unsure" if rules.unsure_kept else "dead")
            yield (hold, "is opened, and the answer lost"), _becomes(lost, index, after)
    elif hold.phase != "dead":
        yield (hold, "is closed"), _closed(state, index, hold)


def _opened(state, index, hold, rules):
    known = any(name == (hold.slot, hold.life) for name, _ in state.rows)
    if hold.store == "closed":
        return _becomes(state, index, hold._replace(sent=False))
    if rules.fenced_open and not known:
        return _becomes(state, index, hold._replace(sent=False, phase="dead" if hold.phase == "asked" else hold.phase))
    return _becomes(state, index, hold._replace(sent=False, store="open"))


def _closed(state, index, hold):
    """In the store, and then for the replica itself: what it learns later than the store it counts as held until then."""
    cost, replica = int(hold.phase == "billed"), state.replicas[hold.slot]
    if hold.store == "open":
        state = _settled(state, (hold.slot, hold.life), cost)
    if replica is not None and replica.life == hold.life:
        state = _believes(state, hold.slot, settled=replica.settled + cost)
    return _becomes(state, index, hold._replace(phase="dead", store="closed"))


def _settled(state, name, cost):
    state = state._replace(spend=state.spend + cost)
    if (row := dict(state.rows).get(name)) is not None:
        state = _stores(state, name, row._replace(settled=row.settled + cost))
    return state


def _buried(state, name, rules):
    state = _stores(state, name, None)
    for hold in state.holds:
        if (hold.slot, hold.life) == name and hold.store == "open":
            state = state._replace(spend=state.spend + int(rules.charged))
            state = _becomes(state, state.holds.index(hold), hold._replace(store="closed"))
    return state


def healed(state, sizes, rules):
    """The same once all trouble is over: messages arrive, calls end, the dead are buried, and the living give back what they do
    not need. What is then neither spent nor free is lost.
    """
    while True:
        moves = list(steps(state, rules, sizes._replace(faults=0, draws=0, free_calls=0, holds=0, lives=0)))
        moves = [after for what, after in moves if what[1] != "leaves"]
        if not moves:
            break
        state = moves[0]
    for slot, replica in enumerate(state.replicas):
        if replica is not None:
            name = slot, replica.life
            if (row := dict(state.rows).get(name)) is not None:  # else it starts over, with nothing
                state = _stores(state, name, row._replace(nano=used(state, slot, replica)))
    return state


def _same(state, rules):
    """One of all states that differ in nothing that matters: letters without effect are left out, and slots have no names."""
    rows = dict(state.rows)
    if rules.numbered and rules.heeds_newest:
        mail = tuple(letter for letter in state.mail if _matters(letter, state, rows))
        state = state._replace(mail=mail)
    if rules.fenced_open:
        holds = [
            h._replace(sent=False) if h.sent and h.phase != "asked" and (h.slot, h.life) not in rows else h
            for h in state.holds
        ]
        state = state._replace(holds=_order(h for h in holds if h.phase != "dead" or h.sent or h.store == "open"))
    if len(state.replicas) != 2:
        return state
    mirrored = State(
        state.replicas[::-1], tuple(sorted(((1 - slot, life), row) for (slot, life), row in state.rows)),
        _order(hold._replace(slot=1 - hold.slot) for hold in state.holds),
        _order(letter._replace(slot=1 - letter.slot) for letter in state.mail),
        state.spend, state.bill, state.lives[::-1], state.faults, state.free_calls,
    )  # fmt: skip
    return min(state, mirrored, key=_rank)


def _rank(state):
    return state.rows, state.lives, state.holds, state.mail, tuple(replica or () for replica in state.replicas)


def _matters(letter, state, rows):
    if isinstance(letter, Draw):
        row = rows.get((letter.slot, letter.life))
        return row is not None and letter.turn > row.turn
    replica = state.replicas[letter.slot]
    return replica is not None and replica.life == letter.life and replica.waits and replica.turn == letter.turn


def explore(rules, sizes, *, heal=False):
    """Every state that can be reached; with `heal` also whether money is lost once what each would come to has healed."""
    mended = set()

    def loses(state):
        after = healed(state, sizes, rules)
        if after in mended:
            return None
        mended.add(after)
        lost = taken(after) != after.spend or after.mail or any(hold.phase != "dead" for hold in after.holds)
        return (state, after) if lost else None

    return explored(
        first(sizes),
        lambda state: steps(state, rules, sizes),
        lambda state: _same(state, rules),
        lambda state: wrong(state, sizes),
        loses if heal else lambda _: None,
    )
