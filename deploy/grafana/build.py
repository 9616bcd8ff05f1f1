"""Writes the dashboards beside itself: `python deploy/grafana/build.py`. Needs grafana-foundation-sdk, which developers have.

The tests hold the files against this, every metric against a real scrape, and every query against a real Prometheus.
"""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from service import proxy, vendors
from spending import budgets, spend

HERE = Path(__file__).parent


def texts() -> dict[str, str]:
    """Each file's name and what it holds."""
    made = [build().build() for build in (spend, budgets, vendors, proxy)]
    return {f"{one.uid}.json": JSONEncoder(indent=2, sort_keys=True).encode(one) + "\n" for one in made}


def main() -> None:
    for name, text in texts().items():
        json.loads(text)
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
