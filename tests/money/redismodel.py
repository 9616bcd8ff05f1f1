"""The same for leases in Redis, which forgets: epochs, and the base that is read from PostgreSQL.

One account of a few units. Holds and their closing are those of `leasemodel`; here a unit is spent at once, in the replica's
own count and in PostgreSQL. Redis can lose everything at any moment, also between the steps of one operation.
"""

from typing import NamedTuple

from exploring import explored

from router.core.lease import Ask, granted


class Rules(NamedTuple):
    epoch_checked: bool = True  # a script does nothing in another epoch than its sender's
    all_alike: bool = True  # nobody draws before it has seen all in its epoch
    stated_first: bool = True  # what one has is said before one is seen in an epoch
    numbered: bool = True  # a draw that was given up does nothing once a later one was carried out
    versioned: bool = True  # a base is not set where another was set since Redis was looked at
    forgets: bool = True  # once it has said what it has, it heeds no answer to what it had sent before
    seen_only: bool = True  # who was not there at that look is not left out


class Sizes(NamedTuple):
    limit: int = 2
    slots: int = 2
    lives: int = 2
    draws: int = 2  # of each name
    looks: int = 2  # at PostgreSQL for a base, by each name
    faults: int = 1  # of replicas
    losses: int = 1  # of all that Redis has


class Replica(NamedTuple):
    life: int
    epoch: int = 0  # in which it has said what it has
    alike: bool = False  # it has seen all others in it
    lease: int = 0
    used: int = 0
    number: int = 0
    waits: bool = False
    looks: int = 0
    look: tuple = ()  # (epoch, version, who was there), and then what PostgreSQL said: base, (name, settled)…


class Draw(NamedTuple):
    slot: int
    life: int
    number: int
    epoch: int
    keep: int
    need: int
    want: int


class Answer(NamedTuple):
    slot: int
    life: int
    number: int
    nano: int  # -1: in this epoch nothing can be said


class State(NamedTuple):
    replicas: tuple
    rows: tuple  # in PostgreSQL: (name, epoch, settled)
    spend: int = 0
    epoch: int = 1  # of Redis
    base: int = -1  # -1: not set
    version: int = 0
    fields: tuple = ()  # in Redis: (name, lease, number)
    mail: tuple = ()
    lives: tuple = ()
    faults: int = 0
    losses: int = 0


def first(sizes):
    state = State(tuple([None] * sizes.slots), (), lives=(0,) * sizes.slots)
    for slot in range(sizes.slots):
        state = _joins(state, slot)
    return state


def wrong(state, sizes):
    if state.spend > sizes.limit:
        return "more is spent than the cap"
    counted = {(r.life, slot): r.lease for slot, r in enumerate(state.replicas) if r is not None}
    owed = state.spend + sum(max(0, counted.get((name[1], name[0]), 0) - settled) for name, _, settled in state.rows)
    return "more is counted on than the cap" if owed > sizes.limit else None


def _at(items, index, item):
    return (*items[:index], item, *items[index + 1 :])


def _with(table, name, *values):
    """The table with another entry under a name; none where no values are given."""
    rest = [entry for entry in table if entry[0] != name]
    return tuple(sorted([*rest, (name, *values)] if values else rest))


def _entry(table, name):
    return next((entry[1:] for entry in table if entry[0] == name), None)


def _believes(state, slot, **changes):
    return state._replace(replicas=_at(state.replicas, slot, state.replicas[slot]._replace(**changes)))


def _joins(state, slot):
    """Under a new name, in the epoch that it is."""
    life, name = state.lives[slot], (slot, state.lives[slot])
    alike = all(epoch == state.epoch for _, epoch, _ in state.rows)
    replicas = _at(state.replicas, slot, Replica(life, state.epoch, alike))
    rows = _with(state.rows, name, state.epoch, 0)
    return state._replace(replicas=replicas, rows=rows, lives=_at(state.lives, slot, life + 1))


def steps(state, rules, sizes):
    for slot, replica in enumerate(state.replicas):
        if replica is None:
            if state.lives[slot] < sizes.lives:
                yield (slot, "starts"), _joins(state, slot)
        else:
            yield from _of_replica(state, slot, replica, rules, sizes)
    for letter in state.mail:
        rest = state._replace(mail=tuple(other for other in state.mail if other is not letter))
        if isinstance(letter, Draw):
            yield (letter, "is carried out"), _carried_out(rest, letter, rules, sizes)
        else:
            yield (letter, "is heard"), _heard(rest, letter)
    for name, _, _ in state.rows:
        owner = state.replicas[name[0]]
        if owner is None or owner.life != name[1]:
            yield (name, "is buried"), state._replace(rows=_with(state.rows, name))
    if state.losses < sizes.losses:
        lost = state._replace(epoch=state.epoch + 1, base=-1, version=0, fields=(), losses=state.losses + 1)
        yield ("Redis", "loses everything"), lost


