"""How the providers differ on the wire while all speaking OpenAI's format: one row a provider.

Belongs here: the quirk table and the usage object each provider reports. Does not belong here: what a call costs.
Sources: OpenAI's SDK types; DeepSeek's, Groq's, Mistral's and Together's published response formats; for Gemini's
hidden thoughts a published report of 758 + 102 tokens totalling 1725.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from router.sim.bill import Meters


@dataclass(frozen=True, slots=True)
class Personality:
    """The defaults are those of an unknown OpenAI-compatible provider: lenient, brief usage."""

    strict: bool = False
    """Unknown fields and OpenAI's own rules are refused; compatible providers ignore what they do not know."""
    details: Literal["full", "brief", "none"] = "brief"
    reasoning: Literal["inside", "outside", "hidden"] = "inside"
    """inside completion_tokens; outside it but detailed (xAI); or to be seen in total_tokens only (Gemini)."""
    caches: bool = True
    """False where the OpenAI-compatible door neither caches nor reports it (Gemini, Anthropic)."""
    shows_reasoning: bool = False
    """Reasoning travels as reasoning_content, before the answer (DeepSeek)."""
    hit_and_miss: bool = False
    x_groq: bool = False
    usage_with_finish: bool = False
    """Usage comes unasked in the chunk that has the finish_reason, and no chunk of its own follows."""
    obfuscation: bool = False
    fingerprint: bool = False
    service_tier: bool = False
    mistral: bool = False
    together: bool = False


_PLAIN: Final = Personality()
_PERSONALITIES: Final = {
    "openai": Personality(strict=True, details="full", obfuscation=True, fingerprint=True, service_tier=True),
    "deepseek": Personality(shows_reasoning=True, hit_and_miss=True, fingerprint=True),
    "groq": Personality(x_groq=True, fingerprint=True),
    "google": Personality(details="none", reasoning="hidden", caches=False),
    "anthropic": Personality(details="none", caches=False),
    "xai": Personality(reasoning="outside", fingerprint=True),
    "mistral": Personality(usage_with_finish=True, mistral=True),
    "together": Personality(usage_with_finish=True, together=True),
}


def personality(provider: str, quirks: frozenset[str]) -> Personality:
    """The provider's row; the catalog's ``no_stream_options`` means that usage comes unasked."""
    row = _PERSONALITIES.get(provider, _PLAIN)
    if "no_stream_options" in quirks and not row.usage_with_finish:
        return Personality(usage_with_finish=True)
    return row


def usage(
    who: Personality, meters: Meters, *, caches: bool, reasons: bool, seconds: tuple[float, float]
) -> dict[str, Any]:
    """The usage object as this provider writes it. ``seconds`` are prompt and completion time, for Groq."""
    outside = 0 if who.reasoning == "inside" else meters.reasoning
    report: dict[str, Any] = {
        "prompt_tokens": meters.prompt,
        "completion_tokens": meters.completion - outside,
        "total_tokens": meters.prompt + meters.completion,
    }
    if who.details == "full":
        report["prompt_tokens_details"] = {"cached_tokens": meters.cached, "audio_tokens": 0}
        if meters.cache_write:
            report["prompt_tokens_details"]["cache_write_tokens"] = meters.cache_write
        report["completion_tokens_details"] = {
            "reasoning_tokens": meters.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        }
    elif who.details == "brief":
        if caches:
            report["prompt_tokens_details"] = {"cached_tokens": meters.cached}
            if meters.cache_write:
                report["prompt_tokens_details"]["cache_write_tokens"] = meters.cache_write
        if reasons:
            report["completion_tokens_details"] = {"reasoning_tokens": meters.reasoning}
    if who.hit_and_miss:
        report["prompt_cache_hit_tokens"] = meters.cached
        report["prompt_cache_miss_tokens"] = meters.prompt - meters.cached
    if who.x_groq:
        waited, wrote = (round(value, 6) for value in seconds)
        report |= {
            "queue_time": 0.0004,
            "prompt_time": waited,
            "completion_time": wrote,
            "total_time": round(waited + wrote, 6),
        }
    if who.mistral:
        report |= {"prompt_audio_seconds": None, "service_tier": None}
    return report
