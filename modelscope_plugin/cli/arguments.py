"""Options that several sub-commands share, and the options of settings."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from modelscope_plugin.cli.inputs import InputFiles, add_input_options
from modelscope_plugin.config.configuration import read_configuration_file
from modelscope_plugin.config.model_settings import WindowSettings
from modelscope_plugin.config.reranking_settings import RerankingSettings
from modelscope_plugin.config.settings import NONE, Setting, Settings
from modelscope_plugin.config.training_settings import read_training_configuration
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.errors import InputError, UsageError
from modelscope_plugin.types import BackendName, DtypeName

if TYPE_CHECKING:
    from modelscope_plugin.encoding import EntityEncoder
    from modelscope_plugin.retrieval import EntityIndex

_METAVARS = {int: "N", float: "X"}


class ArgumentParser(argparse.ArgumentParser):
    """A parser that refuses an unknown option itself, with its own usage and the option that may be meant."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does; exit with status 2 if an option is unknown."""
        parsed, unknown = super().parse_known_args(args, namespace)
        options = [one.partition("=")[0] for one in unknown if one.startswith("-")]
        if options:
            import difflib

            known = [option for action in self._actions for option in action.option_strings]
            meant = difflib.get_close_matches(options[0], known, n=1)
            self.error(f"unknown option {options[0]}{f'; did you mean {meant[0]}?' if meant else ''}")
        return parsed, unknown


def parse_setting(declared: Setting, text: str) -> Any:
    """Parse and check the value of a setting for argparse; ``none`` if the setting can be null."""
    if declared.choices or (declared.nullable and text == NONE):
        return text
    try:
        value = declared.kind(text)
    except ValueError:
        value = text
    try:
        return declared.check(value, "value")
    except InputError as error:
        raise argparse.ArgumentTypeError(f"{error}{', or none' if declared.nullable else ''}") from None


parse_positive = partial(parse_setting, Setting("", kind=int, least=1))
"""Parse an integer of at least 1 for argparse."""


