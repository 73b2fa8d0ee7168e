"""``modelscope entity train``: train a dual encoder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from modelscope_plugin.cli.arguments import (
    add_command,
    add_device,
    add_file_encoding,
    add_json,
    add_mining,
    number_or_none,
    positive,
    read_again,
)
from modelscope_plugin.cli.output import print_json, print_table, recall_rows
from modelscope_plugin.data.readers import read_entities, read_mentions
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
    parser = add_command(commands, "train", run, "Train a dual encoder, in one stage or more.", _EXAMPLES)
    parser.add_argument("--model", required=True, metavar="DIR|ID", help="any BERT-family checkpoint to start from")
    parser.add_argument("--kb", required=True, metavar="FILE", help="knowledge base")
    parser.add_argument("--train", metavar="FILE", help="texts with mentions and their entities, or what mine wrote")
    parser.add_argument("--dev", metavar="FILE", help="the same, to measure recall on and choose the best model by")
    parser.add_argument("--out", required=True, metavar="DIR", help="model folder to write")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run of the same command")
    parser.add_argument("--config", metavar="FILE", help="a configuration.json with settings")
    parser.add_argument("--tensorboard", metavar="DIR", help="write loss, rate and recall for TensorBoard")
    parser.add_argument("--k", type=positive, nargs="+", metavar="K", help="values of k to measure")
    add_device(parser)
    add_file_encoding(parser)
    add_json(parser, "print the result as JSON")
    _add_settings(parser)
    add_mining(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model")
    model.add_argument("--max-length", type=positive, metavar="N", help="tokens of a window")
    model.add_argument("--pooling", dest="emb_pooler_type", metavar="TYPE", help="cls, avg, avg_top2 or avg_first_last")
    model.add_argument("--normalize", action=argparse.BooleanOptionalAction, help="scale vectors to length 1")
    model.add_argument("--towers", type=int, choices=(1, 2), help="1 for shared weights, 2 for separate ones")
    group = parser.add_argument_group("training")
    group.add_argument("--stages", type=positive, metavar="N", help="2 adds one with hard negatives, 3 a second one")
    group.add_argument("--epochs", dest="max_epochs", type=positive, metavar="N", help="passes over the mentions")
    group.add_argument(
        "--stage-two-epochs", dest="stage_two_max_epochs", type=int, metavar="N", help="the same for later stages"
    )
    group.add_argument("--batch-size", type=positive, metavar="N", help="mentions in a batch of one process")
    group.add_argument(
        "--mini-batch-size",
        type=int,
        metavar="N",
        help="texts encoded at once: gradient caching for large batches",
    )
    group.add_argument(
        "--gradient-accumulation-steps",
        type=positive,
        metavar="N",
        help="batches to one step; unlike --mini-batch-size it does not enlarge the pool of negatives",
    )
    group.add_argument("--learning-rate", type=float, metavar="RATE", help="peak learning rate of AdamW")
    group.add_argument("--stage-two-learning-rate", type=float, metavar="RATE", help="the same for the later stages")
    group.add_argument("--lr-scheduler-type", metavar="NAME", help="linear, cosine, constant_with_warmup ...")
    group.add_argument("--warmup-ratio", type=float, metavar="SHARE", help="share of the steps in which the rate rises")
    group.add_argument("--weight-decay", type=float, metavar="X", help="weight decay of AdamW")
    group.add_argument("--max-grad-norm", type=float, metavar="X", help="length gradients are clipped to; 0 for none")
    group.add_argument("--mixed-precision", choices=("no", "bf16", "fp16"), help="number format of the encoder")
    group.add_argument(
        "--dropout", type=number_or_none, metavar="SHARE", help="dropout in training; none for the checkpoint's own"
    )
    group.add_argument("--temperature", type=float, metavar="T", help="what the scores are divided by in the loss")
    group.add_argument(
        "--symmetric", action=argparse.BooleanOptionalAction, help="entities have to find their mentions too"
    )
    group.add_argument(
        "--random-negatives", type=int, metavar="N", help="entities drawn from the knowledge base into every batch"
    )
    group.add_argument("--hard-negatives", type=int, metavar="N", help="hard negatives of a mention in a batch")
    group.add_argument(
        "--views", type=positive, metavar="N", help="texts an entity is written as, at most; the best is its score"
    )
    group.add_argument(
        "--kb-mentions", type=int, metavar="N", help="mentions to make from every name in the knowledge base"
    )
    group.add_argument(
        "--skip-unknown",
        action=argparse.BooleanOptionalAction,
        help="leave out mentions whose entity the knowledge base lacks",
    )
    group.add_argument("--eval-steps", type=int, metavar="N", help="measure recall every N steps and keep the best")
    group.add_argument(
        "--eval-max-entities", type=positive, metavar="N", help="measure so among at most so many entities"
    )
    group.add_argument(
        "--early-stopping-patience", type=int, metavar="N", help="end after N measurements without a better one"
    )
    group.add_argument("--save-steps", type=int, metavar="N", help="checkpoint every N steps (default: each epoch)")
    group.add_argument("--seed", type=int, metavar="N", help="the one source of randomness")


def run(args: argparse.Namespace) -> None:
    """Run the sub-command."""
    from modelscope_plugin.config.configuration import merged, read_configuration_file
    from modelscope_plugin.config.evaluation_settings import evaluation_ks
    from modelscope_plugin.config.training_settings import (
        MiningSettings,
        TrainingSettings,
        training_configuration,
        training_settings,
    )
    from modelscope_plugin.modeling.location import resolve_model
    from modelscope_plugin.training.training import train

    configuration = training_configuration(resolve_model(args.model))
    if args.config:
        configuration = merged(configuration, read_configuration_file(Path(args.config)))
    given = {name: getattr(args, name, None) for name in (*TrainingSettings.places, *MiningSettings.places)}
    settings, mining = training_settings(configuration, **given)
    if args.train is None and not settings.kb_mentions:
        raise UsageError("--train is needed, or --kb-mentions to train on the knowledge base alone")
    result = train(
        args.model,
        read_again(read_entities, args.kb, args.encoding),
        read_mentions(args.train, encoding=args.encoding) if args.train else (),
        args.out,
        settings,
        mining,
        eval_mentions=None if args.dev is None else read_mentions(args.dev, encoding=args.encoding),
        ks=args.k or evaluation_ks(configuration),
        device=args.device,
        resume=args.resume,
        tensorboard=args.tensorboard,
    )
    if not result.is_main:
        return
    if args.json:
        print_json(result.to_record())
        return
    rows = {}
    for stage in result.stages:
        kept = ", kept" if len(result.stages) > 1 and stage is result.best else ""
        print(f"stage {stage.stage}{kept}: loss {' → '.join(f'{loss:.3f}' for loss in stage.losses)}")
        if stage.recall:
            rows[f"dev, stage {stage.stage}"] = stage.recall
    if rows:
        print_table(*recall_rows(rows))
    print(f"the model is in {args.out}")
