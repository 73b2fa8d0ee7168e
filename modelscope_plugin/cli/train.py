"""``modelscope entity train``: train a dual encoder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelscope_plugin.cli import arguments
from modelscope_plugin.cli.inputs import InputFiles, add_input_options
from modelscope_plugin.cli.output import make_recall_table, print_json, print_line, print_table
from modelscope_plugin.config.evaluation_settings import find_ks
from modelscope_plugin.config.model_settings import ModelSettings, WindowSettings
from modelscope_plugin.config.settings import Settings
from modelscope_plugin.config.training_settings import MiningSettings, TrainingSettings, read_training_settings
from modelscope_plugin.errors import UsageError

_EXAMPLES = """\
Settings that are not given come from configuration.json: the file named by --config, the model
folder's own, the one that ships with the package, in this order.

examples:
  modelscope entity train --model BASE --kb kb.jsonl --train train.jsonl --dev dev.jsonl --out DIR --stages 2
  modelscope entity train ... --batch-size 1024 --mini-batch-size 32     # many negatives, little memory
  torchrun --nproc_per_node 2 -m modelscope_plugin train ...             # two GPUs
  modelscope entity mine train.jsonl --index INDEX --out negatives.jsonl
  modelscope entity train --model STAGE1 --kb kb.jsonl --train negatives.jsonl --out STAGE2
"""


def register(commands: Any) -> None:
    """Add the sub-command."""
    parser = arguments.add_command(commands, "train", run, "Train a dual encoder, in one stage or more.", _EXAMPLES)
    parser.add_argument("--model", required=True, metavar="DIR|ID", help="any BERT-family checkpoint to start from")
    parser.add_argument("--kb", required=True, metavar="FILE", help="knowledge base")
    parser.add_argument("--train", metavar="FILE", help="texts with mentions and their entities, or the output of mine")
    parser.add_argument("--dev", metavar="FILE", help="the same, to measure recall and choose the best model")
    parser.add_argument("--out", required=True, metavar="DIR", help="model folder to write")
    parser.add_argument("--resume", action="store_true", help="resume an interrupted run of the same command")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier model in --out")
    parser.add_argument("--config", metavar="FILE", help="a configuration.json with settings")
    parser.add_argument("--tensorboard", metavar="DIR", help="write loss, rate and recall for TensorBoard")
    parser.add_argument("--k", type=arguments.parse_positive, nargs="+", metavar="K", help="values of k to measure")
    arguments.add_device(parser)
    add_input_options(parser)
    arguments.add_json(parser, "print the result as JSON")
    model, training, mining = (parser.add_argument_group(title) for title in ("model", "training", "mining"))
    groups: list[tuple[type[Settings], Any]] = [
        (WindowSettings, model), (ModelSettings, model), (TrainingSettings, training), (MiningSettings, mining),
    ]  # fmt: skip
    added: set[str] = set()
    for kind, group in groups:
        # Training has the settings of the model too, and one seed is that of training and mining.
        arguments.add_setting_options(group, kind, set(kind.declarations()) - added)
        added.update(kind.declarations())


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    from modelscope_plugin.training.record import RECORD_FILE
    from modelscope_plugin.training.training import train

    configuration = arguments.read_model_configuration(args.model, args.config)
    given = arguments.get_given_settings(args, TrainingSettings, MiningSettings)
    settings, mining = read_training_settings(configuration, **given)
    if args.train is None and not settings.kb_mentions:
        raise UsageError("--train is needed, or --kb-mentions to train on the knowledge base alone")
    files = InputFiles(args)
    result = train(
        args.model,
        files.make_reader(files.read_entities, args.kb),
        files.read_mentions(args.train) if args.train else (),
        args.out,
        settings,
        mining,
        eval_mentions=None if args.dev is None else files.read_mentions(args.dev),
        ks=args.k or find_ks(configuration),
        device=args.device,
        resume=args.resume,
        overwrite=args.overwrite,
        tensorboard=args.tensorboard,
    )
    if not result.is_main:
        return
    counts = json.loads((Path(args.out) / RECORD_FILE).read_text(encoding="utf-8"))["data"]["train"]
    names = {"nil": "NIL mentions", "unlabelled": "unlabelled mentions", "unknown": "mentions of unknown entities"}
    left_out = {what: counts[name] for name, what in names.items()}
    files.print_summary(f"trained on {counts['mentions']:,} mentions of {counts['entities']:,} entities", left_out)
    if args.json:
        print_json(result.to_record())
        return
    rows = {}
    for stage in result.stages:
        kept = ", kept" if len(result.stages) > 1 and stage is result.best else ""
        print_line(f"stage {stage.stage}{kept}: loss {_show_losses(stage.losses)}")
        if stage.recall:
            rows[f"dev, stage {stage.stage}"] = stage.recall
    if rows:
        print_table(*make_recall_table(rows))
    print_line(f"the model is in {args.out}")


def _show_losses(losses: Sequence[float]) -> str:
    """The losses of the epochs; of many, the first and the last."""
    shown = [f"{loss:.3f}" for loss in losses]
    return " → ".join([*shown[:4], "…", *shown[-2:]] if len(shown) > 8 else shown)
