"""Digests of all that decides the vectors of a model beside its weights: config.json and the tokenizer.

A fingerprint is ``BASE.REST``. The base covers weights, pooling, vocabulary and prefixes, and is all that version 0.1
recorded; the rest covers the architecture's settings and the way texts become tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from modelscope_plugin.data.markers import MENTION_END, MENTION_START
from modelscope_plugin.storage.digests import digest_of

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

    from modelscope_plugin.modeling.tokenization import EntityTokenizer

# Settings of training, of generation and of saving; vectors do not depend on them.
_WITHOUT_EFFECT = frozenset(
    {
        "_name_or_path",
        "architectures",
        "auto_map",
        "dtype",
        "finetuning_task",
        "gradient_checkpointing",
        "id2label",
        "initializer_factor",
        "initializer_range",
        "label2id",
        "output_attentions",
        "output_hidden_states",
        "problem_type",
        "return_dict",
        "task_specific_params",
        "tie_word_embeddings",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)
# Case, accents, widths, white space, control characters, scripts, numbers, special tokens: what tokenizers treat apart.
_TEXTS = (
    "Ab aB AB École ÉCOLE Ångström e\u0301 ñ ç Ş Ž Ёж Йод İıßſ ﬁ ½ ² № ™",
    "大鹏ab大鹏12大 鹏 ＡＢ１２ ｱｲｳ が\u3099ば ガ 한국어 \u1112\u1161\u11ab ไทย العَرَبِيّة עִבְרִית हिन्दी",
    "a\u3000b\xa0c\td\ne\r\nf\u200bg\ufeffh\u00adi\x00j\x7fk\ufffdl\u2028m  n   o",
    "don't it's U.S.A. a-b a_b a/b 3.14 1,000 1234567890 http://a.b/c?d=e&f#g x@y.z 5% (a) [b] {c} 「d」 《e》 …",
    "[CLS] [SEP] [PAD] [UNK] [MASK] [unused1] <s> </s> <pad> <unk> <mask> [cls] [Ent_s] 😀 👩‍👩‍👧 🇨🇳 龘 𠮷",
    f"a {MENTION_START} b {MENTION_END} c{MENTION_START}d{MENTION_END}e {MENTION_START}  f  {MENTION_END}",
    " ".join("a" * length for length in (*range(10, 400, 10), *range(95, 110))),
    " a",
    "a ",
    "",
)
_SAMPLES = 512


def is_same_model(recorded: str, fingerprint: str) -> bool:
    """True if a recorded fingerprint, in today's form or that of version 0.1, is that of a model.

    Args:
        recorded: What an index, a file of figures or an exported folder recorded.
        fingerprint: Fingerprint of the model (`EntityEncoder.fingerprint`).
    """
    return recorded in (fingerprint, fingerprint.partition(".")[0])


def join_fingerprint(base: str, *rest: str) -> str:
    """Join the base of a fingerprint and digests of the rest."""
    return f"{base}.{digest_of(*rest)[:16]}"


def add_weights(digest: hashlib.blake2b, parameters: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Add named weights to a digest, sorted by name: names, shapes, dtypes and values."""
    import torch

    for name, parameter in sorted(parameters, key=lambda item: item[0]):
        value = parameter.detach().to("cpu").contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)


def config_digest(config: PretrainedConfig) -> str:
    """A digest of the settings of an architecture that decide its vectors.

    Defaults are left out, so that settings which other versions of transformers add or drop make no difference.
    """
    defaults = type(config)().to_dict()
    settings = {
        name: value
        for name, value in config.to_dict().items()
        if name not in _WITHOUT_EFFECT and "drop" not in name and (name not in defaults or defaults[name] != value)
    }
    return digest_of(json.dumps(settings | {"model_type": config.model_type}, sort_keys=True, default=str))


def tokenizer_digest(tokenizer: EntityTokenizer) -> str:
    """A digest of how texts become tokens, by the tokens of many different texts.

    It does not depend on the files in which the tokenizer is saved, nor on the version of transformers.
    """
    vocabulary = sorted(token for token in tokenizer.tokenizer.get_vocab() if token)
    step = max(1, len(vocabulary) // _SAMPLES)
    sample = [token.removeprefix("##") for token in vocabulary[::step]]
    variants = (sample, map(str.upper, sample), map(str.title, sample))
    texts = [*_TEXTS, *(separator.join(words) for words in map(list, variants) for separator in (" ", ""))]
    tokens: dict[str, Any] = {
        "texts": tokenizer.text_ids(texts),
        "special": tokenizer.special_ids,
        "pad": tokenizer.pad_token_id,
    }
    return digest_of(json.dumps(tokens))
