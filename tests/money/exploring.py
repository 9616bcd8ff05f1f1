"""Every state that a machine of small steps can come to, and the shortest way to one that is wrong."""

from typing import Any, NamedTuple


class Explored(NamedTuple):
    states: int
    faults: tuple[str, ...]  # the shortest way to something wrong, and what that is; none where all is well
    lost: Any  # what was found out of a state by looking further; None where nothing was


def explored(start, steps, same, wrong, further=lambda _: None):
    """Level by level.

    Args:
        start: the first state.
        steps: (what happens, the state after it) for all that can happen in a state.
        same: the one of all states that differ in nothing that matters.
        wrong: what is wrong with a state, if anything.
        further: what is wrong with what must come of a state in the end, if anything.

    """
    start = same(start)
    came, level = {start: None}, [start]
    while level:
        following = []
        for state in level:
            for what, after in steps(state):
                after = same(after)  # noqa: PLW2901 (the one that stands for it)
                if after in came:
                    continue
                came[after] = state, what
                if fault := wrong(after):
                    return Explored(len(came), (*_way(came, after), fault), None)
                following.append(after)
            if lost := further(state):
                return Explored(len(came), (), lost)
        level = following
    return Explored(len(came), (), None)


def _way(came, state):
    way = []
    while came[state] is not None:
        state, what = came[state]
        way.append(" ".join(map(str, what)))
    return tuple(reversed(way))
