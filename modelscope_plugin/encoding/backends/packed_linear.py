"""Linear layers whose weights are stored in the order in which oneDNN's matrix product reads them.

Torch multiplies float32 matrices on the CPU with a product that puts the weights in order anew at every call. For
the few hundred tokens of a batch that is a good part of the work; done once for many batches it is none. These are
the operators to which ``torch.compile`` with frozen weights turns a linear layer, without its compiler.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from modelscope_plugin.modeling.cross_encoder import CrossEncoderModel
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.types import Side

_Model = TypeVar("_Model", bound=nn.Module)


class PackedLinear(nn.Linear):
    """A linear layer that computes what the given one does, faster and for inference only.

    Args:
        linear: The layer; weight and bias are shared with it, the packed weight is a copy beside them.
    """

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply and add."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(input, self._packed, self.bias, "none", [], "")
        return product


def can_pack(model: nn.Module) -> bool:
    """True if torch has the operators and the model suits them: float32 on the CPU."""
    first = next(model.parameters())
    return (
        first.device.type == "cpu"
        and first.dtype == torch.float32
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def pack_linears(model: DualEncoder, side: Side) -> DualEncoder:
    """Copy a model with packed linear layers in one tower; all parameters are shared with the original.

    Args:
        model: The model; it stays as it is.
        side: The tower to pack.

    Returns:
        The copy. It does not follow later changes of the weights.
    """
    packed = _copy_structure(model)
    _pack_in_place(packed.mention_tower if side == "mention" else packed.entity_tower)
    return packed


def pack_cross_encoder(model: CrossEncoderModel) -> CrossEncoderModel:
    """Copy a cross encoder with packed linear layers, as `pack_linears` copies a dual encoder."""
    packed = _copy_structure(model)
    _pack_in_place(packed)
    return packed


def _copy_structure(model: _Model) -> _Model:
    """Copy a model; all parameters and buffers are shared with the original."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def _pack_in_place(model: nn.Module) -> None:
    for module in list(model.modules()):
        for name, child in module.named_children():
            # Of subclasses it is not known what else they do.
            if type(child) is nn.Linear:
                setattr(module, name, PackedLinear(child))
