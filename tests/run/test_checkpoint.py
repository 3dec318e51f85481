"""Checkpoints: bit for bit, and never anything but tensors and numbers."""

from __future__ import annotations

import pytest
import torch

from graphlandau.base.state import particle_state
from graphlandau.run.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, tensors_of


def test_checkpoint_keeps_bits_alignment_and_record(tmp_path):
    tensors = {"odd": torch.randint(0, 9, (3,)).to(torch.uint8), "v": torch.randn(7, 3), "step": torch.tensor(2.0)}
    checkpoint = Checkpoint(record={"step": 4, "wall_seconds": 0.1 + 0.2})
    checkpoint.add("state", tensors | {"shared": tensors["v"], "strided": tensors["v"].T})
    save_checkpoint(tmp_path / "c.safetensors", checkpoint)
    loaded = load_checkpoint(tmp_path / "c.safetensors")
    assert loaded.record == checkpoint.record
    for key, tensor in loaded.part("state").items():
        assert torch.equal(tensor, checkpoint.part("state")[key])
        assert tensor.data_ptr() % 64 == 0
        assert tensor.is_contiguous()


def test_checkpoint_is_a_copy(tmp_path):
    v, checkpoint = torch.zeros(2), Checkpoint()
    checkpoint.add("state", {"v": v})
    v += 1
    assert torch.equal(checkpoint.part("state")["v"], torch.zeros(2))


@pytest.mark.parametrize("content", [b"", b"no tensors here", b"\x00" * 64])
def test_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(ValueError, match="is no readable checkpoint"):
        load_checkpoint(tmp_path / "c")


def test_tensors_of_a_state_are_what_is_no_number():
    v = torch.randn(3, 2)
    assert list(tensors_of(particle_state(v, t=1.5, log_f=v[:, 0]))) == ["v", "log_f"]
