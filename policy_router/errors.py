"""Exceptions, named by whose fault it is.

::

    PolicyRouterError
    ├── PolicyError    the admin's: a rule file has errors; carries the diagnostics
    ├── RequestError   the agent's or the host's: JSON path and reason
    │   └── ArgumentsError   the agent's: its arguments of the tool
    ├── RecordError    the stored record's: unreadable, of a newer schema, of another policy
    ├── NoTarget       a refusal where a target was needed: carries the record
    ├── ProviderError  the provider's: decision id and attempts
    ├── LogError       the disk's: the decision log cannot be written or read
    └── BudgetError    the budget's: it cannot be read or written, or holds too little

Where a call needs a package that is not installed, a ``ModuleNotFoundError`` names the extra that
installs it. Anything else that escapes from this package is a bug of ours. No message ever holds
the value of a fact.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec import UnsetType

if TYPE_CHECKING:
    from policy_router.calls.failing import Attempt
    from policy_router.decision.record import DecisionRecord
    from policy_router.diagnostics.model import Diagnostics


class PolicyRouterError(Exception):
    """The base of every exception that this package raises on purpose."""


class PolicyError(PolicyRouterError):
    """A policy that cannot be used, because its files have errors.

    Attributes:
        diagnostics: everything found, warnings included, sorted by place.
    """

    def __init__(self, diagnostics: Diagnostics) -> None:
        """Make the error of what was found."""
        super().__init__(diagnostics)
        self.diagnostics = diagnostics

    def __str__(self) -> str:
        """Return the findings as the command line prints them."""
        return self.diagnostics.to_text()


class RequestError(PolicyRouterError, ValueError):
    """A request that does not fit the policy it meets.

    Attributes:
        path: the JSON path of the problem, such as ``$.task.kind``.
        reason: what was found and what was expected, without the value.
        help: the remedy, or None.
    """

    def __init__(self, path: str, reason: str, help: str | None = None) -> None:  # noqa: A002 - the word that diagnostics use too
        """Make the error of a place and a reason."""
        super().__init__(path, reason, help)
        self.path = path
        self.reason = reason
        self.help = help

    def __str__(self) -> str:
        """Return place, reason and remedy on one line."""
        remedy = f"; {self.help}" if self.help else ""
        return f"{self.path}: {self.reason}{remedy}"


class ArgumentsError(RequestError):
    """Arguments of the tool ``delegate_task`` that are not understood; the path is their place.

    Its text is for the agent's model, which can send better ones.
    """


class RecordError(PolicyRouterError, ValueError):
    """A stored record that cannot be read, or is of another policy."""


class NoTarget(PolicyRouterError):  # noqa: N818 - names the situation; the error is nobody's
    """A refusal where a target was needed.

    Attributes:
        record: the decision record that refuses.
    """

    def __init__(self, record: DecisionRecord) -> None:
        """Make the error of the record that refuses."""
        super().__init__(record)
        self.record = record

    def __str__(self) -> str:
        """Return the code and the message of the refusal."""
        refusal = self.record.decision.refusal
        return (
            "no target" if isinstance(refusal, UnsetType) else f"{refusal.code}: {refusal.message}"
        )


class ProviderError(PolicyRouterError):
    """A model call that failed at the target and at each fallback that was tried.

    Attributes:
        code: why the last attempt failed, one of :class:`policy_router.calls.results.Failing`.
        reason: what went wrong, without any key.
        decision_id: the id of the decision that the call follows, or None.
        attempts: every attempt, in order.
        partial: the text of the model before a stream broke; otherwise empty.
    """

    def __init__(
        self,
        code: str,
        reason: str,
        *,
        decision_id: str | None = None,
        attempts: tuple[Attempt, ...] = (),
        partial: str = "",
    ) -> None:
        """Make the error of the last attempt and all of them."""
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.decision_id = decision_id
        self.attempts = attempts
        self.partial = partial

    def __str__(self) -> str:
        """Return code and reason on one line."""
        return f"{self.code}: {self.reason}"


class LogError(PolicyRouterError):
    """A decision log that cannot be written, so that a decision is denied; or not be read.

    Attributes:
        folder: the log.
        reason: what the operating system said, or what is wrong with the log.
    """

    def __init__(self, folder: str, reason: str) -> None:
        """Make the error of a folder and a reason."""
        super().__init__(folder, reason)
        self.folder = folder
        self.reason = reason

    def __str__(self) -> str:
        """Return both on one line."""
        return f"the log {self.folder}: {self.reason}"


class BudgetError(PolicyRouterError):
    """A budget that cannot be read or written, or holds less than would be reserved."""


def reason_of(problem: OSError | ValueError) -> str:
    """Return why a file cannot be used, on one line and without its name."""
    if not isinstance(problem, OSError):
        return "no file can have this name"
    return (problem.strerror or "input/output error").lower()


@contextmanager
def needs_extra(extra: str, module: str, purpose: str) -> Iterator[None]:
    """Import a module that an extra installs, or say how to install it.

    Args:
        extra: the name of the extra.
        module: the top-level module that it brings.
        purpose: what needs it.

    Raises:
        ModuleNotFoundError: the module is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] != module:
            raise
        message = f"{purpose} needs the extra `{extra}`: pip install 'policy-router[{extra}]'"
        raise ModuleNotFoundError(message, name=module) from None
