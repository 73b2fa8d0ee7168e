"""Exports a model: writes a folder to publish, with everything that a reader needs and nothing else."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from modelscope_plugin.checks import check_choice
from modelscope_plugin.config.configuration import default_configuration, merge_configurations, read_configuration
from modelscope_plugin.config.evaluation_settings import find_ks
from modelscope_plugin.config.metainfo import RERANKER_TYPES, Metrics
from modelscope_plugin.config.model_settings import find_model_type
from modelscope_plugin.config.training_settings import read_training_configuration, read_training_settings
from modelscope_plugin.encoding.backends.onnx_export import check_onnx, export_onnx
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.modeling.location import is_hub_id, resolve_model
from modelscope_plugin.modeling.model_folder import INDEX_FOLDER, write_model_folder
from modelscope_plugin.publishing.card.facts import CardFacts
from modelscope_plugin.publishing.card.metadata import read_license
from modelscope_plugin.publishing.card.records import read_figures, read_training_record, read_views
from modelscope_plugin.publishing.card.render import Language, render_card
from modelscope_plugin.publishing.export.carried_code import check_folder_name, collect_code
from modelscope_plugin.publishing.export.export_record import CARD_FILE, check_replaceable, write_export_record
from modelscope_plugin.publishing.export.sentence_transformers_files import (
    has_same_tokens,
    write_sentence_transformers_files,
)
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.storage.atomic_write import replace_folder, write_json
from modelscope_plugin.storage.inventory import list_files
from modelscope_plugin.text import is_line
from modelscope_plugin.training.record import RECORD_FILE
from modelscope_plugin.types import OnnxPrecision

EVALUATION_FILE = "evaluation.json"
"""File with the figures of the card if they were not measured in training."""


@dataclass(frozen=True)
class ExportResult:
    """Result of `export_model`.

    Attributes:
        folder: The folder.
        name: The name of the model in its card.
        fingerprint: Fingerprint of the model, the same as that of the source.
        files: Size in bytes of every file, by its path in the folder.
        standalone: Whether the folder carries the code it needs.
        sentence_transformers: Whether sentence-transformers opens the folder.
        trained: Whether it holds the record of a training run.
        evaluated: Whether the card has a table of recall.
    """

    folder: Path
    name: str
    fingerprint: str
    files: dict[str, int]
    standalone: bool
    sentence_transformers: bool
    trained: bool
    evaluated: bool

    def to_record(self) -> dict[str, Any]:
        """The result as a JSON object."""
        return asdict(self) | {"folder": str(self.folder)}


def export_model(
    model: str | Path,
    output: str | Path,
    *,
    standalone: bool = False,
    index: str | Path | None = None,
    onnx: bool = False,
    evaluation: str | Path | None = None,
    language: str = "zh",
    license: str | None = None,
    name: str | None = None,
    revision: str | None = None,
) -> ExportResult:
    """Write a model as a folder to publish.

    The folder opens in ``pipeline(Tasks.sentence_embedding, FOLDER)`` after ``import modelscope_plugin`` (a plain
    folder) or with ``trust_remote_code=True`` and no need for this package (a standalone one), and in
    ``SentenceTransformer(FOLDER)``. It is written whole or not at all, and replaces an earlier export.

    Args:
        model: A model folder, or a hub id.
        output: The folder to write.
        standalone: Whether the folder carries the code it needs. ModelScope then wants ``trust_remote_code=True`` of
            every reader, even if this package is installed.
        index: Folder of an index of this model to include; linking with the model uses it by default.
        onnx: Whether to include ONNX files, in float32 and 8 bits, for ``backend="onnx"`` and ``"onnx-int8"``.
        evaluation: File with the figures for the card, as ``modelscope entity evaluate --json`` printed them for this
            model; by default those of the training run.
        language: Language of the model card, ``zh`` or ``en``.
        license: Licence of the model, for the card; by default the one that the model's own card names, if any.
        name: What the card calls the model and loads it by, a hub id such as ``owner/name``; by default the name of
            the folder.
        revision: Branch or tag of a hub model.

    Returns:
        What was written.

    Raises:
        InputError: If ``output`` is the model's own folder, holds other files or has a name that standalone folders
            cannot have, the model is a re-ranker, or a text or the figures for the card cannot be used.
        IndexMismatchError: If the index was built with another model.
        MissingFileError: If there is no such model or index.
        ModelFolderError: If a file of the model is missing or damaged.
    """
    check_choice("language", language, get_args(Language))
    if onnx:
        check_onnx()
    source, output = resolve_model(model, revision), Path(output)
    check_exportable(source)
    if _is_inside(source, output):
        raise InputError(f"{output} holds the model to export; name another folder")
    check_replaceable(output)
    if standalone:
        check_folder_name(output.resolve().name)
    name = _check_line("name", output.resolve().name if name is None else name)
    if "/" in name and not is_hub_id(name):
        raise InputError(f"name={name!r} is not a hub id such as owner/name; any other name has no slash")
    terms = read_license(source / CARD_FILE) if license is None else _check_line("license", license)
    training = read_training_record(source)
    encoder = EntityEncoder.from_pretrained(source, device="cpu")
    entity_index = None if index is None else _open_index(Path(index), encoder, output, name)
    measured = None if evaluation is None else read_figures(Path(evaluation), encoder.fingerprint)
    facts = CardFacts(
        **_describe_model(encoder),
        name=name,
        license=terms,
        standalone=standalone,
        onnx=onnx,
        indexed=0 if entity_index is None else len(entity_index),
        views=read_views(training),
        training=training,
        measured=measured,
    )
    with replace_folder(output) as draft:
        write_model_folder(draft, encoder.model, encoder.tokenizer, _make_configuration(source, standalone))
        for precision in get_args(OnnxPrecision) if onnx else ():
            export_onnx(encoder.model, draft, precision)
        if facts.sentence_transformers:
            write_sentence_transformers_files(draft, encoder)
        for file, record in ((RECORD_FILE, training), (EVALUATION_FILE, measured)):
            if record is not None:
                write_json(draft / file, record)
        if entity_index is not None:
            entity_index.save(draft / INDEX_FOLDER)
        for path, text in collect_code().items() if standalone else ():
            (draft / path).parent.mkdir(parents=True, exist_ok=True)
            (draft / path).write_text(text, encoding="utf-8")
        (draft / CARD_FILE).write_text(render_card(facts, language), encoding="utf-8")
        write_export_record(draft, name, terms, encoder.fingerprint, standalone)
        files = list_files(draft)
        # Again: a file that was put into the folder meanwhile would be removed with it.
        check_replaceable(output)
    return ExportResult(
        folder=output,
        name=name,
        fingerprint=encoder.fingerprint,
        files=files,
        standalone=standalone,
        sentence_transformers=facts.sentence_transformers,
        trained=training is not None,
        evaluated=facts.recall is not None,
    )


def check_exportable(folder: Path) -> None:
    """Raise `InputError` for the folder of a re-ranker, of which no card can be written."""
    if find_model_type(read_configuration(folder), folder) in RERANKER_TYPES:
        raise InputError(
            f"{folder} holds a re-ranker; export and publish write dual encoders only, but its folder can be uploaded "
            "as it is: modelscope upload OWNER/NAME FOLDER"
        )


def _describe_model(encoder: EntityEncoder) -> dict[str, Any]:
    """Return the facts of a card that are read from the model itself."""
    model, tokenizer = encoder.model, encoder.tokenizer
    config = model.mention_tower.config
    return {
        "architecture": str(config.model_type),
        "layers": int(config.num_hidden_layers),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dimension": model.dimension,
        "max_length": tokenizer.max_length,
        "emb_pooler_type": model.emb_pooler_type,
        "normalize": model.normalize,
        "towers": model.towers,
        "mention_prefix": tokenizer.mention_prefix,
        "entity_prefix": tokenizer.entity_prefix,
        "has_markers": tokenizer.has_markers,
        "sentence_transformers": has_same_tokens(encoder),
    }


def _open_index(folder: Path, encoder: EntityEncoder, output: Path, name: str) -> EntityIndex:
    """Open an index and let it name the published model instead of the local one."""
    if _is_inside(folder, output):
        raise InputError(f"{output} holds the index to include; name another folder")
    index = EntityIndex.load(folder, verify=True)
    index.check_model(encoder.fingerprint)
    # Inside its model's folder an index needs no name of the model; only a hub id helps whoever copies it elsewhere.
    index.model = name if is_hub_id(name) else ""
    return index


def _make_configuration(source: Path, standalone: bool) -> dict[str, Any]:
    """Return the shipped configuration.json with the model's settings of training and evaluation.

    Other settings are left out: some name folders of this machine, such as ``train.work_dir``.
    """
    configuration = read_training_configuration(source)
    settings, mining = read_training_settings(configuration)
    metric = {"type": Metrics.entity_recall, "k": find_ks(configuration)}
    train = merge_configurations(settings.to_sections(), mining.to_sections())["train"]
    sections = {"train": train, "evaluation": {"metrics": [metric]}}
    # ModelScope's key for importing the Python files of the folder if the reader trusts them.
    return merge_configurations(default_configuration(), sections | ({"allow_remote": True} if standalone else {}))


def _is_inside(path: Path, folder: Path) -> bool:
    """True if ``path`` is ``folder`` or below it."""
    return path.resolve().is_relative_to(folder.resolve())


def _check_line(name: str, text: Any) -> str:
    """Return a text for one line of the card, stripped; raise `InputError` if it is empty, long or not one line."""
    line = text.strip() if isinstance(text, str) else ""
    if not is_line(line):
        raise InputError(f"{name}={text!r} must be one line of text, at most 200 characters long")
    return line
