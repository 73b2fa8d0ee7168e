"""Training examples: a mention, its gold entities and its hard negatives, tokenised."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from modelscope_plugin.data.entity_text import entity_text
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.errors import TrainingError
from modelscope_plugin.preprocessors.tokenization import EntityTokenizer, TokenIds

# Entities tokenised at once.
_CHUNK = 8192


@dataclass(frozen=True)
class Example:
    """A mention with what it should be near to and far from.

    Attributes:
        mention: Tokens of the mention.
        golds: Its gold entities, as places in `Examples.entities`; at least one.
        negatives: Its hard negatives, likewise.
    """

    mention: TokenIds
    golds: tuple[int, ...]
    negatives: tuple[int, ...]


class EntityTokens:
    """The tokens of many entities in little memory; a million short ones take some 100 MB.

    Args:
        tokenizer: Tokenizer and window.
    """

    def __init__(self, tokenizer: EntityTokenizer) -> None:
        self._tokenizer = tokenizer
        self._waiting: list[str] = []
        self._tokens = array("I")
        self._ends = array("Q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1 + len(self._waiting)

    def __getitem__(self, place: int) -> TokenIds:
        return self._tokens[self._ends[place] : self._ends[place + 1]].tolist()

    def append(self, entity: Entity) -> None:
        """Take an entity in; call `flush` after the last one."""
        self._waiting.append(entity_text(entity))
        if len(self._waiting) == _CHUNK:
            self.flush()

    def flush(self) -> None:
        """Tokenise the entities that wait."""
        for tokens in self._tokenizer.entity_ids(self._waiting):
            self._tokens.extend(tokens)
            self._ends.append(len(self._tokens))
        self._waiting.clear()

    def length(self, place: int) -> int:
        """How many tokens an entity has."""
        return self._ends[place + 1] - self._ends[place]


class Examples(Sequence[Example]):
    """The training examples of a knowledge base and its labelled mentions.

    Args:
        entities: The knowledge base; only entities that a mention refers to are kept.
        mentions: The mentions; those without a label and NIL mentions are left out.
        tokenizer: Tokenizer and window.
        skip_unknown: Whether to leave out gold entities and negatives that the knowledge base lacks.
        whole: Whether to keep all entities, for random negatives.

    Attributes:
        entities: Tokens of the entities that are kept.
        golds: How many different gold entities there are.

    Raises:
        TrainingError: If no mention is usable, or the knowledge base lacks an entity.
    """

    def __init__(
        self,
        entities: Iterable[Entity],
        mentions: Iterable[Mention],
        tokenizer: EntityTokenizer,
        *,
        skip_unknown: bool = False,
        whole: bool = False,
    ) -> None:
        given = list(mentions)
        labelled = [mention for mention in given if mention.entity_ids]
        golds = {one for mention in labelled for one in mention.entity_ids}
        wanted = golds.union(*(mention.negatives for mention in labelled))
        found: dict[str, int] = {}
        self.entities = EntityTokens(tokenizer)
        for place, entity in enumerate(entity for entity in entities if whole or entity.id in wanted):
            self.entities.append(entity)
            if entity.id in wanted:
                found[entity.id] = place
        self.entities.flush()
        usable = [mention for mention in labelled if any(gold in found for gold in mention.entity_ids)]
        if not usable:
            raise TrainingError(
                f"none of the {len(given)} training mentions has a gold entity in the knowledge base"
                + (f" (it lacks {min(golds)!r}, for one)" if golds else "")
                + "; check that both files belong together"
            )
        if not skip_unknown:
            _check_known(labelled, found)
        self.golds = len(golds & found.keys())
        self._items = [
            Example(
                tokens,
                tuple(found[one] for one in mention.entity_ids if one in found),
                tuple(found[one] for one in mention.negatives if one in found and one not in mention.entity_ids),
            )
            for mention, tokens in zip(usable, tokenizer.mention_ids(usable), strict=True)
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, place: int) -> Example:  # type: ignore[override]
        return self._items[place]


def _check_known(mentions: Iterable[Mention], known: Collection[str]) -> None:
    missing: dict[str, str] = {}
    for mention in mentions:
        for one in (*mention.entity_ids, *mention.negatives):
            if one not in known:
                missing.setdefault(one, mention.surface)
    if missing:
        one, surface = next(iter(missing.items()))
        raise TrainingError(
            f"the knowledge base lacks {len(missing)} entities that the training mentions refer to ({one!r} of mention "
            f"{surface!r}, for one); add them, or leave such mentions out with train.skip_unknown (--skip-unknown)"
        )
