"""Parses one record of a file, a dict, as an entity or as a text: the CCKS forms and our own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import index
from typing import Any

from modelscope_plugin.data.markers import MENTION_END, MENTION_START, parse_marked_text
from modelscope_plugin.data.records import Document, Entity, Mention, excerpt
from modelscope_plugin.errors import InputError

_LIST_SEPARATOR = "|"


def parse_entity(record: Mapping[str, Any]) -> Entity:
    """Read one entity record.

    Args:
        record: Either CCKS 2019/2020 (``subject_id``, ``subject``, ``alias``, ``type``, ``data``) or this
            package's own form (``id``, ``name``, ``aliases``, ``types``, ``description``, ``facts``).
            Lists may be ``|``-joined strings.

    Returns:
        The entity.

    Raises:
        InputError: If the id or the name is missing, or a field has the wrong type.
    """
    if "subject_id" in record:
        return Entity(
            id=_identity(record, "subject_id"),
            name=_text(record, "subject"),
            aliases=_texts(record, "alias"),
            types=_texts(record, "type"),
            facts=_facts(record, "data"),
        )
    if "id" in record:
        return Entity(
            id=_identity(record, "id"),
            name=_text(record, "name"),
            aliases=_texts(record, "aliases"),
            types=_texts(record, "types"),
            description=_text(record, "description", required=False),
            facts=_facts(record, "facts"),
        )
    raise InputError("no entity id; an entity needs 'subject_id' (CCKS) or 'id'")


def parse_document(record: Mapping[str, Any]) -> Document:
    """Read one text record.

    Args:
        record: ``text`` with either ``mention_data`` (CCKS: ``kb_id``, ``mention``, ``offset``), or ``mentions``
            (a list of ``start``, ``end`` and optionally ``mention``, ``entity_ids`` or ``entity_id``), or these
            fields beside the text for one mention, or markers in the text. ``NIL`` and ``NIL_Type`` as an
            entity id say that the knowledge base lacks the entity. ``negatives`` beside them are hard
            negatives: ids, or objects with an ``id``. Spans that occur several times are merged into one
            mention with several gold entities.

    Returns:
        The text and its mentions; an empty list of them says that there is none (`Document.has_no_mentions`).

    Raises:
        InputError: If the text is missing, or offsets do not fit the text or the mention.
    """
    text = _text(record, "text", blank=True)
    text_id = _text_id(record)
    if _has(record, "mention_data"):
        spans = _records(record, "mention_data")
    elif _has(record, "mentions"):
        spans = _records(record, "mentions")
    elif _has(record, "start") or _has(record, "offset"):
        spans = [record]
    else:
        marked = parse_marked_text(text)
        if marked is None:
            return Document(text, (), text_id)
        ids, nil = _gold(record)
        mention = Mention(marked.text, marked.start, marked.end, ids, nil, text_id, _negatives(record, ids))
        return Document(marked.text, (mention,), text_id)
    if MENTION_START in text or MENTION_END in text:
        raise InputError(f"both offsets and markers in {excerpt(text)}; give one of them")
    merged: dict[tuple[int, int], Mention] = {}
    for span in spans:
        start, end = _span(text, span)
        (ids, nil), negatives = _gold(span), _negatives(span, ())
        known = merged.get((start, end))
        if known is not None:
            ids, nil = tuple(dict.fromkeys(known.entity_ids + ids)), known.nil or nil
            negatives = known.negatives + negatives
        negatives = tuple(one for one in dict.fromkeys(negatives) if one not in ids)
        merged[start, end] = Mention(text, start, end, ids, None if ids else nil, text_id, negatives)
    return Document(text, tuple(merged.values()), text_id, has_no_mentions=not merged)


def _span(text: str, span: Mapping[str, Any]) -> tuple[int, int]:
    surface = _value(span, "mention")
    if not _has(span, "mention"):
        surface = None
        if "end" not in span:
            raise InputError("empty mention; a mention needs 'mention', or 'start' and 'end'")
    elif not isinstance(surface, str):
        raise InputError(f"'mention' must be text, not {surface!r}")
    start = _integer(span, "start" if _has(span, "start") else "offset")
    end = _integer(span, "end") if _has(span, "end") else start + len(surface or "")
    if start < 0 or end > len(text):
        raise InputError(
            f"mention offsets {start}:{end} lie outside the text of {len(text)} characters {excerpt(text)}"
        )
    if surface is not None and text[start:end] != surface:
        raise InputError(
            f"mention {surface!r} is not at offset {start} of {excerpt(text)}, where "
            f"{text[start : start + len(surface)]!r} is; offsets count characters from 0"
        )
    return start, end


def _gold(record: Mapping[str, Any]) -> tuple[tuple[str, ...], str | None]:
    """The gold entities of a mention and its NIL label."""
    for key in ("entity_ids", "entity_id", "kb_id"):
        if not _has(record, key):
            continue
        ids = _ids(_value(record, key), key)
        nil = next((item for item in ids if item == "NIL" or item.startswith("NIL_")), None)
        known = tuple(item for item in ids if item != "NIL" and not item.startswith("NIL_"))
        return known, None if known else nil
    return (), None


def _negatives(record: Mapping[str, Any], golds: tuple[str, ...]) -> tuple[str, ...]:
    """The hard negatives of a mention, without its gold entities."""
    if not _has(record, "negatives"):
        return ()
    value = _value(record, "negatives")
    if isinstance(value, list | tuple):
        value = [item.get("id") if isinstance(item, Mapping) else item for item in value]
    return tuple(one for one in _ids(value, "negatives") if one not in golds)


def _ids(value: Any, key: str) -> tuple[str, ...]:
    """Entity ids from one, a list, or a text with separators; each once."""
    values = value.split(_LIST_SEPARATOR) if isinstance(value, str) else value
    values = [to_python(item) for item in (values if isinstance(values, list | tuple) else [values])]
    if not all(isinstance(item, str | int) and not isinstance(item, bool) for item in values):
        raise InputError(f"{key!r} must be an entity id or a list of them, not {value!r}")
    return tuple(dict.fromkeys(str(item).strip() for item in values if str(item).strip()))


def to_python(value: Any) -> Any:
    """Return a numpy array as a list and a numpy scalar as a Python one; all else as it is.

    Compared with a text or None, an array compares each of its items.
    """
    return value.tolist() if hasattr(value, "tolist") and not isinstance(value, type) else value


def _value(record: Mapping[str, Any], key: str) -> Any:
    return to_python(record.get(key))


def _has(record: Mapping[str, Any], key: str) -> bool:
    """True if a field has a value; an empty text, such as an empty cell of a CSV file, is none."""
    value = _value(record, key)
    return value is not None and not (isinstance(value, str) and not value)


def _text_id(record: Mapping[str, Any]) -> str:
    value = _value(record, "text_id")
    if not isinstance(value, str | int | float | None):
        raise InputError(f"'text_id' must be a text or a number, not {value!r}")
    return "" if value is None else str(value)


def _identity(record: Mapping[str, Any], key: str) -> str:
    value = _value(record, key)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{key!r} is missing or empty; every entity needs an id")
    return value.strip()


def _text(record: Mapping[str, Any], key: str, *, required: bool = True, blank: bool = False) -> str:
    value = _value(record, key)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not blank and not value.strip()):
        raise InputError(f"{key!r} is missing or no text")
    return value


def _texts(record: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = _value(record, key)
    if value is None:
        return ()
    if isinstance(value, str):
        value = value.split(_LIST_SEPARATOR)
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise InputError(f"{key!r} must be a list of texts or one text with {_LIST_SEPARATOR!r} between them")
    return tuple(item.strip() for item in value if item.strip())


def _facts(record: Mapping[str, Any], key: str) -> tuple[tuple[str, str], ...]:
    facts = []
    for fact in map(to_python, _as_list(record, key)):
        if isinstance(fact, Mapping):
            predicate, value = fact.get("predicate"), fact.get("object")
        elif isinstance(fact, list | tuple) and len(fact) == 2:
            predicate, value = fact
        else:
            raise InputError(f"a fact in {key!r} must be a pair of texts, not {fact!r}")
        if not isinstance(predicate, str) or not isinstance(value, str):
            raise InputError(f"a fact in {key!r} must have a text as predicate and object, not {fact!r}")
        facts.append((predicate, value))
    return tuple(facts)


def _records(record: Mapping[str, Any], key: str) -> Iterable[Mapping[str, Any]]:
    values = _as_list(record, key)
    for value in values:
        if not isinstance(value, Mapping):
            raise InputError(f"{key!r} must be a list of objects, not of {value!r}")
    return values


def _as_list(record: Mapping[str, Any], key: str) -> list[Any]:
    if not _has(record, key):
        return []
    value = _value(record, key)
    if not isinstance(value, list | tuple):
        raise InputError(f"{key!r} must be a list, not {value!r}")
    return list(value)


def _integer(record: Mapping[str, Any], key: str) -> int:
    value = _value(record, key)
    try:
        if isinstance(value, bool):
            raise TypeError
        return int(value) if isinstance(value, str) else index(value)
    except (TypeError, ValueError):
        raise InputError(f"mention {key}={value!r} must be an integer character offset") from None
