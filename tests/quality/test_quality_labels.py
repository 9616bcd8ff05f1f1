import gzip
import json

import numpy as np
import pytest

from router.quality.labels import BadLabels, Table, labels, read


def table(rows):
    out = Table()
    for label in labels(rows):
        out.add(label)
    return out


def test_rows_of_one_request_are_put_together_wherever_they_stand(tmp_path):
    path = tmp_path / "labels.jsonl"
    rows = [
        {"prompt": "a", "model": "big", "score": 1, "cost": 0.5},
        {"prompt": "b", "model": "small", "score": 0.25},
        {"prompt": "a", "model": "small", "score": 0, "cost": None},
        {"prompt": "a", "model": "small", "score": 1, "route": "other"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    made = table(read(path))
    scores, costs = made.matrix()
    assert made.models == ["big", "small"] and made.routes == ["", "other"]
    np.testing.assert_array_equal(scores, np.array([[1, 0], [np.nan, 0.25], [np.nan, 1]], np.float32))
    np.testing.assert_array_equal(costs, [[0.5, np.nan], [np.nan, np.nan], [np.nan, np.nan]])


def test_csv_is_read_long_and_wide_and_gzipped(tmp_path):
    long, wide = tmp_path / "long.csv", tmp_path / "wide.csv.gz"
    long.write_text('prompt,model,score,cost,route\n"one, two",big,1,0.5,auto\n"one, two",small,0,,auto\n')
    wide.write_bytes(gzip.compress(b'prompt,score:big,score:small,cost:big,route\n"one, two",1,0,0.5,auto\n'))
    for path in (long, wide):
        made = table(read(path))
        scores, costs = made.matrix()
        assert (made.models, made.routes, scores.tolist()) == (["big", "small"], ["auto"], [[1, 0]])
        assert costs[0, 0] == 0.5 and np.isnan(costs[0, 1])


def test_a_request_scored_twice_has_the_mean():
    made = table([{"prompt": "a", "model": "m", "score": score} for score in (0, 1, 1, 0)])
    assert made.matrix()[0].tolist() == [[0.5]]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"prompt": "a", "score": 1}, "'model' is missing"),
        ({"prompt": "a", "model": "m", "score": 2}, "scores are from 0 to 1"),
        ({"prompt": "a", "model": "m", "score": "nan"}, "scores are from 0 to 1"),
        ({"prompt": "a", "model": "m", "score": "good"}, "could not convert"),
        ({"prompt": "a", "model": "m", "score": 1, "cost": -1}, "the cost of 'm'"),
        ({"prompt": "a", "scores": [1]}, "no attribute"),
        ({"request": 5, "model": "m", "score": 1}, "`request` is"),
    ],
)
def test_a_row_that_is_no_label_is_named(row, why):
    with pytest.raises(BadLabels, match="row 2") as caught:
        list(labels([{"prompt": "a", "model": "m", "score": 1}, row]))
    assert why in str(caught.value)


def test_a_line_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": "a", "model": "m", "score": 1}\n{"prompt"\n')
    with pytest.raises(BadLabels, match=r"bad\.jsonl:2"):
        list(read(path))
