"""Loads configuration and tokenizer of BERT-family checkpoints, ModelScope's older ones too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import AutoConfig, AutoTokenizer, BertTokenizerFast, PretrainedConfig, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from modelscope_plugin.config.configuration import CONFIGURATION_FILE
from modelscope_plugin.config.model_settings import WindowSettings
from modelscope_plugin.config.settings import read_settings
from modelscope_plugin.errors import ModelFolderError
from modelscope_plugin.modeling.pair_tokenization import PairTokenizer
from modelscope_plugin.modeling.tokenization import EntityTokenizer

_WORD_PIECES = "vocab.txt"
_VOCABULARIES = (
    "tokenizer.json",
    _WORD_PIECES,
    "vocab.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "tokenizer.model",
)
_MOST_TOKENS = 1 << 20
_SPECIAL_TOKENS = ("cls_token", "sep_token", "pad_token", "unk_token")


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


def load_pair_tokenizer(folder: str | Path, max_length: int | None = None) -> PairTokenizer:
    """Load the tokenizer of a cross encoder's folder.

    Args:
        folder: The model folder.
        max_length: Tokens of a pair; by default what configuration.json says; in a folder that has none, as that of
            sentence-transformers, what tokenizer_config.json says; else 128.

    Raises:
        ModelFolderError: If there is no vocabulary or it cannot be read, or configuration.json has a bad value.
        InputError: If ``max_length`` leaves no room for a mention and an entity text.
    """
    tokenizer = load_tokenizer(folder)
    # Transformers has a number of 31 digits for a tokenizer without a limit.
    is_limited = tokenizer.model_max_length < _MOST_TOKENS
    if max_length is None and is_limited and not (Path(folder) / CONFIGURATION_FILE).is_file():
        max_length = int(tokenizer.model_max_length)
    return PairTokenizer(entity_tokenizer(tokenizer, folder, max_length))


def entity_tokenizer(
    tokenizer: PreTrainedTokenizerBase, folder: str | Path, max_length: int | None = None
) -> EntityTokenizer:
    """Configure a loaded tokenizer as `load_entity_tokenizer` does."""
    window = read_settings(WindowSettings, folder, max_length=max_length)
    return EntityTokenizer(tokenizer, window.max_length, window.mention_prefix, window.entity_prefix)


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a checkpoint from its own files.

    Args:
        folder: A folder with ``tokenizer.json`` or a vocabulary. Where ``vocab.txt`` is all there is, as with many
            Chinese models of other types than BERT, it is read as BERT's word pieces.

    Returns:
        The fast tokenizer.

    Raises:
        ModelFolderError: If there is no vocabulary, it cannot be read, or it lacks a special token.
    """
    folder = Path(folder)
    files = [name for name in _VOCABULARIES if (folder / name).is_file()]
    if not files:
        raise ModelFolderError(f"{folder} has no tokenizer; it needs tokenizer.json or vocab.txt")
    config = load_config(folder)
    try:
        with quiet_transformers():
            tokenizer = _load_word_pieces(folder, config) if files == [_WORD_PIECES] else _load_auto(folder, config)
        tokenizer("1")
    except BaseException as error:
        # Older versions of tokenizers panic on some damaged files, at the latest at a text. That is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ModelFolderError(f"{folder}: the tokenizer cannot be loaded ({first_line(error)})") from error
    _check_special_tokens(tokenizer, folder, files)
    return tokenizer


def _load_auto(folder: Path, config: PretrainedConfig) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, config=config, local_files_only=True)
    return tokenizer


def _load_word_pieces(folder: Path, config: PretrainedConfig) -> PreTrainedTokenizerBase:
    """Load a folder whose only vocabulary is vocab.txt: by its own class if that reads it, else as BERT's."""
    words = (folder / _WORD_PIECES).read_text(encoding="utf-8").split("\n")
    try:
        tokenizer = _load_auto(folder, config)
    except ImportError:  # a library that cuts texts into words first
        raise
    except Exception:
        tokenizer = None
    is_read = tokenizer is not None and _WORD_PIECES in tokenizer.vocab_files_names.values()
    if is_read and (tokenizer.cls_token in words or "[CLS]" not in words):
        return tokenizer
    word_pieces: PreTrainedTokenizerBase = BertTokenizerFast.from_pretrained(folder, local_files_only=True)
    return word_pieces


def _check_special_tokens(tokenizer: PreTrainedTokenizerBase, folder: Path, files: list[str]) -> None:
    """Raise `ModelFolderError` if a special token is in no file: transformers gives it an id that has no embedding."""
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8-sig")) if path.is_file() else {}
    contents = {
        name: (folder / name).read_bytes() for name in (*files, "added_tokens.json") if (folder / name).exists()
    }
    contents["tokenizer_config.json"] = json.dumps(settings.get("added_tokens_decoder", {})).encode()
    for field in _SPECIAL_TOKENS:
        token = getattr(tokenizer, field)
        if token is not None and not any(_holds_token(*item, token) for item in contents.items()):
            origin = "tokenizer_config.json" if settings.get(field) else type(tokenizer).__name__
            raise ModelFolderError(
                f"{folder}: {origin} names {token!r} as {field}, which {' and '.join(files)} does not hold; restore "
                "the tokenizer files of the checkpoint"
            )


def _holds_token(name: str, content: bytes, token: str) -> bool:
    if name == _WORD_PIECES:
        return token.encode() in content.splitlines()
    if name.endswith(".json"):
        return any(json.dumps(token, ensure_ascii=escape).encode() in content for escape in (True, False))
    return token.encode() in content


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


def first_line(error: BaseException) -> str:
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
