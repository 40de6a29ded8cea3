"""The endpoints beside chat and embeddings: moderation, images, sound, reranking."""
