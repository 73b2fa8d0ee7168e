from __future__ import annotations

from conftest import MENTIONS

from modelscope_plugin.encoding import EntityEncoder
from modelscope_plugin.evaluation.fitting.fit_fusion import fit_fusion
from modelscope_plugin.retrieval import EntityIndex


def test_fitted_weights_trust_what_finds_the_gold(encoder: EntityEncoder, index: EntityIndex) -> None:
    fusion = fit_fusion(encoder, index, MENTIONS)
    assert fusion.method == "weighted_sum"
    assert fusion.names > 0
    assert index.fitted.get_fusion() == fusion
    assert fusion.learned == 0.0
