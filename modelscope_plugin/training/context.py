"""What all parts of a training run need to know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from modelscope_plugin.config.training_settings import MiningSettings, TrainingSettings
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.training.process_group import ProcessGroup

FigureWriter: TypeAlias = Callable[[str, float, int], None]
"""Takes the name of a figure, its value and the step, as TensorBoard's ``add_scalar`` does."""


@dataclass(frozen=True)
class RunContext:
    """What any training run is given and does not change.

    Attributes:
        base: Folder of the checkpoint to start from.
        base_name: What the record calls it: a hub id, or its path.
        read_entities: Gives the knowledge base from its beginning each time it is called.
        eval_mentions: Mentions to measure recall on; None for no evaluation.
        ks: The values of k to measure.
        processes: The processes that train together.
        write_figure: Takes the figures of the steps.
        show_progress_bar: True, False, or None for a bar on a terminal only.
    """

    base: Path
    base_name: str
    read_entities: Callable[[], Iterable[Entity]]
    eval_mentions: Sequence[Mention] | None
    ks: list[int]
    processes: ProcessGroup
    write_figure: FigureWriter
    show_progress_bar: bool | None

    @property
    def eval_entity_ids(self) -> set[str]:
        """Ids of the gold entities of the evaluation mentions."""
        return {one for mention in self.eval_mentions or () for one in mention.entity_ids}


@dataclass(frozen=True)
class TrainingContext(RunContext):
    """What the training of a dual encoder is given and does not change.

    Attributes:
        settings: How to train.
        mining: How hard negatives are mined.
    """

    settings: TrainingSettings
    mining: MiningSettings
