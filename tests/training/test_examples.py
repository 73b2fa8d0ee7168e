from __future__ import annotations

import pytest
from conftest import ENTITIES, MENTIONS
from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.data import Entity, Mention, entity_text
from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.errors import InputError, TrainingError
from modelscope_plugin.training.examples import EntityTokens, Examples

APPLE = Mention("苹果", 0, 2, ("apple-inc", "apple-fruit"), negatives=("apple-film", "roc", "apple-inc"))


def test_examples_hold_golds_and_negatives_by_their_place(encoder: EntityEncoder) -> None:
    examples = Examples(ENTITIES, [*MENTIONS, APPLE], encoder.tokenizer)
    texts = [entity_text(entity) for entity in ENTITIES]
    assert [examples.entities[place] for place in range(6)] == encoder.tokenizer.entity_ids(texts)
    assert examples.counts == {"mentions": 7, "entities": 6, "nil": 0, "unlabelled": 0, "unknown": 0}
    # A gold entity is no negative, whatever the file says.
    assert (examples[6].golds, examples[6].negatives) == ((0, 1), (2, 4))
    assert examples[6].mention == encoder.tokenizer.mention_ids([APPLE])[0]


def test_examples_keep_other_entities_only_where_they_are_wanted(encoder: EntityEncoder) -> None:
    assert len(Examples(ENTITIES, MENTIONS[:2], encoder.tokenizer).entities) == 2
    whole = Examples(ENTITIES, MENTIONS[-1:], encoder.tokenizer, whole=True)
    assert len(whole.entities) == 6
    assert whole[0].golds == (5,)


def test_examples_leave_nil_mentions_out(encoder: EntityEncoder) -> None:
    others = [Mention("大鹏", 0, 2, nil="NIL_Person"), Mention("大鹏", 0, 2), Mention("大鹏", 0, 2)]
    examples = Examples(ENTITIES, [*MENTIONS, *others], encoder.tokenizer)
    assert len(examples) == 6
    assert (examples.counts["nil"], examples.counts["unlabelled"]) == (1, 2)


@pytest.mark.parametrize(
    "mention", [Mention("某某", 0, 2, ("Q404",)), Mention("苹果", 0, 2, ("apple-inc",), negatives=("Q404",))]
)
def test_entity_that_is_not_in_the_kb_is_an_error_with_a_remedy(encoder: EntityEncoder, mention: Mention) -> None:
    with pytest.raises(TrainingError, match=rf"lacks 1 entities .*'Q404' of mention '{mention.surface}'.*--skip-unkno"):
        Examples(ENTITIES, [*MENTIONS, mention], encoder.tokenizer)


def test_unknown_entities_can_be_left_out(encoder: EntityEncoder) -> None:
    several = Mention("苹果", 0, 2, ("Q404", "apple-inc"), negatives=("Q405", "roc"))
    examples = Examples(
        ENTITIES, [Mention("某某", 0, 2, ("Q404",)), several], encoder.tokenizer, skip_unknown=True, whole=True
    )
    assert [(example.golds, example.negatives) for example in examples] == [((0,), (4,))]
    assert examples.counts["unknown"] == 1


@pytest.mark.parametrize(("again", "message"), [("roc", "id 'roc' stands twice"), (" ", "there is an empty id")])
def test_ids_of_the_kb_are_checked(encoder: EntityEncoder, again: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Examples([*ENTITIES, Entity(again, "名")], MENTIONS, encoder.tokenizer)


def test_entity_with_the_text_of_a_gold_is_no_negative(encoder: EntityEncoder) -> None:
    double = Entity("double", "长江", ("扬子江",), ("Location",), "亚洲最长的河流，流经上海入海。")
    mention = Mention("长江", 0, 2, ("river",), negatives=("double", "roc"))
    examples = Examples([*ENTITIES, double], [mention], encoder.tokenizer, whole=True)
    assert (examples[0].golds, examples[0].negatives) == ((5,), (4,))
    assert len(examples.entities) == 6


@pytest.mark.parametrize("mentions", [[], [Mention("某某", 0, 2, ("Q404",))], [Mention("某某", 0, 2, nil="NIL")]])
def test_no_usable_mention_raises(encoder: EntityEncoder, mentions: list[Mention]) -> None:
    with pytest.raises(TrainingError, match="has a gold entity in the knowledge base"):
        Examples(ENTITIES, mentions, encoder.tokenizer)


@given(names=st.lists(st.text("苹果大鹏ab ", max_size=9), max_size=20))
def test_entity_tokens_are_those_of_the_tokenizer(encoder: EntityEncoder, names: list[str]) -> None:
    entities = [Entity(str(place), f"名{name}") for place, name in enumerate(names)]
    tokens = EntityTokens(encoder.tokenizer)
    places = tokens.add(entities[:7]) + tokens.add(entities[7:])
    expected = encoder.tokenizer.entity_ids([entity_text(entity) for entity in entities])
    assert [tokens[place] for place in places] == expected
    assert [tokens.length(place) for place in places] == [len(ids) for ids in expected]
    assert len(tokens) == len({tuple(ids) for ids in expected})
