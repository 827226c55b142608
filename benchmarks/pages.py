"""Times the pages of the service: a long list with filters, and the round trip of the playground.

``python -m benchmarks.pages FOLDER``: the folder has ``policy.yaml`` and a log ``log``, such as
``tests.support.year.write_year`` makes. It prints milliseconds of this machine, as the clock has
them; other work beside it counts.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from pathlib import Path

import httpx

from tests.support.service import Service

_TRIES = 7
_TYPED = 60
_FORM = re.compile('name="form_value" value="([0-9a-f]+)"')
_TOTAL = re.compile("Decisions <small>([0-9,]+)")
_FILTERS = (
    *("", "?outcome=refused", "?entry=deep", "?rule=config", "?level=task", "?model=opus-6"),
    *("?provider=lab", "?caller=ada", "?caller=research", "?code=forbidden", "?caller=nobody"),
    *("?provider=lab&outcome=refused", "?caller=ada&rule=task&since=2026-03-03T03:03:03Z"),
    "?since=2026-05-05T05:05:05Z&until=2026-07-07T07:07:07Z",
)


def main() -> None:
    """Time a service."""
    folder = Path(sys.argv[1])
    with Service(folder, "--log", "log") as service:
        client = service.client()
        while not _is_ready(client.get("/pages/decisions")):
            time.sleep(0.5)
        _lists(client)
        _playground(client, (folder / "policy.yaml").read_text(encoding="utf-8"))


def _is_ready(answer: httpx.Response) -> bool:
    """Tell whether the index has read all of the log."""
    return answer.status_code == httpx.codes.OK and "still being read" not in answer.text


def _lists(client: httpx.Client) -> None:
    print(f"{'decisions':>10}  {'median':>7}  {'worst':>7}  {'bytes':>7}  filter")
    for wanted in _FILTERS:
        times = []
        for _ in range(_TRIES):
            began = time.perf_counter()
            answer = client.get(f"/pages/decisions{wanted}")
            times.append(1000 * (time.perf_counter() - began))
        found = _TOTAL.search(answer.text)
        total = found[1] if found else "-"
        size = answer.num_bytes_downloaded
        middle, worst = statistics.median(times), max(times)
        print(f"{total:>10}  {middle:7.0f}  {worst:7.0f}  {size:7,}  {wanted or 'none'}")


def _playground(client: httpx.Client, policy: str) -> None:
    found = _FORM.search(client.get("/pages/playground").text)
    form_value = "" if found is None else found[1]
    times = []
    for number in range(_TYPED):
        fields = {
            "form_value": form_value,
            "policy": f"{policy}# {number}\n",  # as if it was typed: nothing is known already
            "request": '{"task": {"kind": "coding"}}',
        }
        began = time.perf_counter()
        client.post("/pages/playground/try", data=fields).raise_for_status()
        times.append(1000 * (time.perf_counter() - began))
    ordered = sorted(times)
    p95 = ordered[int(len(ordered) * 0.95)]
    print(f"playground: median {statistics.median(times):.0f} ms, p95 {p95:.0f} ms")


if __name__ == "__main__":
    main()
