"""Where a text holds a secret, so that nobody prints it.

Two signs are looked for: a key such as ``api_key`` whose value is not a reference, and a word
in the shape of a well-known provider's key, wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\s\x00-\x1f]+")
"""A reference to a secret: an environment variable or a file."""

KEY_SHAPE = re.compile(
    r"""(?x)
      \b(?:sk|pk|rk)-[A-Za-z0-9_-]{12,}                       # OpenAI, Anthropic, OpenRouter
    | \b(?:gh[pousr]|github_pat|glpat|hf|gsk|xai|r8|nvapi)[_-][A-Za-z0-9_-]{16,}
    | \bxox[abprs]-[A-Za-z0-9-]{10,}                          # Slack
    | \bA(?:KIA|SIA)[A-Z0-9]{16}\b                            # AWS
    | \bAIza[A-Za-z0-9_-]{30,}                                # Google
    | \beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*   # a JSON Web Token
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----
    | (?<=://)[^/\s:@]+:[^/\s@]+(?=@)                         # user and password in an address
    """
)
"""Words that are secrets by their shape."""

_SECRET_KEY = re.compile(
    r"""(?ix) (?<![\w-]) ["']?
    (?:x-)?(?:api[_-]?key|authorization|passwd|password|secret|token|access[_-]?key)
    ["']? \s* : [ \t]*"""
)
_VALUE = re.compile(r""""(?:\\.|[^"\\])*"?|'(?:''|[^'])*'?|[^\n\r]*""", re.DOTALL)
_PLAIN_FLOW_END = re.compile(r"[,}\]]|\s#")


def secret_spans(text: str) -> tuple[tuple[int, int], ...]:
    """Find the secrets in a text.

    Args:
        text: a rule file, a line of it, or a message.

    Returns:
        Start and end offsets of each secret; they may overlap.
    """
    shaped = [match.span() for match in KEY_SHAPE.finditer(text)]
    return tuple(shaped + list(_values_of_secret_keys(text)))


def redact(text: str) -> str:
    """Return a text with a star in place of every character of a secret."""
    for start, end in secret_spans(text):
        masked = re.sub(r"[^\s]", "*", text[start:end])
        text = text[:start] + masked + text[end:]
    return text


def _values_of_secret_keys(text: str) -> Iterator[tuple[int, int]]:
    for key in _SECRET_KEY.finditer(text):
        start, end = key.end(), _end_of_value(text, key)
        if not REFERENCE.fullmatch(text[start:end].strip().strip("\"'")):
            yield start, end


def _end_of_value(text: str, key: re.Match[str]) -> int:
    match = _VALUE.match(text, key.end())
    if match is None:  # pragma: no cover - the last alternative matches anything
        return len(text)
    if match.group()[:1] in {'"', "'"}:
        return match.end()
    line_start = max(text.rfind("\n", 0, key.start()), text.rfind("\r", 0, key.start())) + 1
    before = text[line_start : key.start()].rstrip()
    if before.endswith(("{", ",")):
        stop = _PLAIN_FLOW_END.search(text, key.end())
        return stop.start() if stop else len(text)
    comment = re.compile(r"\s#").search(text, key.end(), match.end())
    end = comment.start() if comment else match.end()
    return _end_of_block(text, end, match.end(), indent=key.start() - line_start)


def _end_of_block(text: str, end: int, line_end: int, *, indent: int) -> int:
    """Extend a value over the deeper lines below it: a folded, literal or plain scalar."""
    for line in re.compile(r"(?:\r\n|\r|\n)([ \t]*)([^\n\r]*)").finditer(text, line_end):
        if line.group(2) and len(line.group(1)) <= indent:
            break
        if line.group(2):
            end = line.end()
    return end
