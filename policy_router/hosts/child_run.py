"""One run of a child in a host whose agents call their model many times: one decision, one plan.

An adapter begins a run with :func:`begin`, asks it for the leg of each model call, tells it what
came of the call, and ends it. Whatever keeps a run from its plan is a :class:`RefusedError`, since
hosts take nothing but an exception there; none of them goes on with another model after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from policy_router.calls.legs import Leg
from policy_router.calls.results import Result
from policy_router.hosts.deciding_policy import PolicySource
from policy_router.hosts.host_plan import HostPlan
from policy_router.hosts.policy_host import PolicyHost
from policy_router.hosts.refused import BAD_REQUEST, Refused, RefusedError
from policy_router.parameters import KNOWN, RESERVED, named

KIND: Final = "policy:"
"""What a model's name begins with that is no wish, but a kind of task."""
NO_WISH: Final = frozenset({"", "auto", "policy", KIND})
"""Names of models that ask for nothing."""
_DECIDED: Final = frozenset({*KNOWN, *RESERVED})
"""Settings of a call that the decision replaces."""

_AT_HAND: ContextVar[ChildRun | None] = ContextVar("policy_router_run_at_hand", default=None)
_GIVEN: ContextVar[list[HostPlan] | None] = ContextVar("policy_router_given_plan", default=None)


class Attempt:
    """A model call that is being made.

    Attributes:
        has_begun: whether a part of its answer has been passed on; nothing is tried after it.
    """

    def __init__(self) -> None:
        """Begin it."""
        self.has_begun = False


class ChildRun:
    """One run of a child, with its one decision. For one thread, or one task of an event loop.

    Attributes:
        plan: what it runs by.
        depth: 0 for a root agent, 1 for a child of one, and so on.
        text: its answer so far; None where there is none yet.
    """

    def __init__(self, plan: HostPlan, depth: int = 0) -> None:
        """Begin it by a plan."""
        self.plan, self.depth = plan, depth
        self.text: str | None = None
        self._target: Leg | None = None
        self._served: str | None = None
        self._counts: tuple[int | None, ...] | None = None

    # Its model calls.

    def leg(self) -> Leg:
        """Wait until a model call may be made, and return its leg.

        Raises:
            RefusedError: no target is left.
        """
        return self._found(self.plan.ready())

    async def leg_async(self) -> Leg:
        """Wait on the running event loop, like :meth:`leg`."""
        return self._found(await self.plan.ready_async())

    def leg_now(self) -> Leg:
        """Return the leg of the next call without waiting, like :meth:`leg`."""
        return self._found(self.plan.leg)

    def _found(self, leg: Leg | None) -> Leg:
        if leg is None:
            raise RefusedError(self.refused)
        self._target = leg
        return leg

    @property
    def refused(self) -> Refused:
        """Why it makes no call any more."""
        error, id_ = self.plan.error, self.plan.decision_id
        if error is None:
            return Refused("run_ended", "the run of the child has ended", decision_id=id_)
        return Refused(error.code, error.message, decision_id=id_, record=self.plan.record)

    @contextmanager
    def attempt(self) -> Iterator[Attempt]:
        """Make a call in it: a failure goes to the next target, and is raised if there is none."""
        attempt = Attempt()
        try:
            yield attempt
        except RefusedError:
            raise
        except Exception as error:
            if not self.failed(error, has_begun=attempt.has_begun):
                raise

    def failed(self, error: BaseException, *, has_begun: bool = False) -> bool:
        """Note that a call failed; returns whether there is another target to call.

        Args:
            error: the exception.
            has_begun: whether a part of the answer was passed on already.
        """
        return self.plan.failed(error, has_begun=has_begun)

    def answered(
        self,
        served_model: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_tokens: int | None = None,
    ) -> None:
        """Note the answer of a call; what is unknown of one call is unknown of the run.

        Args:
            served_model: the model that the provider reports.
            input_tokens: the tokens of the input.
            output_tokens: the tokens of the answer.
            cached_tokens: how many of the input tokens came from the provider's cache.
        """
        self._served = served_model
        counts = (input_tokens, output_tokens, cached_tokens)
        before = self._counts or (0,) * len(counts)
        self._counts = tuple(
            None if one is None or more is None else one + more
            for one, more in zip(before, counts, strict=True)
        )

    # Its end.

    def ended(self, error: BaseException | None = None) -> Result:
        """Note the end of the run, and log it: with its answer, or with what stopped it."""
        if error is not None:
            self.plan.failed(error, has_begun=True)
        elif self.plan.result is None:
            into, out, cached = self._counts or (None, None, None)
            self.plan.done(
                self.text,
                served_model=self._served,
                input_tokens=into,
                output_tokens=out,
                cached_tokens=cached,
            )
        return self.plan.result or self.plan.cancelled()

    def enter(self) -> None:
        """Let it be the run at hand in this context until it ends, where no scope can be kept."""
        _AT_HAND.set(self)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Let what is decided and delegated in it be known as the child's."""
        token = _AT_HAND.set(self)
        try:
            with self.plan.scope():
                yield
        finally:
            _AT_HAND.reset(token)

    @property
    def parent(self) -> dict[str, Any]:
        """What it is as the parent of what it delegates."""
        sent = self._target
        target = {} if sent is None else {"model": sent.model, "provider": sent.provider}
        return {**target, "depth": self.depth}