def add_command(commands: Any, name: str, run: Any, summary: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """Add a sub-command with its one-line help and its examples."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run)
    return parser


def add_model(parser: argparse.ArgumentParser, help: str, *, required: bool = True) -> None:
    """Add ``--model`` and ``--device``."""
    parser.add_argument("--model", required=required, metavar="DIR|ID", help=help)
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument("--device", help="cpu, cuda, cuda:1, gpu ... (default: a GPU if there is one)")


def add_index_or_kb(parser: argparse.ArgumentParser) -> None:
    """Add ``--index`` and ``--kb``; exactly one of them must be given."""
    parser.add_argument("--index", metavar="INDEX", help="folder of the index")
    parser.add_argument("--kb", metavar="FILE", help="knowledge base, instead of an index")


def open_index_or_kb(args: argparse.Namespace, files: InputFiles) -> tuple[EntityEncoder, EntityIndex]:
    """Open the model and the index that ``--index`` names, or index ``--kb`` with ``--model``."""
    source = require_one_of(args, "index", "kb")
    if source == "kb" and args.model is None:
        raise UsageError("--model is needed with --kb")
    from modelscope_plugin.encoding.encoder import EntityEncoder
    from modelscope_plugin.linking.linker import load_model_and_index
    from modelscope_plugin.retrieval.building import build_index
    from modelscope_plugin.retrieval.indexing import index_entities

    if source == "index":
        # Not with a linker: it refuses an index whose NIL rule is damaged, and this command may fit it again.
        return load_model_and_index(args.model, args.index, **get_loading_options(args))
    encoder = EntityEncoder.from_pretrained(args.model, **get_loading_options(args))
    entities = files.read_entities(args.kb)
    views = ViewSettings.from_configuration(read_model_configuration(encoder.name))
    build = build_index if getattr(args, "retrieval", None) == "hybrid" else index_entities
    return encoder, build(encoder, entities, views=views, batch_size=args.batch_size)


def read_model_configuration(model: str, config: str | None = None) -> dict[str, Any]:
    """Read how a model is to be trained, indexed and evaluated.

    Args:
        model: Folder or hub id of the model.
        config: Another configuration.json that overrides the model's.
    """
    from modelscope_plugin.modeling.location import resolve_model

    overrides = {} if config is None else {Path(config): read_configuration_file(Path(config))}
    return read_training_configuration(resolve_model(model), overrides, (ViewSettings, RerankingSettings))


def add_encoder_options(
    parser: argparse.ArgumentParser,
    help: str,
    *,
    required: bool = True,
    processes: bool = False,
    has_entities: bool = True,
) -> None:
    """Add ``--model``, the options of encoding with it, those of input files and, on request, ``--processes``."""
    add_model(parser, help, required=required)
    # fmt: off
    parser.add_argument("--batch-size", type=parse_positive, metavar="N",
        help="texts in one forward pass (default: as many as suit the device and their length)")
    add_setting_options(parser, WindowSettings, defaults={"max_length": "the model's, else 128"})
    parser.add_argument("--backend", choices=get_args(BackendName), default="torch",
        help="what computes: torch, or ONNX Runtime on the CPU in float32 or 8 bits (default: %(default)s)")
    parser.add_argument("--dtype", choices=get_args(DtypeName), default="float32",
        help="arithmetic of torch; 16 bits are for GPUs (default: %(default)s)")
    parser.add_argument("--compile", action="store_true", help="use torch.compile, for long jobs on a GPU")
    if processes:
        parser.add_argument("--processes", type=parse_positive, default=1, metavar="N",
            help="number of processes that encode, one per GPU, or sharing the CPU cores (default: %(default)s)")
    # fmt: on
    add_input_options(parser, has_entities=has_entities)


def get_shards_folder(output: str) -> Path:
    """Return the folder in which a command that writes ``output`` keeps encoded shards until it is done."""
    path = Path(output)
    return path.with_name(f"{path.name}.shards")


def get_loading_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the keywords of ``EntityEncoder.from_pretrained`` that `add_encoder_options` parsed."""
    return {name: getattr(args, name) for name in ("device", "max_length", "backend", "dtype", "compile")}


def add_wait(parser: argparse.ArgumentParser) -> None:
    """Add ``--wait``."""
    parser.add_argument("--wait", type=float, default=0, metavar="SECONDS",
        help="how long to wait while another command changes the index (default: not at all)")  # fmt: skip


def add_json(parser: argparse.ArgumentParser, help: str) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help=help)


def add_setting_options(
    parser: argparse._ActionsContainer,
    kind: type[Settings],
    names: Iterable[str] | None = None,
    defaults: Mapping[str, str] | None = None,
) -> None:
    """Add the options of settings as they are declared; an option that is not given is None.

    Args:
        parser: The parser, or a group of it.
        kind: The class of the settings.
        names: Those to add; by default all that have an option.
        defaults: What the help calls the default of a setting, where it is not that of the shipped configuration.json.
    """
    for name, declared in kind.declarations().items():
        if declared.option is None or (names is not None and name not in names):
            continue
        option = declared.option or f"--{name.replace('_', '-')}"
        value = declared.get_default()
        default = (defaults or {}).get(name) or (NONE if value is None else json.dumps(value).strip('"'))
        details: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        if declared.kind is not bool:
            details = {
                "type": partial(parse_setting, declared),
                "metavar": declared.metavar or _METAVARS.get(declared.kind),
                "choices": declared.choices or None,
            }
        parser.add_argument(option, dest=name, help=f"{declared.help} (default: {default})", **details)


def get_given_settings(args: argparse.Namespace, *kinds: type[Settings]) -> dict[str, Any]:
    """Return the settings of these classes by name, None for those that were not given."""
    return {name: getattr(args, name, None) for kind in kinds for name in kind.declarations()}


def require_one_of(args: argparse.Namespace, *names: str) -> str:
    """Return the name of the one argument of several that was given.

    Raises:
        UsageError: If none or more than one was given.
    """
    given = [name for name in names if getattr(args, name) not in (None, [])]
    if len(given) != 1:
        options = " or ".join(name if name == "file" else f"--{name}" for name in names)
        raise UsageError(f"give either {options}, and only one of them")
    return given[0]