def _of_replica(state, slot, replica, rules, sizes):
    name = slot, replica.life
    row = _entry(state.rows, name)
    if replica.used < replica.lease:
        spent = _believes(state, slot, used=replica.used + 1)
        yield (slot, "spends"), spent._replace(spend=state.spend + 1, rows=_with(state.rows, name, row[0], row[1] + 1))
    if replica.epoch != state.epoch:
        waits = replica.waits and not rules.forgets
        stated = _believes(state, slot, epoch=state.epoch, alike=False, look=(), waits=waits)
        if rules.stated_first:
            stated = stated._replace(fields=_with(state.fields, name, replica.lease, replica.number))
        yield (slot, "says what it has"), stated
    elif not replica.alike:
        rows = _with(state.rows, name, replica.epoch, row[1])
        entered = _believes(state._replace(rows=rows), slot, alike=all(epoch == replica.epoch for _, epoch, _ in rows))
        yield (slot, "is in the epoch"), entered
        if not rules.stated_first and _entry(state.fields, name) is None:
            yield (
                (slot, "says late what it has"),
                state._replace(fields=_with(state.fields, name, replica.lease, replica.number)),
            )
    if (replica.alike or not rules.all_alike) and not replica.waits and replica.number < sizes.draws:
        yield from _draws(state, slot, replica, sizes)
    yield from _bases(state, slot, replica, rules, sizes)
    if state.faults < sizes.faults:
        state = state._replace(faults=state.faults + 1)
        yield (slot, "is killed"), state._replace(replicas=_at(state.replicas, slot, None))
        if replica.waits:
            yield (slot, "gives its draw up"), _believes(state, slot, waits=False)


def _draws(state, slot, replica, sizes):
    for want in {replica.used + 1, sizes.limit, replica.used} - {replica.lease}:
        if want > replica.lease:
            keep, need = replica.lease, max(replica.lease, replica.used + 1)
        elif want == replica.used:
            keep = need = want
        else:
            continue
        draw = Draw(slot, replica.life, replica.number + 1, replica.epoch, keep, need, want)
        after = _believes(state, slot, number=draw.number, waits=True, lease=keep)
        yield (slot, "sends", draw), after._replace(mail=tuple(sorted((*after.mail, draw))))


def _carried_out(state, draw, rules, sizes):
    name, nano = (draw.slot, draw.life), -1
    if (draw.epoch == state.epoch or not rules.epoch_checked) and state.base >= 0:
        own, number = _entry(state.fields, name) or (0, 0)
        if rules.numbered and draw.number <= number:
            nano = own
        else:
            others = state.base + sum(lease for _, lease, _ in state.fields) - own
            nano = granted(Ask("a", 0, sizes.limit, draw.keep, draw.need, draw.want), others)
            state = state._replace(fields=_with(state.fields, name, nano, draw.number))
    return state._replace(mail=tuple(sorted((*state.mail, Answer(*draw[:3], nano)))))


def _heard(state, answer):
    replica = state.replicas[answer.slot]
    if replica is None or replica.life != answer.life or not replica.waits or answer.number != replica.number:
        return state
    return _believes(state, answer.slot, waits=False, lease=replica.lease if answer.nano < 0 else answer.nano)


def _bases(state, slot, replica, rules, sizes):
    """Look at Redis; read PostgreSQL; set the base."""
    look = replica.look
    if not look:
        if replica.epoch == state.epoch and replica.looks < sizes.looks:
            there = tuple(name for name, _, _ in state.fields)
            looked = _believes(state, slot, look=(state.epoch, state.version, there), looks=replica.looks + 1)
            yield (slot, "looks at Redis"), looked
    elif len(look) == 3:
        settled = tuple((name, nano) for name, _, nano in state.rows)
        base = state.spend - sum(nano for _, nano in settled)
        yield (slot, "reads PostgreSQL"), _believes(state, slot, look=(*look, base, settled))
    else:
        epoch, version, there, base, settled = look
        after = _believes(state, slot, look=())
        if (epoch == state.epoch or not rules.epoch_checked) and (version == state.version or not rules.versioned):
            live = dict(settled)
            gone = {name for name, _, _ in state.fields if name not in live and (name in there or not rules.seen_only)}
            fields = tuple(entry for entry in state.fields if entry[0] not in gone)
            for name, nano in settled:
                lease, number = _entry(fields, name) or (0, 0)
                fields = _with(fields, name, max(lease, nano), number)
            after = after._replace(base=base, version=state.version + 1, fields=fields)
        yield (slot, "sets the base"), after


def _same(state):
    """Letters and looks without effect are left out, and slots have no names."""
    mail = []
    for letter in state.mail:
        replica = state.replicas[letter.slot]
        heeded = replica is not None and replica.life == letter.life
        if isinstance(letter, Draw) or (heeded and replica.waits and replica.number == letter.number):
            mail.append(letter)
    state = state._replace(mail=tuple(mail))
    if len(state.replicas) != 2:
        return state
    mirrored = state._replace(
        replicas=tuple(r and r._replace(look=_mirrored(r.look)) for r in state.replicas[::-1]),
        rows=tuple(sorted((_other(row[0]), *row[1:]) for row in state.rows)),
        fields=tuple(sorted((_other(entry[0]), *entry[1:]) for entry in state.fields)),
        mail=tuple(sorted(letter._replace(slot=1 - letter.slot) for letter in state.mail)),
        lives=state.lives[::-1],
    )
    return min(state, mirrored, key=_rank)


def _rank(state):
    return state.rows, state.fields, state.lives, state.mail, tuple(replica or () for replica in state.replicas)


def _other(name):
    return 1 - name[0], name[1]


def _mirrored(look):
    if not look:
        return ()
    told = (*look[:2], tuple(sorted(map(_other, look[2]))))
    return told if len(look) == 3 else (*told, look[3], tuple(sorted((_other(name), nano) for name, nano in look[4])))


def explore(rules, sizes):
    """Every state that can be reached."""
    return explored(first(sizes), lambda state: steps(state, rules, sizes), _same, lambda state: wrong(state, sizes))
