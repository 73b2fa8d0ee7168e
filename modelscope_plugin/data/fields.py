"""The fields of entities and texts, and the other names under which files have them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

_MAX_CACHED_KEYS = 64
_GOLDS = ("entity_ids", "entity_id", "kb_id", "实体id", "实体编号", "实体标识", "链接实体")
_SPAN = {
    "mention": ("mention", "surface", "提及", "指称", "实体提及"),
    "start": ("start", "offset", "begin", "start_offset", "起始", "起始位置", "开始", "开始位置", "偏移"),
    "end": ("end", "end_offset", "结束", "结束位置", "终止位置"),
    "golds": _GOLDS,
    "negatives": ("negatives",),
}
# What `mine` and `link` of this package write beside a mention, for people to read.
_REMARKS = frozenset({"gold_score", "candidates", "nil", "confidence", "nil_reason"})


@dataclass(frozen=True)
class FieldMap:
    """The fields of one record, or of the header of a table.

    Attributes:
        keys: For each field that is there, the keys of the record that hold it; the first with a value counts.
        unknown: The keys that are no field.
    """

    keys: Mapping[str, tuple[str, ...]]
    unknown: tuple[str, ...]


class Fields:
    """The fields of one kind of record.

    A key is a field if it is one of its names, whatever their case and width, and with spaces or hyphens for ``_``.

    Args:
        names: The names of each field, the preferred one first.
        remarks: Keys that are known to hold nothing to read.
    """

    def __init__(self, names: Mapping[str, tuple[str, ...]], remarks: Iterable[str] = ()) -> None:
        self.names = names
        self._fields = {name: field for field, known in names.items() for name in known}
        self._remarks = frozenset(remarks)
        self._find_cached = lru_cache(maxsize=256)(self._find)

    def find(self, keys: tuple[str, ...]) -> FieldMap:
        """Return which of the keys of a record are which field."""
        # The records of a file mostly have the same keys.
        return self._find_cached(keys) if len(keys) <= _MAX_CACHED_KEYS else self._find(keys)

    def _find(self, keys: tuple[str, ...]) -> FieldMap:
        found: dict[str, list[tuple[int, str]]] = {}
        unknown = []
        for key in keys:
            name = _normalize(key) if isinstance(key, str) else ""
            field = self._fields.get(name)
            if field is not None:
                found.setdefault(field, []).append((self.names[field].index(name), key))
            elif name not in self._remarks:
                unknown.append(key)
        ordered = {
            field: tuple(key for _, key in sorted(pairs, key=lambda pair: pair[0])) for field, pairs in found.items()
        }
        return FieldMap(MappingProxyType(ordered), tuple(unknown))


def _normalize(key: str) -> str:
    return "_".join(unicodedata.normalize("NFKC", key).casefold().replace("-", " ").split())


# fmt: off
ENTITY_FIELDS = Fields(
    {
        "id": (
            "subject_id", "id", "entity_id", "kb_id", "_id", "编号", "标识", "标识符", "实体id", "实体编号", "实体标识",
        ),
        "name": (
            "name", "subject", "title", "label", "entity", "entity_name", "名称", "名字", "姓名", "标题", "词条",
            "实体", "实体名", "实体名称",
        ),
        "aliases": (
            "aliases", "alias", "synonyms", "synonym", "other_names", "别名", "别称", "又名", "同义词", "其他名称",
        ),
        "types": ("types", "type", "category", "categories", "类型", "类别", "分类", "实体类型"),
        "description": (
            "description", "desc", "summary", "abstract", "definition", "描述", "简介", "介绍", "摘要", "定义", "说明",
        ),
        "facts": ("facts", "data", "事实", "属性"),
    }
)
# fmt: on
"""The fields of an entity. ``subject`` (CCKS) comes before ``name`` where the id is ``subject_id``."""

TEXT_FIELDS = Fields(
    {
        "text": ("text", "sentence", "文本", "句子", "内容"),
        "text_id": ("text_id", "文本id", "文本编号"),
        "mentions": ("mention_data", "mentions"),
        **_SPAN,
    },
    _REMARKS,
)
"""The fields of a text with its mentions; those of a mention may stand beside the text."""

MENTION_FIELDS = Fields(_SPAN, _REMARKS)
"""The fields of one mention in a list of them."""
