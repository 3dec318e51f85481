"""Forward and reverse mode give the same derivatives, to be trained through."""

from __future__ import annotations

import torch
from torch import nn

from graphlandau.base.derivatives import elementary_attention, forward_mode, jacobian_product, reverse_mode


def test_both_modes_agree_with_their_gradients():
    network = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4)).double()
    x, y = torch.randn(6, 2).double(), torch.randn(6, 3).double()
    directions = torch.randn(4, 2).double(), torch.randn(4, 3).double()
    found = {}
    for mode in (forward_mode, reverse_mode):
        value, jacobian = mode(lambda x, y: network(torch.cat([x, y], -1)), (x, y), directions)
        network.zero_grad()
        (value.sum() + jacobian.square().sum()).backward()
        found[mode] = [value, jacobian, *(p.grad.clone() for p in network.parameters() if p.grad is not None)]
    assert len(found[forward_mode]) > 4
    for a, b in zip(found[forward_mode], found[reverse_mode], strict=True):
        torch.testing.assert_close(a, b)


def test_reverse_mode_of_what_does_not_depend_is_zero_and_records_nothing_unasked():
    x = torch.randn(4, 3)
    assert torch.equal(reverse_mode(lambda x: torch.ones(4, 2), (x,), (torch.eye(3),))[1], torch.zeros(4, 2, 3))
    with torch.no_grad():
        value, jacobian = reverse_mode(torch.sin, (x,), (torch.eye(3),))
    assert not value.requires_grad
    assert not jacobian.requires_grad
    assert not x.requires_grad
    torch.testing.assert_close(jacobian, torch.diag_embed(x.cos()))


def test_products_have_one_mean():
    network, x, z = nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.Linear(5, 3)), torch.randn(9, 3), torch.randn(9, 3)
    ahead, back = (jacobian_product(network, x, z, reverse)[1] for reverse in (False, True))
    assert not torch.allclose(ahead, back)
    torch.testing.assert_close((ahead * z).sum(), (back * z).sum())


def test_the_choice_of_attention_is_put_back():
    before = torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled()
    with elementary_attention():
        assert not torch.backends.mha.get_fastpath_enabled()
        assert not torch.backends.cuda.flash_sdp_enabled()
    assert (torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled()) == before
