"""The tools by which an agent asks over MCP: on HTTP, and on standard input.

Each tool asks what the same path over HTTP asks, so that the same is believed, logged and refused.
A refusal, too, is a tool error: the model reads it and asks for something else. This is the only
door to the SDK of MCP.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec
from mcp import MCPError, types
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from msgspec import Struct, UnsetType
from msgspec.structs import replace

from policy_router.calls.results import Status
from policy_router.decision.explain.wording import spelt_parameters, spelt_target, spelt_warning
from policy_router.decision.record import DecisionRecord
from policy_router.diagnostics.model import printable
from policy_router.domain import Policy
from policy_router.server.asking import JSON, LONGEST_BODY, Answer, Asked
from policy_router.server.auditing import Auditors
from policy_router.server.credentials import LOGGER, Credential
from policy_router.server.deciding import DECISION, Agents
from policy_router.server.delegating import Delegations
from policy_router.server.mcp_schemas import (
    DELEGATE,
    INSTRUCTIONS,
    OFFERS,
    OUTPUTS,
    VERIFIED,
    explain_arguments,
    request_arguments,
)
from policy_router.server.problems import Problem, role_needed
from policy_router.version import VERSION

_OWNER: Final = Credential("", frozenset({"agent", "host", "auditor"}))
"""Who starts a process of its own and talks to it: what it states is looked at here."""
_KEY: Final = "policy_router.call"
_INVALID: Final = b"Validation error"
"""How the SDK begins to say that a message is none."""
_PASSED: Final = (b"accept", b"mcp-protocol-version", b"mcp-method", b"mcp-name")

logging.getLogger("mcp").setLevel(logging.WARNING)  # not a line for each message
Context: TypeAlias = ServerRequestContext[Any, Any]


class _Call(Struct):
    """A message of a client.

    Attributes:
        asked: the request over HTTP; of standard input, one of the owner.
        decision: the id of the decision that was made, and the policy's revision.
    """

    asked: Asked
    decision: tuple[str, str] | None = None


class Tools:
    """Answers what is asked over MCP."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        agents: Agents,
        auditors: Auditors,
        counted: Callable[[DecisionRecord], None],
        *,
        may_state: tuple[str, ...] = (),
        given: Mapping[str, Any] | None = None,
        delegations: Delegations | None = None,
    ) -> None:
        """Take what answers.

        Args:
            policy: returns what decides now.
            agents: decide.
            auditors: explain.
            counted: is called with each record.
            may_state: what an agent may state besides ``call`` and ``task``.
            given: on standard input, the sections of every request that the host states, and
                nobody else may; None where the credential of a request tells who may.
            delegations: run delegated tasks; None where no models are called.
        """
        self._policy, self._agents, self._auditors = policy, agents, auditors
        self._counted = counted
        self._may_state, self._given, self._delegations = may_state, given, delegations
        self._tools: Mapping[str, Callable[[_Call, dict[str, Any]], Awaitable[_Result]]]
        self._tools = {"decide": self._decide, "menu": self._menu, "explain": self._explain}
        self._server: Server[Any] = Server(
            "policy-router",
            version=VERSION,
            title="policy-router",
            instructions=INSTRUCTIONS,
            get_tool_input_schema=lambda _name: None,  # no argument is repeated in a header
            on_list_tools=self._list,
            on_call_tool=self._call,
        )

    async def serve(self) -> None:
        """Answer at standard input until it ends."""
        async with stdio_server() as (reading, writing):
            options = self._server.create_initialization_options()
            await self._server.run(reading, writing, options)

    async def answer(self, asked: Asked) -> Answer:
        """Answer a message that came by HTTP."""
        asked.options()
        call, sent = _Call(asked), list[Any]()
        headers = [(name, asked.headers[name]) for name in _PASSED if name in asked.headers]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/mcp",
            "query_string": b"",
            "headers": [(b"content-type", JSON), *headers],
            _KEY: call,
        }
        parts = iter([{"type": "http.request", "body": asked.body}])

        async def receive() -> Any:
            part = next(parts, None)
            return part if part is not None or asked.gone is None else await asked.gone()

        async def send(message: Any) -> None:
            sent.append(message)

        # There are no sessions: what serves one message ends with it, also where a client hangs up.
        manager = StreamableHTTPSessionManager(self._server, json_response=True, stateless=True)
        async with manager.run():
            await manager.handle_request(scope, receive, send)
        body = _without_values(b"".join(it.get("body", b"") for it in sent[1:]))
        if call.decision is None:
            return Answer(body, sent[0]["status"])
        decision_id, revision = call.decision
        named = ((DECISION, decision_id.encode()),)
        return Answer(body, sent[0]["status"], named, revision=revision)

    async def _list(self, context: Context, _page: Any) -> types.ListToolsResult:
        credential = self._of(context).asked.credential
        tools = [
            types.Tool(
                name=name,
                title=offer.title,
                description=offer.text,
                input_schema=self._arguments(name, credential),
                output_schema=OUTPUTS[name],
                annotations=types.ToolAnnotations(read_only_hint=True, open_world_hint=False),
            )
            for name, offer in OFFERS.items()
            if offer.role in credential.roles
        ]
        if self._delegations is not None and "agent" in credential.roles:
            made = await self._delegations.definition(self._of(context).asked)
            tools.append(
                types.Tool(
                    name=DELEGATE,
                    title="Delegate tasks",
                    description=made["description"],
                    input_schema=made["inputSchema"],
                    annotations=types.ToolAnnotations(read_only_hint=False, open_world_hint=True),
                )
            )
        return types.ListToolsResult(tools=tools)

    async def _call(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        call, tool = self._of(context), self._tools.get(params.name)
        is_delegation = params.name == DELEGATE and self._delegations is not None
        if is_delegation:
            tool = self._delegate
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, "there is no such tool")
        role = "agent" if is_delegation else OFFERS[params.name].role
        if role not in call.asked.credential.roles:
            return _failed(role_needed(role)).plain()
        try:
            return (await tool(call, params.arguments or {})).plain()
        except Problem as problem:
            return _failed(problem).plain()
        except Exception:  # noqa: BLE001 - a bug of ours fails one call and is logged
            LOGGER.exception("MCP: %s", params.name)
            return _failed(Problem(500, "internal", "this is a bug of the service")).plain()

    def _of(self, context: Context) -> _Call:
        """Return the message that is answered."""
        if self._given is not None:
            return _Call(Asked(_OWNER))
        request: Any = context.request
        call: _Call = request.scope[_KEY]
        return call

    async def _decide(self, call: _Call, arguments: dict[str, Any]) -> _Result:
        asked = self._asked(call, self._stated(arguments, "$"))
        made = await self._agents.decide(asked)
        self._counted(made.record)
        call.decision = made.decision_id, made.record.policy.revision
        return _decided(made.decision_id, made.record)

    async def _delegate(self, call: _Call, arguments: dict[str, Any]) -> _Result:
        if self._delegations is None:  # pragma: no cover - then it is not offered
            raise TypeError("no models are called")
        made = await self._delegations.run(call.asked, arguments)
        is_error = made.status in {Status.FAILED, Status.REFUSED}
        answer = made.to_tool_answer()
        return _Result(answer, msgspec.json.decode(answer), is_error=is_error)

    async def _menu(self, call: _Call, arguments: dict[str, Any]) -> _Result:
        answer = await self._agents.menu(self._asked(call, self._stated(arguments, "$")))
        menu = msgspec.json.decode(answer.body)
        if not menu["restricted"]:
            return _Result("any model may be asked for", menu)
        return _Result("\n".join(map(_line, menu["entries"])) or "nothing may be asked for", menu)

    async def _explain(self, call: _Call, arguments: dict[str, Any]) -> _Result:
        request = arguments.get("request")
        if isinstance(request, dict):
            arguments = {**arguments, "request": self._stated(request, "$.request")}
        answer = await self._auditors.explain(self._asked(call, arguments))
        content = msgspec.json.decode(answer.body)
        return _Result(content["text"], content)

    def _stated(self, request: dict[str, Any], path: str) -> dict[str, Any]:
        """Return a request with what the host states, who is nobody else on standard input.

        Raises:
            Problem: an agent states it.
        """
        if self._given is None:
            return request
        for section in VERIFIED:
            if section in request:
                raise Problem(
                    403,
                    "not_verified",
                    "an agent may not state this: it comes from the file that --facts names",
                    path=f"{path}.{section}",
                )
        return {**request, **self._given}

    def _arguments(self, name: str, credential: Credential) -> dict[str, Any]:
        """Return the shape of the arguments of a tool, as far as somebody may state them."""
        if name == "explain":
            return explain_arguments()
        sections = {"call", "task", *(it.partition(".")[0] for it in self._may_state)}
        if self._given is None and credential.is_host:
            sections.update(VERIFIED)
        return request_arguments(self._policy(), sections, is_short=name == "menu")

    def _asked(self, call: _Call, content: Mapping[str, Any]) -> Asked:
        """Return what a tool asks, as over HTTP."""
        try:
            body = json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
        except (ValueError, RecursionError):
            detail = "an argument is a number that is not finite, or is nested too deep"
            raise Problem(422, "bad_request", detail, path="$") from None
        if len(body) > LONGEST_BODY:
            detail = f"the arguments are longer than {LONGEST_BODY:,} bytes"
            raise Problem(413, "too_large", detail, path="$")
        return replace(call.asked, body=body, query=b"")


