"""The training of a re-ranker."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from modelscope_plugin.config.reranking_settings import RerankingSettings
from modelscope_plugin.config.training_settings import read_training_configuration
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.modeling.location import resolve_model
from modelscope_plugin.retrieval.building import build_index
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.storage.digests import digest_of
from modelscope_plugin.training.context import RunContext
from modelscope_plugin.training.record import TrainingResult
from modelscope_plugin.training.reranking.first_step import RETRIEVAL
from modelscope_plugin.training.reranking.job import FirstStep, RerankerJob
from modelscope_plugin.training.run import TrainingRun
from modelscope_plugin.training.training import RunOptions, check_loop_settings, open_run

DEFAULT_KS = (1, 4, 16)
"""The values of k at which the order of candidates is measured; a re-ranker sees no more than some tens of them."""


def train_reranker(
    model: str | Path,
    mentions: Iterable[Mention],
    output: str | Path,
    settings: RerankingSettings,
    *,
    entities: Callable[[], Iterable[Entity]] | None = None,
    index: str | Path | None = None,
    base: str | Path | None = None,
    eval_mentions: Iterable[Mention] | None = None,
    ks: Iterable[int] = DEFAULT_KS,
    device: str | None = None,
    revision: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: str | Path | None = None,
    show_progress_bar: bool | None = None,
) -> TrainingResult:
    """Train a re-ranker on what the first step ranks high, and write its folder.

    The first step ranks the whole knowledge base for every mention, by vectors and names together. In each epoch a
    mention has another list: a gold entity and negatives drawn from the first ranks, where all its gold entities are
    left out. With evaluation mentions the weights of the epoch with the highest recall are kept.

    As for `modelscope_plugin.training.training.train`, all processes of ``torchrun`` call this, a killed run is
    resumed to the same weights, and the state of torch's random numbers is the same afterwards as before.

    Args:
        model: Folder or hub id of the dual encoder of the first step.
        mentions: Training mentions with gold entities; can be empty with ``settings.kb_mentions``.
        output: The model folder to write, whole or not at all.
        settings: How to train, and which kind of re-ranker.
        entities: Gives the knowledge base from its beginning each time it is called; an index of it is built.
        index: Folder of an index of the knowledge base, instead of ``entities``; what was fitted for it is used.
        base: Folder or hub id of the checkpoint to start from: any of the BERT family, a dual encoder, or for a
            cross encoder one of these; by default the dual encoder.
        eval_mentions: Mentions to measure recall on after each epoch.
        ks: The values of k to measure.
        device: As for `EntityEncoder.from_pretrained`; under ``torchrun`` each process takes a GPU of its own.
        revision: Branch or tag of a hub model.
        resume: Resume an interrupted run of the same call. A run that has ended is not repeated.
        overwrite: Replace an earlier model in ``output``; it stays until the new one is complete.
        tensorboard: Folder for TensorBoard's files.
        show_progress_bar: True, False, or None for a bar on a terminal only.

    Returns:
        Losses, and recall of the first candidates in the order of the re-ranker alone; ``mining`` of its stage has
        the recall of the first step.

    Raises:
        TrainingError: If no mention is usable, the knowledge base lacks an entity, the loss becomes NaN or infinite,
            or the disk is full.
        InputError: If there is not one of ``entities`` and ``index``, the window is longer than the model allows,
            ``output`` holds something else, or an earlier model and ``overwrite`` is false, or an interrupted run is
            there and ``resume`` is false.
        IndexMismatchError: If the index was built with another model.
    """
    if (entities is None) == (index is None):
        raise InputError("give either entities or an index, and only one of them")
    opened_index = None if index is None else EntityIndex.load(index)
    read_entities = entities if opened_index is None else lambda: iter(opened_index)
    assert read_entities is not None
    options = RunOptions(eval_mentions, ks, device, revision, resume, overwrite, tensorboard, show_progress_bar)
    with open_run(model if base is None else base, read_entities, Path(output), options) as context:
        check_loop_settings(settings, context)
        first_step = _load_first_step(model, revision, opened_index, context)
        job = RerankerJob(context, settings, first_step, mentions)
        return TrainingRun(context, Path(output), job).train(resume, overwrite)


def _load_first_step(
    model: str | Path, revision: str | None, index: EntityIndex | None, context: RunContext
) -> FirstStep:
    """Load the dual encoder; its index is built later, and only where it is needed."""
    encoder = EntityEncoder.from_pretrained(model, device=str(context.processes.device), revision=revision)
    origin: dict[str, Any] = {"model": encoder.fingerprint, "retrieval": RETRIEVAL, "fitted": None}
    if index is None:
        views = ViewSettings.from_configuration(read_training_configuration(resolve_model(model, revision)))

        origin["views"] = asdict(views)

        def build() -> EntityIndex:
            entities, show = context.read_entities(), context.show_progress_bar
            return build_index(encoder, entities, views=views, show_progress_bar=show)

        return FirstStep(encoder, build, origin)
    index.check_model(encoder.fingerprint, encoder.name)
    fusion = index.fitted.get_fusion()
    origin |= {
        "fitted": None if fusion is None else asdict(fusion),
        "quality": None if index.quality is None else index.quality.to_record(),
        "learned": digest_of(*(part for pair in sorted(index.lexicon.learned_pairs()) for part in pair)),
        "search": index.tuning.to_record(),
    }
    return FirstStep(encoder, lambda: index, origin)
