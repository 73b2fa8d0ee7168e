"""What the sections of a model card are made from: facts about a model, two languages, tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from modelscope_plugin.errors import InputError
from modelscope_plugin.modeling.location import is_hub_id

LANGUAGES = ("zh", "en")
"""The languages a model card can be written in."""

Say: TypeAlias = Callable[[str, str], str]
"""Chooses between a Chinese and an English text, in this order, so that both stand side by side in the code."""


@dataclass(frozen=True)
class CardFacts:
    """What is known about a model; a card says nothing else.

    Attributes:
        name: What the model is called and loaded by: a hub id, or the name of its folder.
        license: Its licence, where it is known.
        architecture: ``model_type`` of the encoder, such as ``bert``.
        layers: Transformer layers of a tower.
        parameters: Weights of all towers together.
        dimension: Size of the vectors.
        max_length: Tokens of a window.
        emb_pooler_type: How token states become one vector.
        normalize: Whether vectors have length 1.
        towers: 1 for shared weights, 2 for separate ones.
        mention_prefix: Text put in front of every source text.
        entity_prefix: Text put in front of every entity text.
        has_markers: Whether the vocabulary holds the markers around a mention.
        sentence_transformers: Whether sentence-transformers opens the folder.
        standalone: Whether the folder carries the code it needs.
        onnx: Whether the folder carries ONNX files.
        indexed: Number of entities in the index that the folder carries, 0 without one.
        training: The record of the training run, where there is one.
        measured: Figures of ``modelscope entity evaluate``, where they were handed over.
    """

    name: str
    license: str | None
    architecture: str
    layers: int
    parameters: int
    dimension: int
    max_length: int
    emb_pooler_type: str
    normalize: bool
    towers: int
    mention_prefix: str
    entity_prefix: str
    has_markers: bool
    sentence_transformers: bool
    standalone: bool
    onnx: bool
    indexed: int
    training: dict[str, Any] | None
    measured: dict[str, Any] | None

    @property
    def is_hub_id(self) -> bool:
        """Whether the name is an ``owner/name`` that the hub client takes."""
        return is_hub_id(self.name)

    @property
    def base_model(self) -> str | None:
        """The hub id of the checkpoint that training started from, where it is known."""
        return (self.training or {}).get("base_model")

    @property
    def evaluation(self) -> dict[str, Any]:
        """The figures: those handed over, else those on held-out mentions at the end of training; empty without any."""
        return self.measured or (self.training or {}).get("evaluation") or {}


def speaker(language: str) -> Say:
    """The function that chooses the texts of a language; InputError for a language no card is written in."""
    if language not in LANGUAGES:
        raise InputError(f"unknown language {language!r}; choose from {', '.join(LANGUAGES)}")
    return lambda chinese, english: chinese if language == "zh" else english


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
