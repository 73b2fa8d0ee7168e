"""The facts about a model that its card states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelscope_plugin.modeling.location import is_hub_id

GROUPS = ("", "single_gold_", "seen_", "unseen_", "ambiguous_", "unambiguous_")
"""Groups of mentions that have a row of recall, by the prefix of their figures; the first is all mentions."""


@dataclass(frozen=True, kw_only=True)
class SnippetFacts:
    """The facts that the Python snippets of a card need.

    Attributes:
        name: The name that the model is loaded by: a hub id, or the name of its folder.
        dimension: Size of the vectors.
        views: Vectors of an entity, at most, that the model was trained for.
        standalone: Whether the folder carries the code it needs.
        sentence_transformers: Whether sentence-transformers opens the folder.
        onnx: Whether the folder carries ONNX files.
    """

    name: str
    dimension: int
    views: int
    standalone: bool
    sentence_transformers: bool
    onnx: bool

    @property
    def is_hub_id(self) -> bool:
        """True if the name is a hub id, ``owner/name``."""
        return is_hub_id(self.name)


@dataclass(frozen=True, kw_only=True)
class CardFacts(SnippetFacts):
    """All facts about a model that its card states.

    Attributes:
        license: Its licence; None if it is not known.
        architecture: ``model_type`` of the encoder, such as ``bert``.
        layers: Transformer layers of a tower.
        parameters: Weights of all towers together.
        max_length: Tokens of a window.
        emb_pooler_type: How token states become one vector.
        normalize: Whether vectors have length 1.
        towers: 1 for shared weights, 2 for separate ones.
        mention_prefix: Text put in front of every source text.
        entity_prefix: Text put in front of every entity text.
        has_markers: Whether the vocabulary holds the markers around a mention.
        indexed: Number of entities in the index that the folder carries; 0 without an index.
        training: The checked record of the training run; None if there is none.
        measured: Checked figures of ``modelscope entity evaluate``; None if none were given.
    """

    license: str | None
    architecture: str
    layers: int
    parameters: int
    max_length: int
    emb_pooler_type: str
    normalize: bool
    towers: int
    mention_prefix: str
    entity_prefix: str
    has_markers: bool
    indexed: int
    training: dict[str, Any] | None
    measured: dict[str, Any] | None

    @property
    def base_model(self) -> str | None:
        """The hub id of the checkpoint that training started from; None if it is not known."""
        return (self.training or {}).get("base_model")

    @property
    def is_collapsed(self) -> bool:
        """True if training learned nothing."""
        return bool((self.training or {}).get("collapsed"))

    @property
    def recall(self) -> dict[str, Any] | None:
        """The table of recall, in percent, and its caveats; None without figures.

        The figures are those of ``measured``, else those on the dev set at the end of training. ``rows`` has for each
        group of mentions its prefix, their number, and recall at each of ``ks``. ``chose_weights`` is true if the same
        figures decided which weights were kept, ``is_training_set`` if the dev set is the training set.
        """
        record = self.training or {}
        figures = self.measured or record.get("evaluation") or {}
        ks = sorted(int(name.removeprefix("recall@")) for name in figures if name.startswith("recall@"))
        if not ks:
            return None
        is_of_training = not self.measured
        data = record.get("data") or {}
        trained, measured = ((data.get(name) or {}).get("checksum") for name in ("train", "eval"))
        decided = len(record.get("stages") or []) > 1 or (record.get("settings") or {}).get("eval_steps")
        return {
            "ks": ks,
            "rows": [
                (group, figures[f"{group}mentions"], [100 * figures[f"{group}recall@{k}"] for k in ks])
                for group in GROUPS
                if figures.get(f"{group}mentions") is not None and all(f"{group}recall@{k}" in figures for k in ks)
            ],
            "entities": figures.get("entities"),
            "mrr": None if figures.get("mrr") is None else 100 * figures["mrr"],
            "retrieval": figures.get("retrieval") or "dense",
            "unknown_gold": figures.get("unknown_gold"),
            "nil": figures.get("nil_mentions") or 0,
            "unlabelled": figures.get("unlabelled_mentions") or 0,
            "is_of_training": is_of_training,
            "chose_weights": is_of_training and bool(decided),
            "is_training_set": is_of_training and trained is not None and trained == measured,
        }

    @property
    def stages(self) -> list[dict[str, Any]]:
        """The rows of the table of stages; empty without a record."""
        record = self.training or {}
        settings, stages = record.get("settings") or {}, record.get("stages") or []
        rows = []
        for stage in stages:
            mining = stage.get("mining") or {}
            later_rate = settings.get("stage_two_learning_rate") if stage["stage"] > 1 else None
            rows.append(
                {
                    "number": stage["stage"],
                    "is_kept": len(stages) > 1 and stage["stage"] == record.get("stage"),
                    "random_negatives": settings.get("random_negatives"),
                    "hard_negatives": settings.get("hard_negatives") if mining else None,
                    "mined_mentions": mining.get("mentions"),
                    "mined_negatives": mining.get("negatives"),
                    "learning_rate": later_rate or settings.get("learning_rate"),
                    "steps": stage["steps"],
                    "losses": stage["losses"],
                }
            )
        return rows

    def settings(self, labels: Mapping[str, str]) -> list[tuple[str, str, Any]]:
        """Return label, name and value of every recorded setting that has a label; mining only if there was any."""
        record = self.training or {}
        values = dict(record.get("settings") or {})
        if len(record.get("stages") or []) > 1:
            values = (record.get("mining") or {}) | values
        return [(label, name, values[name]) for name, label in labels.items() if values.get(name) is not None]

    @property
    def processes(self) -> int | None:
        """Number of processes that trained together."""
        return (self.training or {}).get("processes")

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the libraries that the model was trained with."""
        return (self.training or {}).get("versions") or {}

    @property
    def data(self) -> dict[str, int]:
        """The sizes of the data, by what was counted."""
        record = self.training or {}
        data = record.get("data") or {}
        train = data.get("train") or {}
        counts = {
            "entities": (data.get("knowledge_base") or {}).get("count"),
            "mentions": train.get("mentions"),
            "golds": train.get("entities"),
            "nil": train.get("nil") or None,
            "unlabelled": train.get("unlabelled") or None,
            "unknown": train.get("unknown") or None,
            "kb_mentions": (record.get("settings") or {}).get("kb_mentions") or None,
            "dev": (data.get("eval") or {}).get("count"),
        }
        return {name: count for name, count in counts.items() if count is not None}
