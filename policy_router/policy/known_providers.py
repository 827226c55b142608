"""Addresses and dialects of widely used providers.

One row each, from their public documentation in November 2026. It is no more than a default: what a
policy says under ``providers`` goes before it, name by name, and with an address of its own a
policy takes over the key, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from policy_router.domain import Dialect, Provider

_USUAL: Final = Dialect()
_NEW_LENGTH: Final = Dialect(max_tokens="max_completion_tokens")
_MESSAGES: Final = Dialect(api="anthropic_messages")
_NO_USAGE: Final = Dialect(unsupported=("stream_options",))

_ROWS: Final[tuple[tuple[str, str, str | None, Dialect], ...]] = (
    ("anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", _MESSAGES),
    ("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", _NEW_LENGTH),
    ("cohere", "https://api.cohere.ai/compatibility/v1", "COHERE_API_KEY", _NO_USAGE),
    (
        "dashscope",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "DASHSCOPE_API_KEY",
        _USUAL,
    ),
    ("deepinfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY", _USUAL),
    ("deepseek", "https://api.deepseek.com", "DEEPSEEK_API_KEY", _USUAL),
    ("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY", _USUAL),
    (
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "GEMINI_API_KEY",
        _USUAL,
    ),
    ("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", _NEW_LENGTH),
    ("huggingface", "https://router.huggingface.co/v1", "HF_TOKEN", _USUAL),
    ("llamacpp", "http://localhost:8080/v1", None, _USUAL),
    ("lmstudio", "http://localhost:1234/v1", None, _USUAL),
    ("minimax", "https://api.minimax.io/v1", "MINIMAX_API_KEY", _NEW_LENGTH),
    ("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", _NO_USAGE),
    ("moonshot", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY", _USUAL),
    ("nebius", "https://api.tokenfactory.nebius.com/v1", "NEBIUS_API_KEY", _USUAL),
    ("nvidia", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY", _USUAL),
    ("ollama", "http://localhost:11434/v1", None, _USUAL),
    ("openai", "https://api.openai.com/v1", "OPENAI_API_KEY", _NEW_LENGTH),
    ("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", _USUAL),
    ("perplexity", "https://api.perplexity.ai/v1", "PERPLEXITY_API_KEY", Dialect(api="responses")),
    ("sambanova", "https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY", _USUAL),
    ("together", "https://api.together.ai/v1", "TOGETHER_API_KEY", _USUAL),
    ("vercel", "https://ai-gateway.vercel.sh/v1", "AI_GATEWAY_API_KEY", _USUAL),
    ("vllm", "http://localhost:8000/v1", None, _USUAL),
    ("xai", "https://api.x.ai/v1", "XAI_API_KEY", _NEW_LENGTH),
    ("zai", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY", _USUAL),
)

KNOWN_PROVIDERS: Final[Mapping[str, Provider]] = {
    name: Provider(base_url, f"env:{key}" if key else None, dialect=dialect)
    for name, base_url, key, dialect in _ROWS
}
"""Name to address, reference of the key (None where it needs none), and dialect."""