def _without_values(body: bytes) -> bytes:
    """Return an answer of the SDK without the values that its check of a message shows."""
    if _INVALID not in body:
        return body
    answer = msgspec.json.decode(body)
    message = answer.get("error", {}).get("message", "")
    if not message.startswith(_INVALID.decode()):
        return body
    answer["error"]["message"] = f"{_INVALID.decode()}: this is not a message of JSON-RPC 2.0"
    return msgspec.json.encode(answer)


class _Result(Struct):
    """The answer of a tool.

    Attributes:
        text: for the model.
        content: the same as data.
        is_error: whether it is an error.
    """

    text: str
    content: dict[str, Any]
    is_error: bool = False

    def plain(self) -> types.CallToolResult:
        """Return it as the SDK has it."""
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=self.text)],
            structured_content=self.content,
            is_error=self.is_error,
        )


def _failed(problem: Problem) -> _Result:
    """Return the tool error of a problem."""
    error = {
        "code": problem.code,
        "message": problem.detail,
        "path": problem.path,
        "help": problem.help,
    }
    where = f"{problem.path}: " if problem.path else ""
    remedy = f"; {problem.help}" if problem.help else ""
    text = f"{problem.code}: {where}{problem.detail}{remedy}"
    return _Result(text, {"error": {key: it for key, it in error.items() if it}}, is_error=True)


