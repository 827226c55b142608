"""What providers' errors mean: one table of names, words and statuses, each row with its source.

A status alone says little: under 400 comes a model that is gone, an input that is too long, a
filter, and credit that is used up. So the names that an error has (`code`, `type`, `status`) and
its words are tried first. A message may repeat what was asked; so the words of a row are specific,
and those that name a model count only for the model that was called.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from policy_router.calls.failing import Failing


class Meaning(Struct, frozen=True):
    """A row of the table: an error with one of the names, or with the words, has the code.

    Attributes:
        code: what it is.
        source: where a provider says so.
        statuses: the statuses under which the row counts; none for any.
        names: names of errors, in lower case.
        words: what is searched for in a message; None for nothing.
        model: whether the words count only beside the id of the model that was called.
    """

    code: Failing
    source: str
    statuses: frozenset[int] = frozenset()
    names: frozenset[str] = frozenset()
    words: re.Pattern[str] | None = None
    model: bool = False


def _row(
    code: Failing,
    source: str,
    *,
    under: tuple[int, ...] = (),
    names: str = "",
    words: str = "",
    model: bool = False,
) -> Meaning:
    pattern = re.compile(f"(?i){words}") if words else None
    return Meaning(code, source, frozenset(under), frozenset(names.split()), pattern, model)


_OVERFLOW, _FILTER = Failing.CONTEXT_OVERFLOW, Failing.CONTENT_FILTERED
_PAY, _GONE, _RATE = Failing.PAYMENT_REQUIRED, Failing.MODEL_NOT_FOUND, Failing.RATE_LIMITED
_VAGUE: Final = (400, 403, 412, 422, 429)
"""Under any of these, credit may be used up."""

MEANINGS: Final = (
    # The input is too long, whatever the status.
    _row(
        _OVERFLOW,
        "OpenAI, Azure, Groq, LiteLLM: platform.openai.com/docs/guides/error-codes, "
        "docs.litellm.ai/docs/exception_mapping",
        names="context_length_exceeded contextwindowexceedederror",
        words=r"exceeds the context window|litellm\.ContextWindowExceededError",
    ),
    _row(
        _OVERFLOW,
        "OpenAI, vLLM, OpenRouter, DeepSeek: github.com/vllm-project/vllm/pull/12600, "
        "github.com/THUDM/LongBench/issues/104",
        words=r"maximum context length (?:is|of) \d+|maximum model length of \d+"
        r"|\d+ maximum context length",
    ),
    _row(
        _OVERFLOW,
        "Anthropic: platform.claude.com/docs/en/api/errors, "
        "portkey.ai/error-library/input-length-error-10153",
        names="request_too_large",
        words=r"prompt is too long: \d+|input length and `max_tokens` exceed context limit",
    ),
    _row(
        _OVERFLOW,
        "Gemini: ai.google.dev/gemini-api/docs/troubleshooting",
        words=r"input token count \(?\d*\)? ?exceeds the maximum number of tokens",
    ),
    _row(
        _OVERFLOW,
        "Bedrock: github.com/aws-samples/assessment-generator/issues/2",
        words=r"input is too long for (?:the )?requested model",
    ),
    _row(
        _OVERFLOW,
        "llama.cpp: tools/server of github.com/ggml-org/llama.cpp",
        names="exceed_context_size_error",
        words=r"exceeds the available context size",
    ),
    _row(
        _OVERFLOW,
        "GitHub Models, xAI, Mistral, Moonshot, MiniMax, LM Studio, TGI, Z.ai, DashScope: "
        "docs.z.ai/api-reference/api-code, github.com/bytedance/UI-TARS-desktop/issues/626, "
        "utils/overflow of github.com/badlogic/pi-mono",
        names="1261 model_max_prompt_tokens_exceeded",
        words=r"prompt token count of \d+ exceeds the limit of \d+"
        r"|maximum prompt length is \d+"
        r"|too large for model with \d+"
        r"|exceeded model token limit"
        r"|context window exceeds limit"
        r"|greater than the context length"
        r"|`inputs` tokens \+ `max_new_tokens` must be"
        r"|prompt exceeds max length"
        r"|range of input length should be",
    ),
    # A filter kept the input or the answer back.
    _row(
        _FILTER,
        "Azure, OpenAI, LiteLLM: docs.litellm.ai/docs/exception_mapping, "
        "learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter",
        names="content_filter content_filtered content_policy_violation moderation_blocked "
        "contentpolicyviolationerror responsibleaipolicyviolation",
        words=r"content management policy|litellm\.ContentPolicyViolationError",
    ),
    _row(
        _FILTER,
        "OpenAI: github.com/BeehiveInnovations/pal-mcp-server/issues/178",
        under=(400, 500),
        words=r"prompt was flagged as potentially violating our usage policy",
    ),
    _row(
        _FILTER,
        "OpenRouter: openrouter.ai/docs/api/reference/errors-and-debugging",
        under=(403,),
        words=r"requires moderation|input was flagged",
    ),
    _row(
        _FILTER,
        "DashScope, DeepSeek, xAI, Z.ai: help.aliyun.com/zh/model-studio/error-code, "
        "docs.z.ai/api-reference/api-code",
        names="data_inspection_failed datainspectionfailed 1301 safety_check_failed",
        words=r"^content exists risk|data may contain inappropriate content"
        r"|content violates usage guidelines",
    ),
    # Credit is used up.
    _row(
        _PAY,
        "OpenAI, DeepSeek, DashScope, LiteLLM: platform.openai.com/docs/guides/error-codes, "
        "github.com/BerriAI/litellm/issues/31078",
        under=_VAGUE,
        names="insufficient_quota insufficient_balance insufficient_credit billing_error "
        "billing_hard_limit_reached billing_not_active arrearage budget_exceeded "
        "exceeded_current_quota_error 1113",
    ),
    _row(
        _PAY,
        "OpenRouter: github.com/gptme/gptme/issues/1449, github.com/RooCodeInc/Roo-Code/issues/515",
        under=(403,),
        words=r"^(?:api )?key limit exceeded",
    ),
    _row(
        _PAY,
        "Anthropic, DeepSeek, xAI, LiteLLM: github.com/Anantys-oss/koan/issues/2412, "
        "github.com/BerriAI/litellm/issues/14144",
        under=_VAGUE,
        words=r"\bcredit balance is too low\b"
        r"|\binsufficient (?:account )?(?:balance|credits?|funds)\b"
        r"|used all available credits|run out of credits|^budget has been exceeded",
    ),
    # The model is not there, or no longer.
    _row(
        _GONE,
        "OpenAI, Groq, Together, Mistral, Z.ai, GitHub Models, Azure: "
        "console.groq.com/docs/deprecations, docs.z.ai/api-reference/api-code",
        under=(400,),
        names="1211 invalid_model model_decommissioned model_not_available model_not_found "
        "model_not_supported deploymentnotfound",
    ),
    _row(
        _GONE,
        "Bedrock: docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes",
        under=(400,),
        words=r"^the provided model identifier is invalid\W*$"
        r"|^this model version has reached the end",
    ),
    _row(
        _GONE,
        "DeepSeek, OpenRouter, Mistral, Perplexity",
        under=(400,),
        words=r"^(?:unknown model|model not exist|invalid model:? \S+"
        r"|\S+ is not a valid model(?: id)?)[^\w,]*(?:,|permitted\b|$)",
    ),
    _row(
        _GONE,
        "LiteLLM: github.com/BerriAI/litellm, its proxy's check of names",
        under=(400,),
        words=r"invalid model name passed in model=",
        model=True,
    ),
    _row(
        _GONE,
        "providers that retire an id: github.com/NousResearch/hermes-agent/issues/113272",
        under=(400,),
        words=r"\bsupported (?:api )?models?\b|\bmodels? (?:ids? |names? )?(?:is|are) supported\b"
        r"|\b(?:decommissioned|retired|discontinued|sunset|shut down|end of life)\b"
        r"|\b(?:has|have) been (?:deprecated|removed)\b"
        r"|\bmodel\b.{0,80}\bno longer (?:available|supported)\b",
        model=True,
    ),
    # A limit of tokens a minute is no limit of the window.
    _row(
        _RATE,
        "Groq: console.groq.com/docs/errors",
        under=(413,),
        names="rate_limit_exceeded",
        words=r"tokens per minute",
    ),
)
"""The rows, in the order in which they are tried."""

FINISHES: Final = {
    # OpenAI, Azure, Mistral; Gemini by its own words; Bedrock's guardrails; Z.ai
    "content_filter": _FILTER,
    "content_filtered": _FILTER,
    "safety": _FILTER,
    "recitation": _FILTER,
    "blocklist": _FILTER,
    "prohibited_content": _FILTER,
    "spii": _FILTER,
    "guardrail_intervened": _FILTER,
    "sensitive": _FILTER,
    # Anthropic
    "refusal": Failing.REFUSED_BY_MODEL,
    "model_context_window_exceeded": _OVERFLOW,
    "tool_use": Failing.WANTS_TOOL,
    # OpenAI
    "tool_calls": Failing.WANTS_TOOL,
    "function_call": Failing.WANTS_TOOL,
    # OpenRouter, DeepSeek, Z.ai
    "error": Failing.SERVER_ERROR,
    "insufficient_system_resource": Failing.SERVER_ERROR,
    "network_error": Failing.SERVER_ERROR,
}
"""What a reason to stop means, in lower case; any other is that of an answer."""


def meaning_of(
    status: int, names: frozenset[str], words: str, *, model: str, hidden: str = ""
) -> Failing | None:
    """Return what an error means; None where the table does not know it.

    Args:
        status: the HTTP status.
        names: how the provider calls the error, in lower case.
        words: its message.
        model: the model that was called.
        hidden: what another provider said, whose error this one passes on.
    """
    for row in MEANINGS:
        if row.statuses and status not in row.statuses:
            continue
        if names & row.names or (row.words and _is_said(row, words, hidden, model)):
            return row.code
    return None


def _is_said(row: Meaning, words: str, hidden: str, model: str) -> bool:
    texts = [text for text in (words, hidden) if row.words and row.words.search(text)]
    return any(not row.model or names_model(text, model) for text in texts)


def names_model(text: str, model: str) -> bool:
    """Tell whether a text has a model's id as a word of its own."""
    pattern = rf"(?i)(?<![\w.:/-]){re.escape(model)}(?![\w:/-]|\.\w)"
    return bool(model) and re.search(pattern, text) is not None
