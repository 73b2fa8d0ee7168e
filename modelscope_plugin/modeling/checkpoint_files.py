"""Loads configuration and tokenizer of BERT-family checkpoints, ModelScope's older ones too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from modelscope_plugin.config.model_settings import WindowSettings
from modelscope_plugin.config.settings import read_settings
from modelscope_plugin.errors import ModelFolderError
from modelscope_plugin.modeling.tokenization import EntityTokenizer

_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model")


def load_entity_tokenizer(folder: str | Path, max_length: int | None = None) -> EntityTokenizer:
    """Load the tokenizer of a model folder with the window and prefixes that its configuration.json sets.

    Args:
        folder: The model folder.
        max_length: Tokens of a window; by default what configuration.json says.

    Returns:
        The tokenizer.

    Raises:
        ModelFolderError: If there is no vocabulary or it cannot be read, or configuration.json has a bad value.
        InputError: If ``max_length`` leaves no room for a mention.
    """
    return entity_tokenizer(load_tokenizer(folder), folder, max_length)


def entity_tokenizer(
    tokenizer: PreTrainedTokenizerBase, folder: str | Path, max_length: int | None = None
) -> EntityTokenizer:
    """Configure a loaded tokenizer as `load_entity_tokenizer` does."""
    window = read_settings(WindowSettings, folder, max_length=max_length)
    return EntityTokenizer(tokenizer, window.max_length, window.mention_prefix, window.entity_prefix)


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a checkpoint from its own files.

    Args:
        folder: A folder with ``tokenizer.json`` or a vocabulary.

    Returns:
        The fast tokenizer.

    Raises:
        ModelFolderError: If there is no vocabulary or it cannot be read.
    """
    folder = Path(folder)
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise ModelFolderError(f"{folder} has no tokenizer; it needs tokenizer.json or vocab.txt")
    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(folder, config=load_config(folder), local_files_only=True)
    except ModelFolderError:
        raise
    except Exception as error:
        raise ModelFolderError(f"{folder}: the tokenizer cannot be loaded ({first_line(error)})") from error


def load_config(folder: Path) -> PretrainedConfig:
    """Read config.json; without ``model_type``, which old ModelScope folders leave out, it is taken for BERT."""
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
        # transformers reads the architecture from model_type, ModelScope from its own configuration.json.
        model_type = values.pop("model_type", None) or "bert"
        return AutoConfig.for_model(model_type, **values)
    except Exception as error:
        raise ModelFolderError(f"{path} cannot be read ({first_line(error)}); restore the file") from error


def first_line(error: Exception) -> str:
    """Return the first line of the message of an exception, or its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the load report of transformers; what matters in it is logged or raised by this package."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
