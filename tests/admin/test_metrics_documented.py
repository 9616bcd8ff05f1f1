"""docs/metrics.md and a scrape name the same metrics, with the same types and labels."""

import re

from prometheus_client.parser import text_string_to_metric_families
from support import ROOT
from traffic import BATCH, send_traffic

from router.metrics import FROM_THE_LEDGER

SECTION = re.compile(r"^### `(\w+)`\n(counter|gauge|histogram), ([^;]+); (?:`([\w, ]+)`|(no labels))", re.MULTILINE)
HISTOGRAMS_OWN = {"le"}
NOTHING_HERE_MAKES = {
    "farebox_free_quota_remaining", "farebox_labels_dropped_total", "farebox_labels_total", "farebox_shadow_total",
    "farebox_cascade_total", "farebox_cache_hits_total", "farebox_quality_bound", "farebox_quality_broken",
    "farebox_quality_stale", "farebox_quality_labels", "farebox_quality_loss",
    *(f"farebox_ledger_{name.removeprefix('farebox_')}" for name in FROM_THE_LEDGER),
}  # fmt: skip


def documented():
    """name → (type, labels)"""
    text = (ROOT / "docs/metrics.md").read_text()
    found = SECTION.findall(text)
    assert len(found) == text.count("\n### "), "a section that does not begin as the others do"
    return {name: (kind, set(labels.split(", ")) if labels else set()) for name, kind, _, labels, _ in found}


async def families(on):
    async with on.http.get(on.url + "/metrics") as reply:
        text = await reply.text()
    found = {}
    for family in text_string_to_metric_families(text):
        name = family.name + ("_total" if family.type == "counter" else "")
        found[name] = family.type, set().union(*(sample.labels for sample in family.samples)) - HISTOGRAMS_OWN
    return found


async def test_every_metric_is_documented_and_every_documented_metric_is_there(seen):
    assert (await families(seen)).keys() == documented().keys()


async def test_types_and_labels_are_as_documented(seen, ask, demo):
    await send_traffic(seen, [(BATCH, "bulk", "A fallback. status=500 fail=1 id=two out=5")])
    await seen.farebox.reload()
    async with seen.post(key="nobody", json={}) as reply:
        assert reply.status == 401
    told, scraped = documented(), await families(seen)
    silent = set()
    for name, (kind, labels) in scraped.items():
        assert told[name][0] == kind, name
        if labels or not told[name][1]:
            assert told[name][1] == labels, name
        else:
            silent.add(name)
    assert silent <= NOTHING_HERE_MAKES


def test_the_examples_name_only_labels_that_their_metrics_have():
    told = documented()
    for block in re.findall(r"```promql\n(.*?)```", (ROOT / "docs/metrics.md").read_text(), re.DOTALL):
        metrics = {
            re.sub(r"_(bucket|sum|count)$", "", name)
            for name in re.findall(r"\b(?:farebox|gen_ai_client|process)_\w+", block)
        }
        labels = {
            label.strip()
            for group in re.findall(r"\b(?:by|on|ignoring|without) ?\(([^)]*)\)", block)
            for label in group.split(",")
        }
        labels |= {name for group in re.findall(r"\{([^}]*)\}", block) for name in re.findall(r"(\w+) *[=!]", group)}
        metrics &= told.keys()
        assert metrics, block
        assert labels - HISTOGRAMS_OWN - {"job", "instance"} <= set().union(*(told[name][1] for name in metrics)), block
        assert ("le" in labels) <= any(told[name][0] == "histogram" for name in metrics), block


def test_each_metric_has_an_example_that_asks_for_it():
    for section in (ROOT / "docs/metrics.md").read_text().split("\n### ")[1:]:
        name = re.match(r"`(\w+)`", section)[1]
        assert re.search(rf"```promql\n.*\b{name}(?:_bucket|_sum)?\b", section), name


def test_the_guide_for_those_who_come_from_elsewhere_names_metrics_that_are_there():
    named = set(re.findall(r"`((?:farebox|gen_ai_client)_\w+)", (ROOT / "docs/migrating-from-litellm.md").read_text()))
    assert len(named) > 10
    assert named <= documented().keys()
