"""The files of a training run: their names, and which of a folder's files are its own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from modelscope_plugin.storage.files import draft_target, recover_folder
from modelscope_plugin.training.training_state import BEST_WEIGHTS_FILE, CHECKPOINT_FOLDER

RUN_FILE, LOCK_FILE = "run.json", "lock"
REMOVED_FILE = "removed.json"
"""The name of the run file while a run is removed, so that half of it is never taken for a run."""

_NAMES = r"stage-\d+(-unfinished)?|negatives-\d+\.json"
_CHECKPOINTS = "|".join(map(re.escape, (CHECKPOINT_FOLDER, BEST_WEIGHTS_FILE)))
_CONTENT = re.compile(rf"{_NAMES}|checkpoints-\d+/({_CHECKPOINTS})")
# What `replace_file` and `replace_folder` leave where a process is killed.
_DRAFT = re.compile(rf"(checkpoints-\d+/)?\.(run\.json|{_NAMES}|{_CHECKPOINTS})\.(\d+|[a-z0-9_]{{8}})\.(part|earlier)")


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

    def checkpoints(self, stage: int) -> Path:
        """The folder for the checkpoints of a stage."""
        return self.path / f"checkpoints-{stage}"

    def has_content(self) -> bool:
        """Whether there is anything to resume from."""
        return bool(self._find(_CONTENT))

    def find_foreign(self) -> str | None:
        """Name a file that no run has made, in a folder that holds no run."""
        if not self.path.is_dir():
            return self.path.name
        names = sorted(entry.name for entry in self.path.iterdir())
        return next((name for name in names if name != LOCK_FILE and not _DRAFT.fullmatch(name)), None)

    def remove_drafts(self) -> None:
        """Remove what a killed process was about to write, and bring back what it was about to replace."""
        for entry in self._find(_DRAFT):
            if target := draft_target(entry):
                recover_folder(target)
        self._remove(self._find(_DRAFT))

    def remove_checkpoints(self, stage: int) -> None:
        """Remove the checkpoints of a stage."""
        folder = self.checkpoints(stage)
        self._remove(entry for entry in self._find(_CONTENT) if entry.parent == folder)

    def remove_run(self) -> None:
        """Remove models, negatives and checkpoints; `find_foreign` names what is left."""
        removed = self.path / REMOVED_FILE
        if (self.path / RUN_FILE).exists():
            (self.path / RUN_FILE).replace(removed)
        self.remove_drafts()
        if removed.exists():
            self._remove(self._find(_CONTENT))
            removed.unlink()

    def _find(self, names: re.Pattern[str]) -> list[Path]:
        entries = [*self.path.iterdir(), *self.path.glob("checkpoints-*/*")]
        return [entry for entry in entries if names.fullmatch(entry.relative_to(self.path).as_posix())]

    def _remove(self, entries: Iterable[Path]) -> None:
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        for folder in self.path.glob("checkpoints-[0-9]*"):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
