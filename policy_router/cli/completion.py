"""The command ``completion``: prints a script that completes this command line in a shell.

The script is made from the parsers of all commands, so that it names what this version has. A shell
asks no other program while somebody types.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from policy_router.cli.options import command_parsers
from policy_router.cli.terminal import out

_FILES: Final = {
    "FILE",
    "PATH",
    "POLICY",
    "POLICY|CODE",
    "OLD",
    "NEW",
    "LOG",
    "LOG ID",
    "LOG OLD NEW",
}
_FILES_TOO: Final = {"REQUEST", "REQUEST|ID", "REQUEST|RECORD", "PROOF", "DEST"}
_FOLDERS: Final = {"DIR"}


class _Option(NamedTuple):
    """An option: its spellings, what it is for, and what may follow it (None: nothing)."""

    names: tuple[str, ...]
    text: str
    value: str | None


class _Command(NamedTuple):
    """A command: its words, its options, the commands under it, and what else it takes."""

    path: str
    options: tuple[_Option, ...]
    commands: Mapping[str, str]
    value: str


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("shell", choices=list(_WRITERS))


def run(options: argparse.Namespace) -> None:
    """Print the script."""
    from policy_router.cli import parser  # it knows this module

    commands = list(_commands(parser(), ""))
    out("\n".join(_WRITERS[options.shell](commands)))


def _commands(parser: argparse.ArgumentParser, path: str) -> Iterator[_Command]:
    """Yield a command and those under it."""
    inner = command_parsers(parser)
    options = tuple(_option(it) for it in _actions(parser) if it.option_strings)
    others = [it for it in _actions(parser) if not it.option_strings and it.dest != "help"]
    value = _value(others[0]) if others and not inner else ""
    texts = {name: text for name, (_, text) in inner.items()}
    yield _Command(path, options, texts, value)
    for name, (child, _) in inner.items():
        yield from _commands(child, f"{path} {name}".strip())


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    shown = (it for it in parser._actions if it.help != argparse.SUPPRESS)  # noqa: SLF001 - argparse has no other way
    return [it for it in shown if not isinstance(it, argparse._SubParsersAction)]  # noqa: SLF001 - the same


def _option(action: argparse.Action) -> _Option:
    value = None if action.nargs == 0 else _value(action)
    return _Option(tuple(action.option_strings), _plain(action.help or ""), value)


def _value(action: argparse.Action) -> str:
    """Return what may be given: words, or ``<files>``, ``<folders>``, or nothing known."""
    if action.choices is not None:
        return " ".join(map(str, action.choices))
    name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if name in _FOLDERS:
        return "<folders>"
    return "<files>" if name in _FILES | _FILES_TOO else ""


def _plain(text: str) -> str:
    """Return the first part of a help text, without what a shell would read."""
    return "".join(it for it in text.partition(";")[0] if it not in "'\"`$\\[]:%")


def _bash(commands: Sequence[_Command]) -> Iterator[str]:
    """Yield the script for bash, which needs no other one."""
    yield "# In ~/.bashrc: source <(policy-router completion bash)"
    yield "_policy_router() {"
    yield '  local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"'
    yield '  local command="" words="" kind="<files>" i'
    yield "  for ((i = 1; i < COMP_CWORD; i++)); do"
    yield '    case "$command ${COMP_WORDS[i]}" in'
    yield f'      {_known(commands)}) command="${{command:+$command }}${{COMP_WORDS[i]}}" ;;'
    yield "    esac"
    yield "  done"
    yield '  case "$command" in'
    for command in commands:
        names = " ".join(name for option in command.options for name in option.names)
        yield f'    "{command.path}") words="{" ".join(command.commands)}" kind="{command.value}"'
        yield f'      [[ $current == -* ]] && words="{names}" kind="" ;;'
    yield "  esac"
    yield '  case "$command:$before" in'
    for names, value in _values(commands):
        yield f'    {names}) words="" kind="{value}" ;;'
    yield "  esac"
    yield '  case "$kind" in'
    yield '    "<files>") COMPREPLY=(); return ;;'
    yield '    "<folders>") compopt -o plusdirs +o default 2> /dev/null; COMPREPLY=(); return ;;'
    yield "  esac"
    yield "  compopt +o default 2> /dev/null"
    yield '  COMPREPLY=($(compgen -W "$words $kind" -- "$current"))'
    yield "}"
    yield "complete -o default -F _policy_router policy-router"


def _known(commands: Sequence[_Command]) -> str:
    """Return the words of all commands, as a pattern; the first word has a blank before it."""
    paths = [command.path for command in commands if command.path]
    return "|".join(f'"{path}"' if " " in path else f'" {path}"' for path in paths)


def _values(commands: Sequence[_Command]) -> Iterator[tuple[str, str]]:
    """Yield the options that are followed by a value, as patterns, and the value."""
    for command in commands:
        for option in command.options:
            if option.value is not None:
                names = "|".join(f'"{command.path}:{name}"' for name in option.names)
                yield names, option.value


def _zsh(commands: Sequence[_Command]) -> Iterator[str]:
    """Yield the script for zsh; it may also be a file ``_policy-router`` in its ``fpath``."""
    yield "#compdef policy-router"
    yield "# In ~/.zshrc, after compinit: source <(policy-router completion zsh)"
    yield "_policy_router() {"
    yield '  local command="" kind="<files>" i'
    yield "  local -a names texts"
    yield "  for ((i = 2; i < CURRENT; i++)); do"
    yield '    case "$command $words[i]" in'
    yield f'      {_known(commands)}) command="${{command:+$command }}$words[i]" ;;'
    yield "    esac"
    yield "  done"
    yield '  case "$command" in'
    for command in commands:
        yield f'    "{command.path}") kind="{command.value}"'
        yield f"      texts=({' '.join(_described(command.commands))})"
        named = {name: option.text for option in command.options for name in option.names}
        texts = " ".join(_described(named))
        yield f"      [[ $words[CURRENT] == -* ]] && kind='' texts=({texts}) ;;"
    yield "  esac"
    yield '  case "$command:$words[CURRENT-1]" in'
    for patterns, value in _values(commands):
        yield f'    {patterns}) texts=() kind="{value}" ;;'
    yield "  esac"
    yield '  case "$kind" in'
    yield '    "<files>") _files ;;'
    yield '    "<folders>") _files -/ ;;'
    yield "    ?*) names=(${=kind}); compadd -a names ;;"
    yield "    *) _describe 'policy-router' texts ;;"
    yield "  esac"
    yield "}"
    yield "compdef _policy_router policy-router"


def _described(words: Mapping[str, str]) -> list[str]:
    return [f"'{word}:{_plain(text)}'" for word, text in words.items()]


def _fish(commands: Sequence[_Command]) -> Iterator[str]:
    """Yield the script for fish."""
    yield "# Keep it as ~/.config/fish/completions/policy-router.fish"
    yield "function __policy_router_at"
    yield "  set -l command"
    yield "  for word in (commandline -opc)[2..-1]"
    yield '    switch "$command $word"'
    yield f"      case {_known(commands).replace('|', ' ')}"
    yield '        set command (string trim "$command $word")'
    yield "    end"
    yield "  end"
    yield '  test "$command" = "$argv"'
    yield "end"
    yield "complete -c policy-router -e"
    for command in commands:
        here = f"complete -c policy-router -n '__policy_router_at {command.path}'"
        for name, text in command.commands.items():
            yield f"{here} -f -a '{name}' -d '{_plain(text)}'"
        if not command.commands:
            yield f"{here} {_given(command.value)}"
        for option in command.options:
            names = " ".join(_fish_name(name) for name in option.names)
            given = "" if option.value is None else f" -r {_given(option.value)}"
            yield f"{here} {names}{given} -d '{option.text}'"


def _fish_name(name: str) -> str:
    return f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"


def _given(value: str) -> str:
    if value == "<files>":
        return "-F"
    return "-f -a '(__fish_complete_directories)'" if value == "<folders>" else f"-f -a '{value}'"


_WRITERS: Final = {"bash": _bash, "zsh": _zsh, "fish": _fish}
