"""Training examples: a mention, its gold entities and its hard negatives, tokenised."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from modelscope_plugin.data.identity import check_unique_ids
from modelscope_plugin.data.records import Entity, Mention
from modelscope_plugin.data.views import entity_views
from modelscope_plugin.errors import TrainingError
from modelscope_plugin.modeling.tokenization import EntityTokenizer
from modelscope_plugin.types import TokenIds

# Texts tokenised at once.
_CHUNK = 8192


@dataclass(frozen=True)
class Example:
    """A mention with its gold entities and hard negatives.

    Attributes:
        mention: Tokens of the mention.
        golds: Rows of its gold entities in `Examples.entities`; at least one.
        negatives: Rows of its hard negatives.
    """

    mention: TokenIds
    golds: tuple[int, ...]
    negatives: tuple[int, ...]


class EntityTokens:
    """The tokens of many entities, by row; a million short ones take some 200 MB.

    Entities of the same texts share a row.

    Args:
        tokenizer: Tokenizer and window.
        max_views: Texts of an entity at most (see `modelscope_plugin.data.views`).
    """

    def __init__(self, tokenizer: EntityTokenizer, max_views: int = 1) -> None:
        self.max_views = max_views
        self._tokenizer = tokenizer
        self._tokens = array("I")
        self._ends = array("Q", [0])
        self._firsts = array("Q", [0])
        self._rows: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._firsts) - 1

    def __getitem__(self, row: int) -> TokenIds:
        """The tokens of a whole entity."""
        return self._text(self._firsts[row])

    def views(self, row: int) -> list[TokenIds]:
        """The tokens of all views of an entity, first the whole."""
        return [self._text(text) for text in range(self._firsts[row], self._firsts[row + 1])]

    def _text(self, text: int) -> TokenIds:
        return self._tokens[self._ends[text] : self._ends[text + 1]].tolist()

    def add(self, entities: Sequence[Entity]) -> list[int]:
        """Tokenise entities.

        Returns:
            The row of each; entities whose texts are the same, as far as the window goes, share one.
        """
        rows = []
        texts = [entity_views(entity, self.max_views) for entity in entities]
        tokens = iter(self._tokenizer.entity_ids([text for views in texts for text in views]))
        for views in texts:
            packed = [array("I", next(tokens)) for _ in views]
            digest = hashlib.blake2b(array("Q", map(len, packed)), digest_size=12)
            for view in packed:
                digest.update(view)
            row = self._rows.setdefault(digest.digest(), len(self))
            if row == len(self):
                for view in packed:
                    self._tokens.extend(view)
                    self._ends.append(len(self._tokens))
                self._firsts.append(len(self._ends) - 1)
            rows.append(row)
        return rows

    def length(self, row: int) -> int:
        """How many tokens a whole entity has."""
        first = self._firsts[row]
        return self._ends[first + 1] - self._ends[first]


class Examples(Sequence[Example]):
    """The training examples of a knowledge base and its labelled mentions.

    Args:
        entities: The knowledge base; without ``whole`` only entities that a mention refers to are kept.
        mentions: The mentions; those without a label and NIL mentions are left out.
        tokenizer: Tokenizer and window.
        skip_unknown: Whether to leave out gold entities and negatives that the knowledge base lacks.
        whole: Whether to keep all entities, for random negatives.
        views: Texts of an entity at most.

    Attributes:
        entities: Tokens of the entities that are kept.
        counts: How many mentions are used, and how many are left out for which reason; how many different gold
            entities there are.

    Raises:
        TrainingError: If no mention is usable, or the knowledge base lacks an entity.
        InputError: If an id in the knowledge base is empty or stands twice.
    """

    def __init__(
        self,
        entities: Iterable[Entity],
        mentions: Iterable[Mention],
        tokenizer: EntityTokenizer,
        *,
        skip_unknown: bool = False,
        whole: bool = False,
        views: int = 1,
    ) -> None:
        given = list(mentions)
        labelled = [mention for mention in given if mention.entity_ids]
        golds = {one for mention in labelled for one in mention.entity_ids}
        wanted = golds.union(*(mention.negatives for mention in labelled))
        found: dict[str, int] = {}
        self.entities = EntityTokens(tokenizer, views)
        stream = (entity for entity in check_unique_ids(entities) if whole or entity.id in wanted)
        while chunk := list(islice(stream, max(1, _CHUNK // views))):
            rows = self.entities.add(chunk)
            found |= {entity.id: row for entity, row in zip(chunk, rows, strict=True) if entity.id in wanted}
        usable = [mention for mention in labelled if any(gold in found for gold in mention.entity_ids)]
        if not usable:
            raise TrainingError(
                f"none of the {len(given)} training mentions has a gold entity in the knowledge base"
                + (f" (it lacks {min(golds)!r}, for one)" if golds else "")
                + "; check that both files belong together"
            )
        if not skip_unknown:
            check_known(labelled, found)
        nil = sum(mention.nil is not None for mention in given if not mention.entity_ids)
        self.counts = {
            "mentions": len(usable),
            "entities": len(golds & found.keys()),
            "nil": nil,
            "unlabelled": len(given) - len(labelled) - nil,
            "unknown": len(labelled) - len(usable),
        }
        self._items = [
            _make_example(
                tokens,
                [found[one] for one in mention.entity_ids if one in found],
                [found[one] for one in mention.negatives if one in found],
            )
            for mention, tokens in zip(usable, tokenizer.mention_ids(usable), strict=True)
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, position: int) -> Example:  # type: ignore[override]
        return self._items[position]


def _make_example(mention: TokenIds, golds: list[int], negatives: list[int]) -> Example:
    # By row, so that an entity with the very text of a gold one is no negative either.
    others = [one for one in dict.fromkeys(negatives) if one not in golds]
    return Example(mention, tuple(dict.fromkeys(golds)), tuple(others))


def check_known(mentions: Iterable[Mention], known: Collection[str]) -> None:
    """Raise `TrainingError` if mentions have gold entities or negatives that the knowledge base lacks."""
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
