"""The names under which ModelScope's registries know this package, as in ModelScope's own metainfo."""

from __future__ import annotations


class Tasks:
    """Tasks: two of ModelScope's, one of our own."""

    sentence_embedding = "sentence-embedding"
    text_ranking = "text-ranking"
    entity_linking = "entity-linking"


class Models:
    """Model types for ``model.type`` in configuration.json."""

    entity_embedding = "entity-embedding"
    entity_cross_encoder = "entity-cross-encoder"
    entity_late_interaction = "entity-late-interaction"


RERANKER_TYPES = (Models.entity_cross_encoder, Models.entity_late_interaction)
"""The model types of re-rankers, which score mentions and candidates in the second step."""


class Preprocessors:
    """Preprocessor types for ``preprocessor.type`` in configuration.json."""

    entity_embedding = "entity-embedding"
    entity_cross_encoder = "entity-cross-encoder"


class Pipelines:
    """Pipeline types for ``pipeline.type`` in configuration.json."""

    entity_embedding = "entity-embedding"
    entity_cross_encoder = "entity-cross-encoder"
    entity_linking = "entity-linking"


class Trainers:
    """Trainer names for ``build_trainer``."""

    entity_embedding = "entity-embedding-trainer"
    entity_reranking = "entity-reranking-trainer"


class Metrics:
    """Metric names for ``evaluation.metrics`` in configuration.json."""

    entity_recall = "entity-recall"