# Beginning.

Facts = Mapping[str, Any] | Callable[[Any], Mapping[str, Any]] | None
"""Sections that the host states of a run, or a function of the host's own context that does."""


def host_of(policy: PolicyHost | PolicySource) -> PolicyHost:
    """Return the host of a policy; one that is given is returned as it is."""
    return policy if isinstance(policy, PolicyHost) else PolicyHost(policy)


def facts_of(host: PolicyHost, facts: Facts, context: Any) -> dict[str, Any]:
    """Return what is stated of a run besides its task: by its host, and by the run at hand."""
    try:
        stated = dict((facts(context) if callable(facts) else facts) or {})
    except Exception as problem:  # a fault of the host's function restricts
        words = f"the host cannot state its facts ({type(problem).__name__})"
        raise RefusedError(Refused(BAD_REQUEST, words)) from problem
    above = at_hand()
    if above is not None and "parent" not in {*stated, *host.facts}:
        stated["parent"] = above.parent
    return stated


def wish_of(name: str | None) -> dict[str, Any]:
    """Return what the name of a model asks for: nothing, a kind of task, or a name of the pool."""
    if name is None or name in NO_WISH:
        return {}
    return {"kind": name.removeprefix(KIND)} if name.startswith(KIND) else {"model": name}


def begin(
    host: PolicyHost,
    task: Mapping[str, Any],
    facts: Mapping[str, Any],
    goal: str,
    decision_id: str | None = None,
) -> ChildRun:
    """Begin a run: by the plan that it was given, or by a decision of its own.

    Args:
        host: decides.
        task: what is asked for, and the kind of the task.
        facts: what the host states.
        goal: what the child is to do; it is estimated, and not logged.
        decision_id: the plan that it was given, by its decision; None where none was.

    Raises:
        RefusedError: the child does not run.
    """
    request = {**facts, "task": task}
    return _begun(
        _taken(decision_id) or host.plan(request, goal=goal, parent_id=decision_at_hand())
    )


async def begin_async(
    host: PolicyHost,
    task: Mapping[str, Any],
    facts: Mapping[str, Any],
    goal: str,
    decision_id: str | None = None,
) -> ChildRun:
    """Begin a run like :func:`begin`, without blocking the running event loop."""
    request = {**facts, "task": task}
    plan = _taken(decision_id)
    return _begun(plan or await host.plan_async(request, goal=goal, parent_id=decision_at_hand()))


def _begun(plan: HostPlan | Refused) -> ChildRun:
    if isinstance(plan, Refused):
        raise RefusedError(plan)
    above = at_hand()
    return ChildRun(plan, 0 if above is None else above.depth + 1)


def at_hand() -> ChildRun | None:
    """Return the run that the code which runs now belongs to."""
    run = _AT_HAND.get()
    return None if run is None or run.plan.result is not None else run


def decision_at_hand() -> str | None:
    """Return the id of the decision that the code which runs now runs by."""
    run = at_hand()
    return None if run is None else run.plan.decision_id


@contextmanager
def given(plan: HostPlan) -> Iterator[None]:
    """Give a plan to the one run that begins in this context with its decision."""
    token = _GIVEN.set([plan])
    try:
        yield
    finally:
        _GIVEN.reset(token)


def _taken(decision_id: str | None) -> HostPlan | None:
    """Take the plan that was given, so that no other run has it."""
    plans = _GIVEN.get()
    return plans.pop() if plans and plans[0].decision_id == decision_id else None


# What an adapter needs besides.


def words_of(content: Any) -> str:
    """Return the words of a prompt, whatever its parts are; an image or a file has none."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        return words_of(content.get("content") or content.get("text"))
    if isinstance(content, list | tuple):
        return "\n".join(filter(None, map(words_of, content)))
    inner = getattr(content, "content", None)
    return inner if isinstance(inner, str) else ""


def undecided(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the settings of a call without those that would replace what is decided."""
    given = settings or {}
    return {name: value for name, value in given.items() if named(name) not in _DECIDED}


def function_of(host: PolicyHost, facts: Facts = None, *, strict: bool = False) -> dict[str, Any]:
    """Return name, description and schema of the tool for a caller.

    Args:
        host: decides.
        facts: what is stated; a function says nothing before there is a run.
        strict: whether the model has to give every argument.

    Raises:
        RefusedError: the policy cannot be used.
    """
    made = host.tool(None if callable(facts) else facts, strict=strict)
    if isinstance(made, Refused):
        raise RefusedError(made)
    function: dict[str, Any] = made["function"]
    return function
