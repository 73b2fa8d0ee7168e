"""A model folder to publish: everything that a reader needs, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from modelscope_plugin.config.configuration import default_configuration, merge_configurations, read_configuration_file
from modelscope_plugin.config.evaluation_settings import find_ks
from modelscope_plugin.config.metainfo import Metrics
from modelscope_plugin.config.training_settings import read_training_configuration, read_training_settings
from modelscope_plugin.encoding.backends.onnx_export import check_onnx, export_onnx
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import InputError
from modelscope_plugin.modeling.location import is_hub_id, resolve_model
from modelscope_plugin.modeling.model_folder import INDEX_FOLDER, write_model_folder
from modelscope_plugin.publishing.card.model_card import model_card
from modelscope_plugin.publishing.card.parts import CardFacts, speaker
from modelscope_plugin.publishing.export.carried_code import carried_code, check_folder_name
from modelscope_plugin.publishing.export.export_record import CARD_FILE, EXPORT_FILE, file_sizes, write_export_record
from modelscope_plugin.publishing.export.sentence_transformers_files import (
    has_same_tokens,
    write_sentence_transformers_files,
)
from modelscope_plugin.publishing.export.training_record import published_record
from modelscope_plugin.retrieval.entity_index import EntityIndex
from modelscope_plugin.storage.files import check_output_folder, replace_folder, write_json
from modelscope_plugin.training.record import RECORD_FILE
from modelscope_plugin.types import OnnxPrecision

EVALUATION_FILE = "evaluation.json"
"""The figures in the card that were not measured in training."""


@dataclass(frozen=True)
class ExportResult:
    """What `export_model` wrote.

    Attributes:
        folder: The folder.
        name: The name of the model in its card.
        fingerprint: Fingerprint of the model, the same as that of the source.
        files: Size in bytes of every file, by its path in the folder.
        standalone: Whether the folder carries the code it needs.
        sentence_transformers: Whether sentence-transformers opens the folder.
        trained: Whether the record of a training run is in it.
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
        return {
            "folder": str(self.folder),
            "name": self.name,
            "fingerprint": self.fingerprint,
            "standalone": self.standalone,
            "sentence_transformers": self.sentence_transformers,
            "trained": self.trained,
            "evaluated": self.evaluated,
            "files": self.files,
        }


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
    ``SentenceTransformer(FOLDER)``. It is written whole or not at all, and an earlier export in its place is replaced.

    Args:
        model: A model folder, or a hub id.
        output: The folder to write.
        standalone: Whether the folder carries the code it needs. ModelScope then wants ``trust_remote_code=True`` of
            every reader, also where this package is installed.
        index: Folder of an index of this model to go along; whoever links with the model finds it by itself.
        onnx: Whether ONNX files go along, in float32 and 8 bits, for ``backend="onnx"`` and ``"onnx-int8"``.
        evaluation: File with the figures for the card, as ``modelscope entity evaluate --json`` printed them for this
            model; by default those of the training run.
        language: Language of the model card, ``zh`` or ``en``.
        license: Licence of the model, for the card; by default the one that the model's own card names, if it has one.
        name: What the card calls the model and loads it by, a hub id such as ``owner/name``; by default the name of
            the folder.
        revision: Branch or tag of a hub model.

    Returns:
        What was written.

    Raises:
        InputError: If ``output`` is the model's own folder, holds other things or has a name that standalone folders
            cannot have, or a text or the figures for the card are not usable.
        IndexMismatchError: If the index was built with another model.
        MissingFileError: If there is no such model or index.
        ModelFolderError: If a file of it is missing or damaged.
    """
    speaker(language)
    if onnx:
        check_onnx()
    source, output = resolve_model(model, revision), Path(output)
    if _holds(output, source):
        raise InputError(f"{output} holds the model that is exported; name another folder")
    check_output_folder(output, EXPORT_FILE)
    if standalone:
        check_folder_name(output.resolve().name)
    title = _line("name", output.resolve().name if name is None else name)
    if "/" in title and not is_hub_id(title):
        raise InputError(f"name={title!r} is no hub id such as owner/name; a name of another kind has no slash")
    terms = license_of(source) if license is None else _line("license", license)
    record = published_record(source)
    encoder = EntityEncoder.from_pretrained(source, device="cpu")
    opened = None if index is None else _index(Path(index), encoder, output, title)
    measured = None if evaluation is None else _measured(Path(evaluation), encoder)
    facts = _facts(encoder, title, terms, record, measured, standalone, onnx, opened)
    configuration = _configuration(source, standalone)
    with replace_folder(output) as draft:
        write_model_folder(draft, encoder.model, encoder.tokenizer, configuration)
        for precision in get_args(OnnxPrecision) if onnx else ():
            export_onnx(encoder.model, draft, precision)
        if facts.sentence_transformers:
            write_sentence_transformers_files(draft, encoder)
        if record is not None:
            write_json(draft / RECORD_FILE, record)
        if measured is not None:
            write_json(draft / EVALUATION_FILE, measured)
        if opened is not None:
            opened.save(draft / INDEX_FOLDER)
        for path, text in carried_code().items() if standalone else ():
            (draft / path).parent.mkdir(parents=True, exist_ok=True)
            (draft / path).write_text(text, encoding="utf-8")
        (draft / CARD_FILE).write_text(model_card(facts, language), encoding="utf-8")
        write_export_record(draft, title, terms, encoder.fingerprint, standalone)
        files = file_sizes(draft)
    return ExportResult(
        folder=output,
        name=title,
        fingerprint=encoder.fingerprint,
        files=files,
        standalone=standalone,
        sentence_transformers=facts.sentence_transformers,
        trained=record is not None,
        evaluated=bool(facts.evaluation),
    )


def _facts(
    encoder: EntityEncoder,
    name: str,
    license: str | None,
    record: dict[str, Any] | None,
    measured: dict[str, Any] | None,
    standalone: bool,
    onnx: bool,
    index: EntityIndex | None,
) -> CardFacts:
    model, tokenizer = encoder.model, encoder.tokenizer
    config = model.mention_tower.config
    return CardFacts(
        name=name,
        license=license,
        architecture=str(config.model_type),
        layers=int(config.num_hidden_layers),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        dimension=model.dimension,
        max_length=tokenizer.max_length,
        emb_pooler_type=model.emb_pooler_type,
        normalize=model.normalize,
        towers=model.towers,
        mention_prefix=tokenizer.mention_prefix,
        entity_prefix=tokenizer.entity_prefix,
        has_markers=tokenizer.has_markers,
        sentence_transformers=has_same_tokens(encoder),
        standalone=standalone,
        onnx=onnx,
        indexed=0 if index is None else len(index),
        training=record,
        measured=measured,
    )


def _index(folder: Path, encoder: EntityEncoder, output: Path, title: str) -> EntityIndex:
    """The index of a knowledge base, made one of the published model."""
    if _holds(output, folder):
        raise InputError(f"{output} holds the index that is exported with it; name another folder")
    index = EntityIndex.load(folder)
    index.check_model(encoder.fingerprint)
    # It stands inside its model's folder, wherever that will be; a name is of use only where the hub knows it.
    index.model = title if is_hub_id(title) else ""
    return index


def license_of(source: Path) -> str | None:
    """What the model's own card names as its licence."""
    import yaml

    try:
        card = (source / CARD_FILE).read_text(encoding="utf-8")
        named = yaml.safe_load(card.split("---\n", 2)[1])["license"]
    except (OSError, ValueError, IndexError, KeyError, TypeError, yaml.YAMLError):
        return None
    return named if isinstance(named, str) and named.isprintable() else None


