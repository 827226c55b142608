"""The hook of Claude Code: how much longer it takes than a Python that does nothing.

``python -m benchmarks.hooks`` starts each process in turn, round by round, and compares medians of
the same run. The bounds are 50 ms with a service and 300 ms without. The processor's time is what a
process takes of it, however busy the machine is.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from policy_router.hosts import claude_code_hook

BOUNDS = {"with a service": 50.0, "without a service": 300.0}
"""The most milliseconds above a Python that does nothing."""
_POLICY = """
version: 1
model: sonnet
provider: anthropic
providers: {anthropic: {base_url: 'https://api.anthropic.com/v1'}}
pool:
  - {name: haiku, model: haiku, pick: task.kind == "Explore"}
  - {name: sonnet, model: sonnet}
  - {name: opus, model: opus, allow: caller.team == "research"}
precedence: strict
"""
_ASKED = {
    "hook_event_name": "PreToolUse",
    "tool_name": "Agent",
    "tool_use_id": "toolu_1",
    "tool_input": {"description": "look", "prompt": "Find it.", "subagent_type": "Explore"},
}


def _milliseconds(command: list[str]) -> tuple[float, float]:
    """Run a command, and return how long it and its processor took; the hook has to decide."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    asked = json.dumps(_ASKED).encode()
    done = subprocess.run(command, input=asked, check=True, stdout=subprocess.PIPE)
    taken, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.stdout and b'"haiku"' not in done.stdout:
        raise AssertionError(done.stdout)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return taken * 1000, busy * 1000


def _served(folder: Path, policy: Path) -> subprocess.Popen[str]:
    """Serve the policy at the socket, and wait until it is there."""
    words = ["serve", str(policy), "--listen", f"unix:{folder / 'socket'}"]
    words += ["--log", str(folder / "log")]
    served = subprocess.Popen(
        [sys.executable, "-m", "policy_router.cli", *words], stderr=subprocess.PIPE, text=True
    )
    for line in served.stderr or ():
        if " is served at " in line:
            break
    return served


def measure(rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return the milliseconds of each kind of process, and of its processor, round by round."""
    folder = Path(tempfile.mkdtemp(prefix="policy-router-"))
    policy = folder / "policy.yaml"
    policy.write_text(_POLICY, encoding="utf-8")
    commands = {"python -c pass": [sys.executable, "-c", "pass"]}
    for name, home in (("with a service", folder / "a"), ("without a service", folder / "b")):
        home.mkdir()
        words = ["--policy", str(policy), "--home", str(home)]
        commands[name] = [sys.executable, "-I", "-S", claude_code_hook.__file__, *words]
    served = _served(folder / "a", policy)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    try:
        for number in range(rounds + 1):
            for name, command in commands.items():
                taken = _milliseconds(command)
                if number:  # the first run fills the caches
                    found[name].append(taken)
    finally:
        served.terminate()
        served.communicate(timeout=30)
        shutil.rmtree(folder)
    return found


def main() -> int:
    """Measure, print, and say whether the bounds hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hooks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="default: %(default)s")
    found = measure(parser.parse_args().rounds)
    bare = _medians(found.pop("python -c pass"))
    print(f"python -c pass     {bare[0]:6.1f} ms, of the processor {bare[1]:6.1f} ms")
    is_good = True
    for name, times in found.items():
        taken, busy = (it - of for it, of in zip(_medians(times), bare, strict=True))
        print(f"{name:18} {taken:6.1f} ms more, of the processor {busy:6.1f} ms")
        is_good = is_good and taken <= BOUNDS[name]
    return 0 if is_good else 1


def _medians(times: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(it[0] for it in times), statistics.median(it[1] for it in times)


if __name__ == "__main__":
    sys.exit(main())
