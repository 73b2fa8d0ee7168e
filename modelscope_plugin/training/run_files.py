"""The files of a training run: their names, and which of a folder's files are its own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from modelscope_plugin.storage.atomic_write import draft_target, recover_folder
from modelscope_plugin.training.training_state import BEST_WEIGHTS_FILE, CHECKPOINT_FOLDER

RUN_FILE, LOCK_FILE = "run.json", "lock"
REMOVED_FILE = "removed.json"
"""The name of the run file while a run is removed, so that half of it is never taken for a run."""

_CONTENT = re.compile(
    r"stage-\d+(-unfinished)?|negatives-\d+\.json|candidates-(train|dev)\.json"
    rf"|checkpoints-\d+/({re.escape(CHECKPOINT_FOLDER)}|{re.escape(BEST_WEIGHTS_FILE)})"
)


@dataclass(frozen=True)
class RunFiles:
    """The files of a run in its folder; only what has exactly their names is ever removed.

    Attributes:
        path: The run folder.
    """

    path: Path

    def model(self, stage: int) -> Path:
        """The model folder of a stage."""
        return self.path / f"stage-{stage}"

    def unfinished_model(self, stage: int) -> Path:
        """The model folder of the latest checkpoint of a stage that has diverged."""
        return self.path / f"stage-{stage}-unfinished"

    def negatives(self, stage: int) -> Path:
        """The file with the hard negatives that a stage trains with."""
        return self.path / f"negatives-{stage}.json"

    def candidates(self, name: str) -> Path:
        """The file with the candidates that the first step found for mentions, ``train`` or ``dev``."""
        return self.path / f"candidates-{name}.json"

    def checkpoints(self, stage: int) -> Path:
        """The folder for the checkpoints of a stage."""
        return self.path / f"checkpoints-{stage}"

    def has_content(self) -> bool:
        """Whether there is anything to resume from."""
        return any(map(self._is_content, self._list()))

    def find_foreign(self) -> str | None:
        """Name a file that no run has made, in a folder that holds no run."""
        if not self.path.is_dir():
            return self.path.name
        entries = sorted(self.path.iterdir())
        return next((one.name for one in entries if one.name != LOCK_FILE and not self._is_draft(one)), None)

    def remove_drafts(self) -> None:
        """Remove what a killed process was about to write, and bring back what it was about to replace.

        Only the process that has locked the run folder calls this, so that no draft is still written.
        """
        for target in filter(None, map(draft_target, filter(self._is_draft, self._list()))):
            recover_folder(target)
        self._remove(filter(self._is_draft, self._list()))

    def remove_checkpoints(self, stage: int) -> None:
        """Remove the checkpoints of a stage."""
        folder = self.checkpoints(stage)
        self._remove(entry for entry in self._list() if entry.parent == folder and self._is_content(entry))

    def remove_run(self) -> None:
        """Remove models, negatives, candidates and checkpoints; `find_foreign` names what is left."""
        removed = self.path / REMOVED_FILE
        if (self.path / RUN_FILE).exists():
            (self.path / RUN_FILE).replace(removed)
        self.remove_drafts()
        if removed.exists():
            self._remove(filter(self._is_content, self._list()))
            removed.unlink()

    def _list(self) -> list[Path]:
        return [*self.path.iterdir(), *self.path.glob("checkpoints-*/*")]

    def _is_content(self, entry: Path) -> bool:
        return _CONTENT.fullmatch(entry.relative_to(self.path).as_posix()) is not None

    def _is_draft(self, entry: Path) -> bool:
        target = draft_target(entry)
        return target is not None and (target == self.path / RUN_FILE or self._is_content(target))

    def _remove(self, entries: Iterable[Path]) -> None:
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        for folder in self.path.glob("checkpoints-[0-9]*"):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
