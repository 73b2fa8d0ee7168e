"""Training a dual encoder, without ModelScope."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelscope_plugin.config.evaluation_settings import DEFAULT_KS, check_ks
from modelscope_plugin.config.training_settings import MiningSettings, TrainingSettings
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.errors import InputError
from modelscope_plugin.modeling.location import resolve_model
from modelscope_plugin.storage.atomic_write import check_output_folder
from modelscope_plugin.training.context import RunContext, TrainingContext
from modelscope_plugin.training.dual_encoder_job import DualEncoderJob
from modelscope_plugin.training.encoder_setup import check_mixed_precision
from modelscope_plugin.training.objective import LoopSettings
from modelscope_plugin.training.process_group import join_process_group
from modelscope_plugin.training.random_state import fork_random_state
from modelscope_plugin.training.record import RECORD_FILE, TrainingResult, check_replaceable
from modelscope_plugin.training.run import TrainingRun
from modelscope_plugin.training.run_folder import run_folder_of
from modelscope_plugin.training.tensorboard import check_tensorboard, open_tensorboard


def train(
    model: str | Path,
    entities: Callable[[], Iterable[Entity]],
    mentions: Iterable[Mention],
    output: str | Path,
    settings: TrainingSettings,
    mining: MiningSettings,
    *,
    eval_mentions: Iterable[Mention] | None = None,
    ks: Iterable[int] = DEFAULT_KS,
    device: str | None = None,
    revision: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: str | Path | None = None,
    show_progress_bar: bool | None = None,
) -> TrainingResult:
    """Train a dual encoder and write its folder.

    Under ``torchrun`` all processes call this and see the same disk; n of them with a batch and random negatives of b
    do what one does with n times b. The state of torch's random numbers is the same afterwards as before.

    Args:
        model: Folder or hub id of any BERT-family checkpoint; where its tokenizer lacks the markers they
            are added, with embeddings of their own.
        entities: Gives the knowledge base from its beginning each time it is called.
        mentions: Training mentions with gold entities, and hard negatives where they have any; can be empty
            with ``settings.kb_mentions``.
        output: The model folder to write, whole or not at all. Until then ``NAME.training`` beside it holds
            checkpoints and finished stages.
        settings: How to train.
        mining: How hard negatives are mined, where there is more than one stage.
        eval_mentions: Mentions to measure recall on after each stage, over the whole knowledge base.
        ks: The values of k to measure.
        device: As for `EntityEncoder.from_pretrained`; under ``torchrun`` each process takes a GPU of its own.
        revision: Branch or tag of a hub model.
        resume: Resume an interrupted run of the same call; the weights will be those of a run that was
            never interrupted. A run that has ended is not repeated.
        overwrite: Replace an earlier model in ``output``; it stays until the new one is complete.
        tensorboard: Folder for TensorBoard's files.
        show_progress_bar: True, False, or None for a bar on a terminal only.

    Returns:
        Losses and recall of the stages.

    Raises:
        TrainingError: If no mention is usable, the knowledge base lacks an entity, the loss becomes NaN or infinite,
            or the disk is full.
        InputError: If the window is longer than the model allows, ``output`` holds something else, or an
            earlier model and ``overwrite`` is false, or an interrupted run is there and ``resume`` is false.
    """
    options = RunOptions(eval_mentions, ks, device, revision, resume, overwrite, tensorboard, show_progress_bar)
    with open_run(model, entities, Path(output), options) as run:
        check_loop_settings(settings, run)
        context = TrainingContext(**vars(run), settings=settings, mining=mining)
        return TrainingRun(context, Path(output), DualEncoderJob(context, mentions)).train(resume, overwrite)


@dataclass(frozen=True)
class RunOptions:
    """What any training is given beside model, data and settings; see `train` for what each argument means."""

    eval_mentions: Iterable[Mention] | None
    ks: Iterable[int]
    device: str | None
    revision: str | None
    resume: bool
    overwrite: bool
    tensorboard: str | Path | None
    show_progress_bar: bool | None


@contextmanager
def open_run(
    model: str | Path, entities: Callable[[], Iterable[Entity]], output: Path, options: RunOptions
) -> Iterator[RunContext]:
    """Check what a training is given and join the processes that train together.

    Args:
        model: Folder or hub id of the checkpoint to start from.
        entities: Gives the knowledge base from its beginning each time it is called.
        output: The model folder to write.
        options: The other arguments.

    Yields:
        What the run knows. Random numbers drawn in the scope leave no trace afterwards.
    """
    ks, tensorboard = check_ks(options.ks), options.tensorboard
    check_output_folder(output, RECORD_FILE)
    if not (options.overwrite or options.resume):
        check_replaceable(output)
    eval_mentions = None if options.eval_mentions is None else list(options.eval_mentions)
    if eval_mentions is not None and not any(mention.entity_ids for mention in eval_mentions):
        raise InputError(
            f"none of the {len(eval_mentions)} evaluation mentions has a gold entity; leave them out or label them"
        )
    if tensorboard is not None:
        check_tensorboard(Path(tensorboard), output, run_folder_of(output))
    with (
        join_process_group(options.device) as processes,
        fork_random_state(processes.device),
        open_tensorboard(tensorboard if processes.is_main else None) as write_figure,
    ):
        base = resolve_model(model, options.revision)
        yield RunContext(
            base=base,
            # A folder by its whole path, so that the record cannot be taken for one of a hub id.
            base_name=str(base.resolve()) if Path(model).is_dir() else str(model),
            read_entities=entities,
            eval_mentions=eval_mentions,
            ks=ks,
            processes=processes,
            write_figure=write_figure,
            show_progress_bar=options.show_progress_bar if processes.is_main else False,
        )


def check_loop_settings(settings: LoopSettings, context: RunContext) -> None:
    """Raise `InputError` for settings that do not go with the device or the data of a run."""
    check_mixed_precision(settings.mixed_precision, context.processes.device)
    if settings.eval_steps and context.eval_mentions is None:
        raise InputError(
            "train.eval_steps needs evaluation mentions (eval_dataset, --dev); or set it to 0 (--eval-steps 0)"
        )
