"""Arguments that several sub-commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from modelscope_plugin.data.readers import read_entities
from modelscope_plugin.data.views import ViewSettings
from modelscope_plugin.errors import UsageError

if TYPE_CHECKING:
    from modelscope_plugin.encoding import EntityEncoder
    from modelscope_plugin.retrieval import EntityIndex

_Read = TypeVar("_Read")


def add_command(commands: Any, name: str, run: Any, summary: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """Add a sub-command with its one-line help and its examples."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run)
    return parser


def add_model(parser: argparse.ArgumentParser, help: str, *, required: bool = True) -> None:
    """Add ``--model`` and the options that go with loading one."""
    parser.add_argument("--model", required=required, metavar="DIR|ID", help=help)
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument("--device", help="cpu, cuda, cuda:1, gpu ... (default: a GPU where there is one)")


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add ``--index`` and ``--kb``, of which one has to be given."""
    parser.add_argument("--index", metavar="INDEX", help="folder of the index")
    parser.add_argument("--kb", metavar="FILE", help="knowledge base, in place of an index")


def open_source(args: argparse.Namespace) -> tuple[EntityEncoder, EntityIndex]:
    """The model and the index of the knowledge base that ``--index``, or ``--kb`` with ``--model``, name."""
    source = one_of(args, "index", "kb")
    if source == "kb" and args.model is None:
        raise UsageError("--model is needed with --kb")
    from modelscope_plugin.encoding.encoder import EntityEncoder
    from modelscope_plugin.linking.linker import load_model_and_index
    from modelscope_plugin.retrieval.building import build_index

    if source == "index":
        # No linker: it would refuse a damaged rule that is to be fitted again.
        return load_model_and_index(args.model, args.index, **loading(args))
    encoder = EntityEncoder.from_pretrained(args.model, **loading(args))
    entities = read_entities(args.kb, encoding=args.encoding)
    return encoder, build_index(encoder, entities, views=view_settings(encoder.name), batch_size=args.batch_size)


def view_settings(model: str, **changes: Any) -> ViewSettings:
    """The views of an entity that a model's configuration.json asks for, with settings that go before it."""
    from modelscope_plugin.config.training_settings import training_configuration
    from modelscope_plugin.modeling.location import resolve_model

    return ViewSettings.from_configuration(training_configuration(resolve_model(model)), **changes)


def add_encoding(parser: argparse.ArgumentParser) -> None:
    """Add the options of encoding texts."""
    parser.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="texts in one forward pass (default: as many as suit the device and their length)",
    )
    parser.add_argument(
        "--max-length", type=positive, metavar="N", help="tokens of a window (default: the model's, else 128)"
    )
    parser.add_argument(
        "--backend",
        choices=("torch", "onnx", "onnx-int8"),
        default="torch",
        help="what computes: torch, or ONNX Runtime on the CPU in float32 or 8 bits (default: %(default)s)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="arithmetic of torch; 16 bits are for GPUs (default: %(default)s)",
    )
    parser.add_argument("--compile", action="store_true", help="use torch.compile, for long jobs on a GPU")


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add ``--processes``."""
    parser.add_argument(
        "--processes",
        type=positive,
        default=1,
        metavar="N",
        help="processes that encode, one for each GPU or sharing the cores (default: %(default)s)",
    )


def shards_folder(output: str) -> Path:
    """Where a command that writes ``output`` keeps what it has encoded, until it is done."""
    path = Path(output)
    return path.with_name(f"{path.name}.shards")


def loading(args: argparse.Namespace) -> dict[str, Any]:
    """How to load an encoder, of what `add_model` and `add_encoding` parsed."""
    return {name: getattr(args, name) for name in ("device", "max_length", "backend", "dtype", "compile")}


def add_file_encoding(parser: argparse.ArgumentParser) -> None:
    """Add ``--encoding``."""
    parser.add_argument("--encoding", default="utf-8", help="encoding of the files (default: %(default)s)")


def add_mining(parser: argparse.ArgumentParser) -> None:
    """Add the options of mining hard negatives."""
    group = parser.add_argument_group("mining")
    group.add_argument("--num-negatives", type=positive, metavar="N", help="hard negatives to keep for a mention")
    group.add_argument("--range-min", type=int, metavar="N", help="how many of the best-ranked entities to pass over")
    group.add_argument("--range-max", type=positive, metavar="N", help="the last rank to look at")
    group.add_argument("--sampling-strategy", choices=("random", "top"), help="draw from the range, or take its best")
    group.add_argument(
        "--absolute-margin",
        type=number_or_none,
        metavar="X",
        help="leave out what scores higher than the gold entity minus X; none for nothing",
    )
    group.add_argument(
        "--name-negatives", type=int, metavar="N", help="entities of the same name to take before all others"
    )


def add_retrieval(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--retrieval``."""
    parser.add_argument(
        "--retrieval",
        choices=("dense", "lexical", "hybrid"),
        help=f"by vectors, by names, or by both, names first (default: {default})",
    )
    parser.add_argument(
        "--nil-threshold",
        type=float,
        metavar="X",
        help="confidence, 0 to 1, below which a mention has no entity (default: what was fitted for the index)",
    )


def add_json(parser: argparse.ArgumentParser, help: str) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help=help)


def read_again(read: Callable[..., Iterable[_Read]], path: str, encoding: str) -> Callable[[], Iterable[_Read]]:
    """A function that reads a file from its beginning each time it is called; a pipe is read once and kept."""
    if Path(path).is_file():
        return lambda: read(path, encoding=encoding)
    kept = list(read(path, encoding=encoding))
    return lambda: kept


def number_or_none(text: str) -> float | str:
    """A number, or ``none`` for a setting that is to be null, for argparse."""
    try:
        return text if text == "none" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor none") from None


def positive(text: str) -> int:
    """An integer of at least 1, for argparse."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return value


def one_of(args: argparse.Namespace, *names: str) -> str:
    """The one argument of several that was given; UsageError where none or more than one was."""
    given = [name for name in names if getattr(args, name) not in (None, [])]
    if len(given) != 1:
        options = " or ".join(name if name == "file" else f"--{name}" for name in names)
        raise UsageError(f"give either {options}, and only one of them")
    return given[0]
