"""Fields of a model call besides its messages: wishes, and fields that are refused.

A wish is a parameter of the call, in the spelling of any of the APIs. What would name another
model, endpoint, credential, order of providers or class of price than the decided ones is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from policy_router.domain import FrozenDict
from policy_router.parameters import BUDGET, EFFORT, KNOWN, SPELLINGS

WISHES: Final[Mapping[tuple[str, ...], str]] = MappingProxyType(
    {
        **{(name,): name for name in (*KNOWN, *SPELLINGS)},
        ("reasoning", "effort"): EFFORT,  # Responses, OpenRouter
        ("output_config", "effort"): EFFORT,  # Anthropic
        ("text", "verbosity"): "verbosity",  # Responses
        ("thinking", "budget_tokens"): BUDGET,  # Anthropic
    }
)
"""The places of wishes in a body, and the parameters that they are for."""

NESTED: Final = frozenset(path[0] for path in WISHES if len(path) > 1)
"""The fields of which only a part is a wish; the rest goes through."""

_OPENAI: Final = "https://platform.openai.com/docs/api-reference"
_OPENROUTER: Final = "https://openrouter.ai/docs/api-reference/overview"
_LITELLM: Final = "https://docs.litellm.ai/docs/proxy/clientside_auth"
_LITELLM_CALL: Final = "https://docs.litellm.ai/docs/completion/input"
_LITELLM_RELIABLE: Final = "https://docs.litellm.ai/docs/proxy/reliability"
_ANTHROPIC: Final = "https://platform.claude.com/docs/en/api/messages"
_AZURE: Final = "https://learn.microsoft.com/azure/ai-foundry/openai/references/on-your-data"
_VERCEL: Final = "https://vercel.com/docs/ai-gateway/models-and-providers/provider-options"
_XAI: Final = "https://docs.x.ai/docs/guides/deferred-chat-completions"
_SGLANG: Final = "https://docs.sglang.ai/advanced_features/lora.html"
_LORAX: Final = "https://loraexchange.ai/reference/rest_api"

NOT_ALLOWED: Final[Mapping[str, str]] = FrozenDict(
    {
        # another model
        "adapter_id": _LORAX,
        "adapter_source": _LORAX,
        "context_window_fallbacks": _LITELLM_RELIABLE,
        "content_policy_fallbacks": _LITELLM_RELIABLE,
        "deployment_id": _LITELLM_CALL,
        "fallbacks": _LITELLM_RELIABLE,
        "lora_path": _SGLANG,
        "model_list": _LITELLM_CALL,
        "models": _OPENROUTER,
        "plugins": _OPENROUTER,
        "preset": _OPENROUTER,
        "prompt": f"{_OPENAI}/responses/create",  # a stored one, which names its model
        "route": _OPENROUTER,
        # another endpoint or credential
        "api_base": _LITELLM_CALL,
        "api_key": _LITELLM,
        "api_token": _LORAX,
        "api_version": _LITELLM_CALL,
        "azure_ad_token": _LITELLM_CALL,
        "base_url": _LITELLM_CALL,
        "custom_llm_provider": _LITELLM_CALL,
        "data_sources": _AZURE,
        "extra_body": _LITELLM_CALL,
        "extra_headers": _LITELLM_CALL,
        "extra_query": f"{_OPENAI}/introduction",
        "headers": _LITELLM_CALL,
        "organization": _LITELLM_CALL,
        "user_config": _LITELLM,
        # another order of providers
        "provider": _OPENROUTER,
        "providerOptions": _VERCEL,
        "provider_options": _VERCEL,
        "router_settings_override": _LITELLM_RELIABLE,
        # another class of price, or more than one answer
        "background": f"{_OPENAI}/responses/create",
        "best_of": f"{_OPENAI}/completions/create",
        "deferred": _XAI,
        "inference_geo": _ANTHROPIC,
        "n": f"{_OPENAI}/chat/create",  # above 1
        "service_tier": f"{_OPENAI}/chat/create",
        "speed": _ANTHROPIC,
    }
)
"""The fields that are refused unless the configuration passes them, with the page about each."""

HARMLESS: Final[Mapping[str, object]] = FrozenDict(
    {"n": 1, "background": False, "deferred": False, "service_tier": "default", "speed": "standard"}
)
"""The values that say no more than a missing field does."""

_IMAGES: Final = frozenset({"image", "image_file", "image_url", "input_image"})
"""The types of parts of a message that are images."""
_BINARY: Final = frozenset({"data", "file_data", "image_url", "url"})
"""The keys of parts whose texts are no words."""

OURS: Final = "policy_router"
"""The field, or the key of ``metadata``, that has more of the request; it is never forwarded."""

_TAKEN: Final = {*NOT_ALLOWED, *(path[0] for path in WISHES), OURS, "model", "stream"}
SAME: Final[Mapping[str, str]] = FrozenDict({name.casefold(): name for name in _TAKEN})
"""The fields that are looked at, by their names in one case: some servers take any case."""


def measured(content: Any) -> tuple[int, bool]:
    """Return how many bytes of text an input has, and whether there are images in it.

    Args:
        content: messages, or other parts of a body, as plain data.
    """
    size, has_images, rest = 0, False, [content]
    while rest:
        node = rest.pop()
        if isinstance(node, str):
            size += len(node) if node.isascii() else len(node.encode(errors="replace"))
        elif isinstance(node, list):
            rest += node
        elif isinstance(node, dict):
            kind = node.get("type")
            has_images = has_images or (isinstance(kind, str) and kind in _IMAGES)
            is_text = kind == "text"
            rest += [it for key, it in node.items() if is_text or key not in _BINARY]
    return size, has_images
