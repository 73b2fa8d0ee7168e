"""Parses one record of a file, a dict, as an entity or as a text: the CCKS forms and our own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import index
from typing import Any

from modelscope_plugin.data.fields import ENTITY_FIELDS, MENTION_FIELDS, TEXT_FIELDS
from modelscope_plugin.data.markers import MENTION_END, MENTION_START, parse_marked_text
from modelscope_plugin.data.records import Document, Entity, Mention, excerpt
from modelscope_plugin.data.report import ReadReport
from modelscope_plugin.data.separators import LIST_SEPARATOR, may_hold_several, split_list
from modelscope_plugin.data.values import has_value, to_python, to_text
from modelscope_plugin.errors import InputError
from modelscope_plugin.text import show

_LISTS = (list, tuple)
_FACT_KEYS = frozenset({"predicate", "object"})


def parse_entity(
    record: Mapping[str, Any], *, alias_separator: str | None = None, report: ReadReport | None = None
) -> Entity:
    """Read one entity record.

    Args:
        record: Its fields are ``id``, ``name``, ``aliases``, ``types``, ``description`` and ``facts``, under one of the
            names in `modelscope_plugin.data.fields`, those of CCKS 2019/2020 among them (``subject_id``, ``subject``,
            ``alias``, ``type``, ``data``). Lists may be one text, see `split_list`. Facts are pairs, objects with
            ``predicate`` and ``object``, or one object of values by predicate. Numbers and booleans become texts as
            `to_text` writes them; None and NaN are no value.
        alias_separator: What separates aliases, or types, in one text.
        report: Notes fields that were not read.

    Returns:
        The entity.

    Raises:
        InputError: If the id or the name is missing, or a field has the wrong type.
    """
    fields = ENTITY_FIELDS.find(tuple(record))
    keys = fields.keys
    if report is not None and fields.unknown:
        report.note_unknown_fields(fields.unknown)
    if "id" not in keys:
        raise InputError(_explain_missing_id(record))
    id_key = _choose(record, keys["id"], report)
    names = keys.get("name", ("name",))
    if id_key == "subject_id" and "subject" in names:
        names = ("subject", *(key for key in names if key != "subject"))
    description = keys.get("description")
    return Entity(
        id=_identity(record, id_key),
        name=_text(record, _choose(record, names, report)),
        aliases=_all_texts(record, keys.get("aliases", ()), alias_separator, report),
        types=_all_texts(record, keys.get("types", ()), alias_separator, None),
        description=_text(record, _choose(record, description, report), required=False) if description else "",
        facts=_all_facts(record, keys.get("facts", ()), report),
    )


def parse_entity_id(record: Mapping[str, Any]) -> str:
    """Read the id of an entity record, of which nothing else is needed.

    Raises:
        InputError: If it is missing or neither a text nor an integer.
    """
    keys = ENTITY_FIELDS.find(tuple(record)).keys
    if "id" not in keys:
        raise InputError(_explain_missing_id(record))
    return _identity(record, _choose(record, keys["id"], None))


def parse_document(record: Mapping[str, Any], *, report: ReadReport | None = None) -> Document:
    """Read one text record.

    Args:
        record: ``text`` with either ``mention_data`` (CCKS: ``kb_id``, ``mention``, ``offset``), or ``mentions``
            (a list of ``start``, ``end`` and optionally ``mention``, ``entity_ids`` or ``entity_id``), or these
            fields beside the text for one mention, or markers in the text. A ``mention`` without a position is
            looked for in the text. ``NIL`` and ``NIL_Type`` as an entity id say that the knowledge base lacks the
            entity. ``negatives`` beside them are hard negatives: ids, or objects with an ``id``. Spans that occur
            several times are merged into one mention with several gold entities. Other names of these fields are in
            `modelscope_plugin.data.fields`.
        report: Notes fields that were not read.

    Returns:
        The text and its mentions; an empty list of them says that there is none (`Document.has_no_mentions`).

    Raises:
        InputError: If the text is missing, offsets do not fit the text or the mention, a mention without a position
            is not in the text or more than once, or there is an entity id and no mention.
    """
    fields = TEXT_FIELDS.find(tuple(record))
    keys = fields.keys
    if report is not None and fields.unknown:
        report.note_unknown_fields(fields.unknown)
    text = _source_text(record, _choose(record, keys.get("text", ("text",)), report))
    text_id = _text_id(record, keys.get("text_id", ()))
    spans = None
    for key in keys.get("mentions", ()):
        if spans is None and has_value(_value(record, key)):
            spans = _records(record, key)
        elif spans and report is not None and has_value(_value(record, key)):
            report.note_unknown_fields([key])
    beside = [key for field in keys if field in MENTION_FIELDS.names for key in keys[field]]
    given = [key for key in beside if has_value(_value(record, key))]
    is_marked = MENTION_START in text or MENTION_END in text
    if spans is None and is_marked and not any(key in given for key in (*keys.get("start", ()), *keys.get("end", ()))):
        return _marked_document(record, text, text_id, keys)
    if spans is None:
        if not given:
            return Document(text, (), text_id)
        if not any(key in given for key in (*keys.get("mention", ()), *keys.get("start", ()))):
            raise InputError(f"{given[0]!r} without a mention; give 'mention', or 'start' and 'end', or markers")
        spans = [record]
    elif report is not None:
        report.note_unknown_fields(given)
    if is_marked:
        raise InputError(f"both offsets and markers in {excerpt(text)}; give one of them")
    merged: dict[tuple[int, int], Mention] = {}
    for span in spans:
        span_fields = MENTION_FIELDS.find(tuple(span))
        if report is not None and span is not record:
            report.note_unknown_fields(span_fields.unknown)
        start, end = _span(text, span, span_fields.keys)
        (ids, nil), negatives = _gold(span, span_fields.keys), _negatives(span, span_fields.keys, ())
        known = merged.get((start, end))
        if known is not None:
            ids, nil = tuple(dict.fromkeys(known.entity_ids + ids)), known.nil or nil
            negatives = known.negatives + negatives
        negatives = tuple(one for one in dict.fromkeys(negatives) if one not in ids)
        merged[start, end] = Mention(text, start, end, ids, None if ids else nil, text_id, negatives)
    return Document(text, tuple(merged.values()), text_id, has_no_mentions=not merged)


def _marked_document(
    record: Mapping[str, Any], text: str, text_id: str, keys: Mapping[str, tuple[str, ...]]
) -> Document:
    marked = parse_marked_text(text)
    assert marked is not None  # there are markers
    key = _choose(record, keys.get("mention", ("mention",)), None)
    surface = _value(record, key)
    if has_value(surface) and to_text(surface) != marked.surface:
        raise InputError(f"{key!r} is {show(surface)}, and the markers are around {marked.surface!r}; give one of them")
    ids, nil = _gold(record, keys)
    mention = Mention(marked.text, marked.start, marked.end, ids, nil, text_id, _negatives(record, keys, ids))
    return Document(marked.text, (mention,), text_id)


def _explain_missing_id(record: Mapping[str, Any]) -> str:
    message = "no entity id; an entity needs 'subject_id' (CCKS) or 'id'"
    if "text" in TEXT_FIELDS.find(tuple(record)).keys and "name" not in ENTITY_FIELDS.find(tuple(record)).keys:
        return f"{message}; this is a text, and the file one of mentions rather than a knowledge base"
    return f"{message}, and this record has {_list_keys(record)}"


def _source_text(record: Mapping[str, Any], key: str) -> str:
    value = _value(record, key)
    if isinstance(value, str):
        return value
    found = ENTITY_FIELDS.find(tuple(record)).keys
    if value is not None:
        reason = f"it is {show(value)}"
    elif "id" in found and "name" in found:
        reason = "this is an entity, and the file a knowledge base rather than one of mentions"
    else:
        reason = f"this record has {_list_keys(record)}"
    raise InputError(f"{key!r} is missing or no text; {reason}")


def _list_keys(record: Mapping[str, Any]) -> str:
    keys = [show(key) for key in record]
    shown = ", ".join(keys[:8]) or "no field"
    return f"{shown} ..." if len(keys) > 8 else shown


def _choose(record: Mapping[str, Any], keys: tuple[str, ...], report: ReadReport | None) -> str:
    """Return the first of several keys of one field that has a value; others that differ from it are noted."""
    if len(keys) == 1:
        return keys[0]
    given = [key for key in keys if has_value(_value(record, key))]
    if report is not None and len(given) > 1:
        value = _value(record, given[0])
        report.note_unknown_fields(key for key in given[1:] if str(_value(record, key)) != str(value))
    return (given or keys)[0]


def _span(text: str, span: Mapping[str, Any], keys: Mapping[str, tuple[str, ...]]) -> tuple[int, int]:
    mention_key = _choose(span, keys.get("mention", ("mention",)), None)
    start_key = _choose(span, keys.get("start", ("offset",)), None)
    end_key = _choose(span, keys.get("end", ("end",)), None)
    surface = to_python(span.get(mention_key))
    if not has_value(surface):
        surface = None
        if not has_value(_value(span, end_key)):
            raise InputError("empty mention; a mention needs 'mention', or 'start' and 'end'")
    elif not isinstance(surface, str):
        raise InputError(f"{mention_key!r} must be text, not {show(surface)}")
    if surface is not None and not has_value(_value(span, start_key)):
        start = _find_once(text, surface)
    else:
        start = _integer(span, start_key)
    end = _integer(span, end_key) if has_value(_value(span, end_key)) else start + len(surface or "")
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


def _find_once(text: str, surface: str) -> int:
    """Return where the text has a mention that is given without a position."""
    start = text.find(surface)
    if start < 0:
        raise InputError(f"mention {surface!r} is not in the text {excerpt(text)}")
    if text.find(surface, start + 1) >= 0:
        raise InputError(f"mention {surface!r} stands more than once in {excerpt(text)}; give its 'offset'")
    return start


def _gold(record: Mapping[str, Any], keys: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], str | None]:
    """The gold entities of a mention and its NIL label."""
    for key in keys.get("golds", ()):
        if not has_value(_value(record, key)):
            continue
        ids = _ids(_value(record, key), key)
        nil = next((item for item in ids if item == "NIL" or item.startswith("NIL_")), None)
        known = tuple(item for item in ids if item != "NIL" and not item.startswith("NIL_"))
        return known, None if known else nil
    return (), None


def _negatives(
    record: Mapping[str, Any], keys: Mapping[str, tuple[str, ...]], golds: tuple[str, ...]
) -> tuple[str, ...]:
    """The hard negatives of a mention, without its gold entities."""
    key = _choose(record, keys.get("negatives", ("negatives",)), None)
    value = _value(record, key)
    if not has_value(value):
        return ()
    if isinstance(value, _LISTS):
        value = [item.get("id") if isinstance(item, Mapping) else item for item in value]
    return tuple(one for one in _ids(value, key) if one not in golds)


def _ids(value: Any, key: str) -> tuple[str, ...]:
    """Entity ids from one, a list, or a text with separators; each once."""
    values = value.split(LIST_SEPARATOR) if isinstance(value, str) else value
    ids = [_id_text(to_python(item)) for item in (values if isinstance(values, _LISTS) else [values])]
    if None in ids:
        raise InputError(f"{key!r} must be an entity id or a list of them, not {show(value)}")
    return tuple(dict.fromkeys(one.strip() for one in ids if one is not None and one.strip()))


def _id_text(value: Any) -> str | None:
    """The text of an id, or None if it is none: a text, an integer, or an integer written as ``10001.0``."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    text = to_text(value)
    return text if text is not None and text.lstrip("-").isdigit() else None