def _measured(file: Path, encoder: EntityEncoder) -> dict[str, Any]:
    """The figures that were measured of the model, and no others."""
    figures = read_configuration_file(file)
    if figures.get("fingerprint") != encoder.fingerprint:
        raise InputError(f"{file} was not measured with this model; run modelscope entity evaluate --json with it")
    counts = ("mentions", "entities")
    if not any(key.startswith("recall@") for key in figures) or not all(key in figures for key in counts):
        raise InputError(f"{file} holds no recall; it has to be what modelscope entity evaluate --json prints")
    return figures


def _configuration(source: Path, standalone: bool) -> dict[str, Any]:
    """The shipped configuration.json with how the model was trained and is evaluated.

    Only settings that this package knows: a folder of the machine, such as ``train.work_dir``, stays behind.
    """
    configuration = read_training_configuration(source)
    settings, mining = read_training_settings(configuration)
    metric = {"type": Metrics.entity_recall, "k": find_ks(configuration)}
    train = merge_configurations(settings.to_sections(), mining.to_sections())["train"]
    sections = {"train": train, "evaluation": {"metrics": [metric]}}
    # ModelScope's own key: the folder's Python files are imported, if the reader trusts them.
    return merge_configurations(default_configuration(), sections | ({"allow_remote": True} if standalone else {}))


def _holds(folder: Path, other: Path) -> bool:
    """Whether ``other`` is ``folder`` or lies in it."""
    folder, other = folder.resolve(), other.resolve()
    return folder == other or folder in other.parents


def _line(what: str, text: str) -> str:
    """A text that stands in one line of the card."""
    line = text.strip()
    if not line or not line.isprintable():
        raise InputError(f"{what}={text!r} must be one line of text")
    return line
