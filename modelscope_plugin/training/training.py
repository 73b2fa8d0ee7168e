"""Training a dual encoder, without ModelScope."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from modelscope_plugin.config.evaluation_settings import DEFAULT_KS, check_ks
from modelscope_plugin.config.training_settings import MiningSettings, TrainingSettings
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.errors import InputError
from modelscope_plugin.modeling.location import resolve_model
from modelscope_plugin.storage.files import check_output_folder
from modelscope_plugin.training.loop import Writer, check_mixed_precision
from modelscope_plugin.training.record import RECORD_FILE
from modelscope_plugin.training.results import TrainingResult
from modelscope_plugin.training.run_folder import RunFolder
from modelscope_plugin.training.stages import Stages
from modelscope_plugin.training.workers import joined_workers


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
    tensorboard: str | Path | None = None,
    show_progress_bar: bool | None = None,
) -> TrainingResult:
    """Train a dual encoder and write its folder.

    Under ``torchrun`` all processes call this and see the same disk; n of them with a batch and random negatives of b
    do what one does with n times b.

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
        resume: Go on with an interrupted run of the same call; the weights will be those of a run that was
            never interrupted. A run that has ended is not repeated.
        tensorboard: Folder for TensorBoard's files.
        show_progress_bar: True, False, or None for a bar on a terminal only.

    Returns:
        Losses and recall of the stages.

    Raises:
        TrainingError: If no mention is usable, the knowledge base lacks an entity, the loss is no number, or
            the disk is full.
        InputError: If the window is longer than the model allows, ``output`` holds something else, or an
            interrupted run is there and ``resume`` is false.
    """
    output, ks = Path(output), check_ks(ks)
    check_output_folder(output, RECORD_FILE)
    held_out = None if eval_mentions is None else list(eval_mentions)
    if held_out is not None and not any(mention.entity_ids for mention in held_out):
        raise InputError(
            f"none of the {len(held_out)} evaluation mentions has a gold entity; leave them out or label them"
        )
    if settings.eval_steps and held_out is None:
        raise InputError(
            "train.eval_steps needs evaluation mentions (eval_dataset, --dev); or set it to 0 (--eval-steps 0)"
        )
    folder = RunFolder(output)
    if tensorboard is not None:
        _check_tensorboard(Path(tensorboard), output, folder.path)
    with joined_workers(device) as workers:
        check_mixed_precision(settings.mixed_precision, workers.device)
        with _written(tensorboard if workers.is_main else None) as write:
            base = resolve_model(model, revision)
            # A folder by its whole path, so that the record cannot be taken for one of a hub id.
            name = str(base.resolve()) if Path(model).is_dir() else str(model)
            stages = Stages(
                base, name, entities, settings, mining, held_out, ks, folder, workers, write, show_progress_bar
            )
            return stages.train(mentions, output, resume)


def _check_tensorboard(folder: Path, *replaced: Path) -> None:
    """Raise `InputError` where TensorBoard cannot write, or would write into a folder that is replaced as a whole."""
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError("TensorBoard is not installed; install it with: pip install 'modelscope_plugin[tensorboard]'")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for TensorBoard")
    for other in replaced:
        if folder.resolve().is_relative_to(other.resolve()):
            raise InputError(f"{folder} lies in {other}, which is replaced as a whole; name a folder elsewhere")


@contextmanager
def _written(folder: str | Path | None) -> Iterator[Writer | None]:
    """A writer of figures for TensorBoard, where it is asked for."""
    if folder is None:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        yield writer.add_scalar