def _value(record: Mapping[str, Any], key: str) -> Any:
    return to_python(record.get(key))


def _text_id(record: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    for key in keys:
        value = _value(record, key)
        if not isinstance(value, str | int | float | None):
            raise InputError(f"{key!r} must be a text or a number, not {show(value)}")
        if has_value(value):
            return to_text(value) or ""
    return ""


def _identity(record: Mapping[str, Any], key: str) -> str:
    text = _id_text(_value(record, key))
    if text is None or not text.strip():
        raise InputError(f"{key!r} is missing or empty, or no text or integer; every entity needs an id")
    return text.strip()


def _text(record: Mapping[str, Any], key: str, *, required: bool = True) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        value = _scalar(to_python(value), key)
    if value is None and not required:
        return ""
    if value is None or (required and not value.strip()):
        raise InputError(f"{key!r} is missing or no text")
    return value


def _scalar(value: Any, key: str) -> str | None:
    try:
        return to_text(value)
    except InputError:
        raise InputError(f"{key!r} is missing or no text; it is {show(value)}") from None


def _all_texts(
    record: Mapping[str, Any], keys: tuple[str, ...], separator: str | None, report: ReadReport | None
) -> tuple[str, ...]:
    """The texts of a list field that a record may have under several names."""
    if len(keys) == 1:
        return _texts(record, keys[0], separator, report)
    return tuple(dict.fromkeys(text for key in keys for text in _texts(record, key, separator, report)))


def _texts(record: Mapping[str, Any], key: str, separator: str | None, report: ReadReport | None) -> tuple[str, ...]:
    value = _value(record, key)
    if not has_value(value):
        return ()
    values = value if isinstance(value, _LISTS) else [value]
    if isinstance(value, str):
        values = split_list(value, separator)
        if report is not None and len(values) == 1 and separator is None and may_hold_several(value):
            report.note_joined_aliases(value)
    try:
        texts = [item.strip() if isinstance(item, str) else (to_text(to_python(item)) or "").strip() for item in values]
    except InputError:
        raise InputError(
            f"{key!r} must be a list of texts or one text with {LIST_SEPARATOR!r} between them, not {show(value)}"
        ) from None
    return tuple(filter(None, texts))


def _all_facts(
    record: Mapping[str, Any], keys: tuple[str, ...], report: ReadReport | None
) -> tuple[tuple[str, str], ...]:
    return tuple(fact for key in keys for fact in _facts(record, key, report)) if keys else ()


def _facts(record: Mapping[str, Any], key: str, report: ReadReport | None) -> list[tuple[str, str]]:
    given = _value(record, key)
    if isinstance(given, Mapping):
        by_predicate = [(predicate, to_python(values)) for predicate, values in given.items()]
        given = [
            (predicate, value)
            for predicate, values in by_predicate
            for value in (values if isinstance(values, _LISTS) else [values])
        ]
    facts = []
    for fact in _as_list(given, key):
        fact = to_python(fact)
        if isinstance(fact, _LISTS) and len(fact) == 2:
            pair = fact[0], fact[1]
        elif isinstance(fact, Mapping) and fact.keys() >= _FACT_KEYS:
            pair = fact["predicate"], fact["object"]
            if report is not None and len(fact) > 2:
                report.note_unknown_fields(f"{key}.{name}" for name in fact if name not in _FACT_KEYS)
        else:
            raise InputError(f"a fact in {key!r} must be a pair of texts, not {show(fact)}")
        predicate, value = pair
        try:
            predicate = predicate if isinstance(predicate, str) else to_text(to_python(predicate))
            value = value if isinstance(value, str) else to_text(to_python(value))
        except InputError:
            raise InputError(f"a fact in {key!r} must have a text as predicate and object, not {show(fact)}") from None
        if predicate is not None and value is not None:
            facts.append((predicate, value))
    return facts


def _records(record: Mapping[str, Any], key: str) -> Iterable[Mapping[str, Any]]:
    values = _as_list(_value(record, key), key)
    for value in values:
        if not isinstance(value, Mapping):
            raise InputError(f"{key!r} must be a list of objects, not of {show(value)}")
    return values


def _as_list(value: Any, key: str) -> list[Any]:
    """The items of a list field; a text may be a list in JSON, as tables hold it."""
    if not has_value(value):
        return []
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = split_list(value.strip())
    if not isinstance(value, _LISTS):
        raise InputError(f"{key!r} must be a list, not {show(value)}")
    return list(value)


def _integer(record: Mapping[str, Any], key: str) -> int:
    """An offset: an integer, or a whole number written with a decimal point, as number or text."""
    value = _value(record, key)
    try:
        if isinstance(value, str):
            number: Any = float(value) if "." in value else int(value)
        else:
            number = value
        if isinstance(number, bool) or (isinstance(number, float) and not number.is_integer()):
            raise TypeError
        return int(number) if isinstance(number, float) else index(number)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"mention {key}={show(value)} must be an integer character offset") from None
