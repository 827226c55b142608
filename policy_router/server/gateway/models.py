"""The models that a caller may ask for, as OpenAI's API lists models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from policy_router.server.asking import Answer, Asked
from policy_router.server.deciding import Agents

AUTO: Final = "auto"
"""The model of a client that asks for none."""
LONGEST_CALL: Final = 32 * 1024 * 1024
"""The longest body of a model call, in bytes."""
MESSAGES_PATH: Final = "/v1/messages"
"""Where Anthropic's API is, whose problems have another shape."""
CALLS: Final = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    MESSAGES_PATH: "messages",
}
"""The paths of model calls, and what answers each."""
_OWNER: Final = "policy-router"


def models_of(agents: Agents) -> Callable[[Asked], Awaitable[Answer]]:
    """Return what lists the models that a caller may ask for."""

    async def models(asked: Asked) -> Answer:
        menu = msgspec.json.decode((await agents.menu(asked)).body)
        owners = {entry["name"]: entry["provider"] for entry in menu["entries"] or ()}
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": owner or _OWNER}
            for name, owner in {AUTO: None, **owners}.items()
        ]
        return Answer.of({"object": "list", "data": data})

    return models
