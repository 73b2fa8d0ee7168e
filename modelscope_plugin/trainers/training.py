"""Training a dual encoder, without ModelScope.

The loop is that of ``transformers.Trainer``: it brings the optimiser with its weight-decay groups, schedules,
gradient clipping and accumulation, mixed precision, several devices, checkpoints and their resumption, and it
runs on transformers 4.57 and 5. ModelScope's ``EpochBasedTrainer`` would need more code of ours around it, for
batches, loss and evaluation alike.
"""

from __future__ import annotations

import logging
import math
import platform
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from modelscope_plugin.data.kb_mentions import mentions_of_entity
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.encoding.encoder import EntityEncoder, choose_device
from modelscope_plugin.errors import InputError, TrainingError
from modelscope_plugin.files import check_output_folder, replace_folder, write_json
from modelscope_plugin.index.building import build_index
from modelscope_plugin.metrics.evaluation import DEFAULT_KS, Evaluation, evaluate
from modelscope_plugin.metrics.recall import check_ks
from modelscope_plugin.models.dual_encoder import DualEncoder
from modelscope_plugin.models.location import resolve_model
from modelscope_plugin.models.model_folder import write_model_folder
from modelscope_plugin.preprocessors.checkpoint_files import entity_tokenizer, load_tokenizer
from modelscope_plugin.preprocessors.tokenization import declare_markers
from modelscope_plugin.progress import progress_bar
from modelscope_plugin.trainers.examples import Collator, PairBatches, Pairs
from modelscope_plugin.trainers.losses import in_batch_loss
from modelscope_plugin.trainers.settings import TrainingSettings
from modelscope_plugin.version import __version__

logger = logging.getLogger(__name__)

RECORD_FILE = "training.json"
"""File of the model folder that records how it was trained."""

# A loss this close to that of guessing (ln of the batch size) after an epoch means nothing was learned.
_COLLAPSED = 0.95


@dataclass(frozen=True)
class TrainingResult:
    """What a training run gave.

    Attributes:
        folder: The model folder.
        losses: Mean loss of every epoch.
        collapsed: Whether the last epoch's loss was still that of guessing.
        evaluation: Recall over the whole knowledge base, where evaluation mentions were given.
    """

    folder: Path
    losses: list[float]
    collapsed: bool
    evaluation: Evaluation | None