def _decided(decision_id: str, record: DecisionRecord) -> _Result:
    """Return a decision; a refusal is an error."""
    decision = record.decision
    content: dict[str, Any] = {"decision_id": decision_id}
    warnings = [f"warning: {spelt_warning(it)}" for it in decision.warnings]
    if isinstance(decision.target, UnsetType):
        content["error"] = msgspec.to_builtins(decision.refusal)
        if decision.warnings:
            content["warnings"] = msgspec.to_builtins(decision.warnings)
        error = content["error"]
        lines = [f"refused: {error['code']}: {printable(error['message'])}"]
        if "permitted" in error:
            lines.append(f"permitted: {printable(', '.join(error['permitted'])) or 'nothing'}")
    else:
        content["decision"] = msgspec.to_builtins(decision)
        lines = [
            f"selected: {spelt_target(decision.target)}",
            f"parameters: {spelt_parameters(decision.target)}",
            f"fallbacks: {', '.join(map(spelt_target, decision.fallbacks or ())) or 'none'}",
        ]
    text = "\n".join([*lines, *warnings, f"decision id: {decision_id}"])
    return _Result(text, content, is_error="error" in content)


def _line(entry: Mapping[str, Any]) -> str:
    """Return an entry of the menu for a model."""
    where = f" at {entry['provider']}" if entry["provider"] else ""
    prices = ", ".join(
        f"${price:g} {kind}" for kind, price in entry["price"].items() if price is not None
    )
    facts = [", ".join(entry["strengths"]), f"{prices} per million tokens" if prices else ""]
    said = "; ".join(filter(None, facts))
    return printable(f"{entry['name']} ({entry['model']}{where}){': ' if said else ''}{said}")
