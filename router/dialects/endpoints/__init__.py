"""OpenAI's endpoints beside chat and embeddings, and rerankers': the entries for the tables of ways.py.

Requests pass through to a provider of the model that they name; what is metered and held, docs/endpoints.md tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.dialects.endpoints.images import EDITS, IMAGES, VARIATIONS
from router.dialects.endpoints.moderation import MODERATIONS
from router.dialects.endpoints.rerank import RERANK, RERANK_2
from router.dialects.endpoints.speech import SPEECH
from router.dialects.endpoints.transcription import TRANSCRIPTIONS, TRANSLATIONS

if TYPE_CHECKING:
    from router.dialects.contract import Inbound

ENDPOINTS: Final[tuple[Inbound, ...]] = (
    MODERATIONS, IMAGES, EDITS, VARIATIONS, TRANSCRIPTIONS, TRANSLATIONS, SPEECH, RERANK, RERANK_2,
)  # fmt: skip  # a line a name would hide that it is one table
