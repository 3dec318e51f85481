"""A copy has the numbers of its module and shares none of them."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from graphlandau.base.copies import copied


class Keeper(nn.Module):
    """Keeps what it computed, in containers."""

    def __init__(self):
        super().__init__()
        self.layer, self.seen = nn.Linear(3, 3), {"all": []}

    def forward(self, x):
        self.seen["all"].append(self.layer(x))
        return self.seen["all"][-1].tanh()


def old_norm(norm):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return norm(nn.Linear(3, 3))


MODULES = {
    "weight norm": lambda: nn.Sequential(old_norm(nn.utils.weight_norm), nn.Tanh(), nn.Linear(3, 3)),
    "spectral norm": lambda: old_norm(nn.utils.spectral_norm),
    "parametrised": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
    "keeper": Keeper,
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_was_called_is_copied(name):
    module, x = MODULES[name](), torch.randn(5, 3)
    module(x).sum().backward()
    copy = copied(module.eval())
    assert torch.equal(copy(x), module(x))
    before = module(x)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.mul_(3.0)
    assert torch.equal(module(x), before)
    assert not torch.equal(copy(x), before)
