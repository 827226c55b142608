"""How commands are added to a parser, and the options that several commands have.

``policy-router --help`` imports this module: it imports nothing heavy.
"""

from __future__ import annotations

import argparse
import datetime
import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, NoReturn

from policy_router.cli.exit_codes import EXIT_CODES

POLICY = "a rule file, or a folder of rule files"
REQUEST = "a JSON or YAML file, or - for standard input; a list is a batch"
LOG = "the folder of a decision log"
_ONE_OF_THEM = "COMMAND"
_DIGITS = 10
"""More are too many for any number here, and for Python some thousand are."""


class Parser(argparse.ArgumentParser):
    """Says of a misspelt word what was probably meant."""

    def error(self, message: str) -> NoReturn:
        """End with what is wrong with the command line."""
        found, options = _CHOICE.search(message), _UNKNOWN.search(message)
        remedy = None
        if found is not None:
            remedy = _nearest(found[1], re.findall(r"[\w-]+", found[2]))
        elif options is not None:
            remedy = _nearest(options[1].partition("=")[0], self._option_string_actions)
        elif message.endswith(f"required: {_ONE_OF_THEM}"):
            remedy = f"{self.prog} --help lists them"
        super().error(f"{message}; {remedy}" if remedy else message)


def _nearest(word: str, known: Iterable[str]) -> str | None:
    from policy_router.diagnostics.model import did_you_mean

    return did_you_mean(word, known)


_UNKNOWN = re.compile(r"unrecognized arguments: (?:[^-]\S* )*(--?\S+)")
_CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)", re.DOTALL)


class _Command(Parser):
    """A command: its module is imported, and its options added, when it is asked for."""

    def __init__(self, *, module: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._module = module

    def parse_known_args(
        self, args: Iterable[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Read the words of the command; what runs it becomes the option ``run``."""
        self.complete()
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:  # said here, where the options are known
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown

    def complete(self) -> None:
        """Add the options of the command."""
        module = import_module(self._module)
        module.add_options(self)
        self.set_defaults(run=getattr(module, "run", None))  # a group of commands has none


def add_commands(
    parser: argparse.ArgumentParser, option: str, package: str, commands: Mapping[str, str]
) -> None:
    """Add a group of commands.

    Args:
        parser: where they are added.
        option: the option that will hold the name of the chosen one.
        package: where their modules are, each called as its command.
        commands: what each of them does, by name.
    """
    group = parser.add_subparsers(
        dest=option, metavar=_ONE_OF_THEM, required=True, parser_class=_Command
    )
    for name, text in commands.items():
        command = group.add_parser(
            name,
            help=text,
            description=f"{text}.",
            epilog=EXIT_CODES,
            allow_abbrev=False,
            module=f"{package}.{name.replace('-', '_')}",
        )
        add_verbosity(command, count=argparse.SUPPRESS, quiet=argparse.SUPPRESS)


def command_parsers(
    parser: argparse.ArgumentParser,
) -> dict[str, tuple[argparse.ArgumentParser, str]]:
    """Return the commands of a parser with all their options, and what each of them does."""
    found: dict[str, tuple[argparse.ArgumentParser, str]] = {}
    for group in parser._actions:  # noqa: SLF001 - argparse has no other way to them
        for name, command in (
            (group.choices or {}).items() if isinstance(group.choices, dict) else ()
        ):
            if isinstance(command, _Command):
                command.complete()
                found[name] = command, (command.description or "").removesuffix(".")
    return found


def add_verbosity(parser: argparse.ArgumentParser, *, count: int | str, quiet: bool | str) -> None:
    """Add the options that stand before a command or after it, with their defaults."""
    parser.add_argument(
        "-v", "--verbose", action="count", default=count, help="print more (-vv: everything)"
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", default=quiet, help="print only the result"
    )


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Add the policy that a command uses."""
    parser.add_argument("policy", metavar="POLICY", help=POLICY)
    add_strict(parser)


def add_strict(parser: argparse.ArgumentParser) -> None:
    """Add the option that refuses a policy with warnings."""
    parser.add_argument("--strict", action="store_true", help="count warnings as errors")


def add_now(parser: argparse.ArgumentParser, what: str = "time of the decision") -> None:
    """Add the option that stands for the clock."""
    parser.add_argument("--now", metavar="TIME", help=f"{what}, RFC 3339; default: the clock's")


def add_format(parser: argparse.ArgumentParser, *more: str, text: str = "default: human") -> None:
    """Add the option that says how results are written: ``human``, ``json`` or one of more."""
    choices = ["human", "json", *more]
    parser.add_argument("--format", choices=choices, default="human", help=text)


def add_proof(parser: argparse.ArgumentParser) -> None:
    """Add what questions about all requests have in common."""
    add_now(parser, "time of example requests, where any is good")
    parser.add_argument(
        "--seconds",
        metavar="N",
        type=number,
        default=600,
        help="processor time after which what is left is undecided; default: 600",
    )
    add_format(parser, "sarif", "markdown")


def example_time(options: argparse.Namespace) -> datetime.datetime:
    """Return the time of example requests: the given one, else that of the clock in seconds."""
    now: datetime.datetime = options.now
    return now if options.is_now_given else now.replace(microsecond=0)


def number(text: str) -> int:
    """Return a number from 1 on; it is the type of an option."""
    is_number = text.isdecimal() and len(text) <= _DIGITS
    if not is_number or not 1 <= int(text) <= 1_000_000_000:  # noqa: PLR2004
        raise argparse.ArgumentTypeError("expected a whole number from 1 on")
    return int(text)
