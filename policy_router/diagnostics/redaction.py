"""Finds secrets in texts, so that they are not printed.

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
      \b(?=[Aaceghnprstvxf])(?:
          (?:sk|pk|rk)-[A-Za-z0-9_-]{12,}                     # OpenAI, Anthropic, OpenRouter
        | (?:gh[pousr]|github_pat|glpat|hf|api_org|gsk|xai|r8|nvapi|pplx|tgp_v1|fw|csk|vck)
          [_-][A-Za-z0-9_-]{16,}
        | xox[abprs]-[A-Za-z0-9-]{10,}                        # Slack
        | A(?:KIA|SIA)[A-Z0-9]{16}\b                          # AWS
        | (?:AIza|AQ\.)[A-Za-z0-9_-]{30,}                     # Google
        | eyJ[A-Za-z0-9_-]{10,800}\.[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]*   # a JSON Web Token
      )
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----
    | (?<=://)[^/\s@]{1,800}(?=@)                             # user and password in an address
    | (?<=[?&])(?:[\w-]{0,20}(?:key|token|secret|passw)[\w-]{0,20})=[^&\s"']+   # in its query
    """
)
"""Words that are secrets by their shape."""

_HIDDEN_NAME = (
    r"[\w-]{0,40}(?:key|kye|secret|token(?!s)|passw|passphrase|credential|authori|cookie)"
    r"[\w-]{0,40}"
)
"""A key whose value is a secret; ``kye`` is a frequent slip, ``authori`` has two spellings."""

_HIDDEN_WORD = re.compile(r"k(?:ey|ye)|secret|token(?!s)|passw|passphrase|credent|author|cook")
"""A part of every such key, in lower case and without an i, which has forms of its own."""

_SECRET_KEY = re.compile(rf"(?i)(?<![\w-])[\"']?{_HIDDEN_NAME}[\"']?[ \t]*:[ \t]*")
_REFERRING = re.compile(r"""["']?(?:env:\w+|file:[^\s,}]+)["']?[ \t]*(?:[,}#\r\n]|\Z)""")
_BLOCK = re.compile(r"[|>]?[-+0-9]{0,2}[ \t]*(?:[\r\n]|\Z)")
_LINE = re.compile(r"[^\n\r]*")
_QUOTED = re.compile(r""""(?:\\.|[^"\\])*"|'(?:''|[^'])*'""", re.DOTALL)
_FLOW_END = re.compile(r"[,}\n\r]")
_NEXT_LINE = re.compile(r"(?:\r\n|\r|\n)([ \t]*)([^\n\r]*)")
_LOOK_BACK = 200


_SECRET_NAME = re.compile(
    r"(?ix)(?:x[-_])?api[-_]?key | authorization | passw(?:or)?d | (?:client[-_])?secret"
    r"| (?:access[-_]|auth[-_])?token | cookie"
)


def is_secret_name(key: str) -> bool:
    """Tell whether a key is surely one of a secret: ``prompt_cache_key`` is not, for one."""
    return _SECRET_NAME.fullmatch(key) is not None


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


_NAMED_IN_WORDS = re.compile(
    r"""(?xi)
    (?<![\w-])(?:(?:[\w-]{0,20}[-_ ])?api[-_ ]?key | authorization | passw(?:or)?d | passphrase
        | (?:client[-_ ])?secret(?:[-_ ]?(?:access[-_ ])?key)? | (?:set-)?cookie
        | (?:access|auth|bearer|refresh|session)[-_ ]?token)
    (?:[ ]provided)? [\\"']* [ ]?[:=][ ]? [\\"']* (?:(?:bearer|basic|token)[ ])?
    (?P<value>[^\s"',;{}()\[\]\\]{6,})
    | (?<![\w-])(?:bearer|basic)[ ](?P<credential>[\w.~+/=-]{8,})
    """
)


def redact_words(text: str) -> str:
    """Return what somebody else says, with a star in place of every character of a secret.

    These are sentences, not a file: after ``Unknown key:`` comes no secret. So besides words in the
    shape of a key, only the word after the name of a secret is one, unless it is a plain word.

    Args:
        text: a message, such as that of a provider.
    """
    found = [match.span() for match in KEY_SHAPE.finditer(text)]
    for match in _NAMED_IN_WORDS.finditer(text):
        name = "value" if match["value"] else "credential"
        is_word = match[name].strip(".:!?").isalpha()
        if not is_word:
            found.append(match.span(name))
    for start, end in found:
        text = text[:start] + "*" * (end - start) + text[end:]
    return text


def _values_of_secret_keys(text: str) -> Iterator[tuple[int, int]]:
    """Yield what follows a secret's key: the rest of its line, and what goes on below."""
    if not _HIDDEN_WORD.search(text.lower().replace("\u017f", "s")):
        return  # a quick look, since most texts have no such key
    for key in _SECRET_KEY.finditer(text):
        if _BLOCK.match(text, key.end()):
            yield key.end(), _end_of_block(text, key)
        elif not _REFERRING.match(text, key.end()):
            yield key.end(), _end_of_value(text, key)


def _end_of_value(text: str, key: re.Match[str]) -> int:
    """Return where a value ends: at the next key of a flow mapping, else with its line."""
    quoted = _QUOTED.match(text, key.end())
    start = quoted.end() if quoted else key.end()
    if text[max(0, key.start() - _LOOK_BACK) : key.start()].rstrip().endswith(("{", ",")):
        stop = _FLOW_END.search(text, start)
        return stop.start() if stop else len(text)
    line = _LINE.match(text, start)
    end = line.end() if line else start
    return end if quoted else max(end, _end_of_block(text, key))


def _end_of_block(text: str, key: re.Match[str]) -> int:
    """Return where the lines below a key end that are deeper than the key."""
    first = max(text.rfind("\n", 0, key.start()), text.rfind("\r", 0, key.start())) + 1
    indent = len(text[first : key.start()]) - len(text[first : key.start()].lstrip(" \t"))
    line = _LINE.match(text, key.end())
    end = line.end() if line else key.end()
    while (following := _NEXT_LINE.match(text, end)) is not None:
        if following.group(2) and len(following.group(1)) <= indent:
            break
        end = following.end()
    return end
