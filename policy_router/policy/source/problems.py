"""The errors that reading reports, and the exceptions that end it."""

from __future__ import annotations

from policy_router.diagnostics import Code, Diagnostic, Severity, Span


def error(
    code: Code, message: str, span: Span, path: str = "$", remedy: str | None = None
) -> Diagnostic:
    """Return an error at a place of the file."""
    return Diagnostic(code, Severity.ERROR, message, span, path, remedy)


def second_document(span: Span, what: str) -> Diagnostic:
    """Return the error for a file, called ``what``, in which another document begins."""
    remedy = "move what follows `---` into a file of its own"
    return error(Code.MANY_DOCUMENTS, f"{what} holds one document", span, remedy=remedy)


class StopReadingError(Exception):
    """The rest of the file is not read."""


class SecondDocumentError(Exception):
    """What follows is another document.

    Attributes:
        span: the mark between the two.
    """

    def __init__(self, span: Span) -> None:
        super().__init__()
        self.span = span


class SyntaxProblemError(StopReadingError):
    """The file is not YAML."""

    def __init__(self, problem: Diagnostic) -> None:
        super().__init__()
        self.problem = problem
