"""The fair line: its bound, that nobody starves, and that nobody is lost."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from router.core.fair import Line

weights = st.dictionaries(st.sampled_from("abcde"), st.sampled_from([0.5, 1, 2, 3, 10]), min_size=2)
costs = st.lists(st.sampled_from([0.01, 0.1, 0.3, 1.0]), min_size=1, max_size=40)


def serve(line, places):
    """Let so many in; who they were."""
    served = []

    def enter(item):
        if len(served) == places:
            return False
        served.append(item)
        return True

    line.serve(enter)
    return served


@given(weights, st.data())
def test_what_those_who_wait_are_served_by_weight_differs_by_no_more_than_an_item_of_each(weight, data):
    line, dearest = Line(), {}
    for flow in weight:
        told = data.draw(costs)
        dearest[flow] = max(told)
        for cost in told * 30:  # more than is served below: all of them wait all the time
            line.join(flow, weight[flow], cost, (flow, cost))
    got = dict.fromkeys(weight, 0.0)
    for _ in range(data.draw(st.integers(1, 29))):
        ((flow, cost),) = serve(line, 1)
        got[flow] += cost / weight[flow]
        for one in weight:
            for other in weight:
                bound = dearest[one] / weight[one] + dearest[other] / weight[other]
                assert abs(got[one] - got[other]) <= bound + 1e-9


@given(st.integers(1, 300), st.integers(1, 9))
def test_a_flood_of_one_does_not_delay_the_first_of_another(flood, served):
    line = Line()
    for i in range(flood):
        line.join("loud", 1, 1, ("loud", i))
    serve(line, min(served, flood))
    line.join("quiet", 1, 1, ("quiet", 0))
    assert ("quiet", 0) in serve(line, 2)


def test_who_was_away_gains_no_credit():
    line = Line()
    line.join("here", 1, 1, "here")
    line.join("away", 1, 1, "away")
    for _ in range(100):
        line.join("here", 1, 1, "here")
    serve(line, 50)  # "away" has been served its one, and comes back
    for _ in range(20):
        line.join("away", 1, 1, "away")
    assert 9 <= serve(line, 20).count("away") <= 11


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["join", "leave", "serve"])), max_size=80))
def test_everybody_is_served_or_leaves_and_an_empty_line_remembers_nothing(steps):
    line, inside, served = Line(), {}, []
    for i, (flow, step) in enumerate(steps):
        if step == "join":
            inside[i] = line.join(flow, 1, 1, i)
        elif step == "leave" and inside:
            line.leave(inside.pop(next(iter(inside))))
        else:
            for item in serve(line, 1):
                served.append(item)
                line.leave(inside.pop(item))  # says nothing new
        assert len(line) == len(inside) and set(line.items()) == inside.keys()
    assert len(serve(line, 1000)) == len(inside)
    assert line == Line()


def test_in_a_flow_the_first_to_come_is_the_first_to_go():
    line = Line()
    for i in range(9):
        line.join("a", 1, 1, i)
    assert all(x < y for x, y in pairwise(serve(line, 9)))


def test_who_waits_for_something_else_does_not_stand_in_the_way_and_pays_nothing():
    line = Line()
    for i in range(3):
        line.join("a", 1, 1, ("large", i))
    line.join("a", 1, 1, ("small", 3))
    line.join("b", 1, 1, ("small", 4))
    served = []
    line.serve(lambda item: item[0] == "small" and not served.append(item))
    assert served == [("small", 3), ("small", 4)]
    assert serve(line, 9) == [("large", 0), ("large", 1), ("large", 2)]


@given(weights, st.lists(st.sampled_from("abcde"), max_size=40), st.sampled_from("abcde"))
def test_who_is_before_a_newcomer_is_told_as_it_comes_to_pass(weight, joined, newcomer):
    line = Line()
    for i, flow in enumerate(joined):
        line.join(flow, weight.get(flow, 1), 1, (flow, i))
    serve(line, len(joined) // 3)
    before = line.before(newcomer, weight.get(newcomer, 1))
    line.join(newcomer, weight.get(newcomer, 1), 1, "new")
    order = serve(line, 100)
    assert set(order[: order.index("new")]) <= set(before)