def train(
    model: str | Path,
    entities: Callable[[], Iterable[Entity]],
    mentions: Iterable[Mention],
    output: str | Path,
    settings: TrainingSettings,
    *,
    eval_mentions: Iterable[Mention] | None = None,
    ks: Iterable[int] = DEFAULT_KS,
    device: str | None = None,
    show_progress_bar: bool | None = None,
) -> TrainingResult:
    """Train a dual encoder with in-batch negatives and write its folder.

    Args:
        model: Folder or hub id of any BERT-family checkpoint; where its tokenizer lacks the markers they
            are added, with embeddings of their own.
        entities: Gives the knowledge base from its beginning each time it is called.
        mentions: Training mentions with gold entities; can be empty with ``settings.kb_mentions``.
        output: The model folder to write, whole or not at all, as soon as training has ended.
        settings: How to train.
        eval_mentions: Mentions to measure recall on afterwards, over the whole knowledge base.
        ks: The values of k to measure.
        device: As for `EntityEncoder.from_pretrained`.
        show_progress_bar: True, False, or None for a bar on a terminal only.

    Returns:
        Losses and recall.

    Raises:
        TrainingError: If no mention is usable, or the loss is no number.
        InputError: If the window is longer than the model allows or ``output`` holds something else.
    """
    output = Path(output)
    check_output_folder(output, RECORD_FILE)
    place = choose_device(device)
    if place.type == "cuda" and place.index:
        raise InputError(f"training runs on the first GPU, not {device}; choose it with CUDA_VISIBLE_DEVICES")
    ks = check_ks(ks)
    held_out = None if eval_mentions is None else list(eval_mentions)
    if held_out is not None and not any(mention.entity_ids for mention in held_out):
        raise InputError(
            f"none of the {len(held_out)} evaluation mentions has a gold entity; leave them out or label them"
        )
    set_seed(settings.seed)
    encoder = _prepare(resolve_model(model), settings)
    given = list(mentions)
    if settings.kb_mentions:
        for entity in entities():
            given += mentions_of_entity(entity, settings.kb_mentions, settings.seed)
    pairs = Pairs(entities(), given, encoder.tokenizer)
    if len(pairs) < settings.batch_size:
        logger.warning(
            "batch_size=%d is more than the %d training pairs; one batch holds all", settings.batch_size, len(pairs)
        )
    with tempfile.TemporaryDirectory(prefix="entity-training-") as scratch:
        losses = _run(encoder, pairs, settings, place, scratch, show_progress_bar)
    guessing = math.log(min(settings.batch_size, len(pairs)))
    collapsed = losses[-1] > _COLLAPSED * guessing
    if collapsed:
        logger.warning(
            "the model has not learned: its loss %.3f is that of guessing (ln of the batch size is %.3f). "
            "From random weights try emb_pooler_type=avg, a higher learning rate or more epochs",
            losses[-1], guessing,
        )  # fmt: skip
    record = {
        "settings": asdict(settings),
        "base_model": str(model),
        "pairs": len(pairs),
        "mentions": pairs.mentions,
        "entities": pairs.entities,
        "losses": losses,
        "collapsed": collapsed,
        "evaluation": None,
        "versions": {
            "modelscope_plugin": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
    }
    with replace_folder(output) as draft:
        write_model_folder(draft, encoder.model, encoder.tokenizer, settings.to_sections())
        record["files"] = sorted(path.name for path in draft.iterdir())
        write_json(draft / RECORD_FILE, record)
    if held_out is None:
        return TrainingResult(output, losses, collapsed, None)
    # The model is safe on disk before anything is done with it.
    trained = EntityEncoder(encoder.model.eval(), encoder.tokenizer, str(output))
    index = build_index(trained, entities(), show_progress_bar=show_progress_bar)
    evaluation = evaluate(trained, index, held_out, ks=ks, show_progress_bar=show_progress_bar)
    write_json(output / RECORD_FILE, record | {"evaluation": evaluation.to_record()})
    return TrainingResult(output, losses, collapsed, evaluation)


def _prepare(folder: Path, settings: TrainingSettings) -> EntityEncoder:
    """Load a checkpoint with everything that training needs: markers, embeddings for them, towers."""
    model = DualEncoder.from_pretrained(folder, emb_pooler_type=settings.emb_pooler_type, normalize=settings.normalize)
    tokenizer = load_tokenizer(folder)
    declare_markers(tokenizer)
    model.resize_token_embeddings(len(tokenizer))
    if settings.towers == 2:
        model.separate_towers()
    elif model.towers == 2:
        raise TrainingError(f"{folder} has two towers; set model.towers to 2 to train it")
    return EntityEncoder(model, entity_tokenizer(tokenizer, folder, settings.max_length), str(folder))


def _run(
    encoder: EntityEncoder,
    pairs: Pairs,
    settings: TrainingSettings,
    place: torch.device,
    scratch: str,
    show: bool | None,
) -> list[float]:
    """Train in place and return the mean loss of every epoch; the trainer's own files go to ``scratch``."""
    batches = PairBatches(pairs.items, settings.batch_size, settings.seed)
    steps = len(batches) * settings.max_epochs
    arguments = TrainingArguments(
        output_dir=scratch,
        num_train_epochs=settings.max_epochs,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        lr_scheduler_type=settings.lr_scheduler_type,
        warmup_steps=math.ceil(steps * settings.warmup_ratio),
        seed=settings.seed,
        use_cpu=place.type == "cpu",
        logging_steps=max(1, len(batches) // 20),
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    if arguments.n_gpu > 1:
        # One process is one device: splitting a batch over devices would split its pool of negatives.
        arguments._n_gpu = 1
    losses = _Losses()
    trainer = _Trainer(
        model=encoder.model,
        args=arguments,
        train_dataset=pairs,
        batches=batches,
        collator=Collator(encoder.tokenizer),
        temperature=settings.temperature,
        callbacks=[losses, _Progress(show)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    if not all(torch.isfinite(parameter).all() for parameter in encoder.model.parameters()):
        raise TrainingError("training ended with weights that are no numbers; lower the learning rate")
    return losses.by_epoch


class _Trainer(Trainer):
    """``transformers.Trainer`` with batches and loss of a dual encoder."""

    def __init__(self, batches: PairBatches, collator: Collator, temperature: float, **options: Any) -> None:
        super().__init__(**options)
        self._batches = batches
        self._collator = collator
        self._temperature = temperature

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of our own making."""
        return _Batches(self.train_dataset, batch_sampler=self._batches, collate_fn=self._collator)

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **options: Any
    ) -> Any:
        """The in-batch loss of one batch."""
        mentions, entities = model(inputs["mentions"], inputs["entities"])
        loss = in_batch_loss(mentions, entities, inputs["masked"], self._temperature)
        return (loss, (mentions, entities)) if return_outputs else loss


class _Batches(DataLoader[Any]):
    """A data loader that passes the epoch on to its batches."""

    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]


class _Losses(TrainerCallback):
    """Keeps the mean loss of every epoch and stops at a loss that is no number."""

    def __init__(self) -> None:
        self.by_epoch: list[float] = []
        self._logged: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {state.global_step}; lower the learning rate or raise the temperature"
            )
        self._logged.append(loss)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._logged:
            self.by_epoch.append(sum(self._logged) / len(self._logged))
            self._logged = []
            logger.info("epoch %d of %d: loss %.4f", len(self.by_epoch), args.num_train_epochs, self.by_epoch[-1])


class _Progress(TrainerCallback):
    """A progress bar with loss and learning rate."""

    def __init__(self, show: bool | None) -> None:
        self._show = show
        self._bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._bar = progress_bar(state.max_steps, "Training", "step", self._show)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._bar.update(1)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self._bar.set_postfix_str(f"loss {logs['loss']:.3f}, rate {logs['learning_rate']:.1e}")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._bar.close()
