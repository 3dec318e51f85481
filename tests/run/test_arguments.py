"""Steps, seeds, devices and the work of several processes: what a run accepts."""

from __future__ import annotations

import pytest
import torch

from graphlandau.base import distributed
from graphlandau.run.arguments import count_steps, require_device, require_seed, require_work_for_all


def test_steps_count_and_refusals():
    assert count_steps(0.0, 5.0, 0.01) == 500
    assert count_steps(5.5, 9.5, 0.01) == 400
    assert count_steps(0.0, 0.3, 0.1) == 3
    with pytest.raises(
        ValueError, match=r"'dt' must divide t_end - t_start = 1 \(got 0.3; the nearest that does is 0.333333"
    ):
        count_steps(0.0, 1.0, 0.3)
    with pytest.raises(ValueError, match=r"'dt' must divide .* \(got 2; the nearest that does is 1\)"):
        count_steps(0.0, 1.0, 2.0)
    with pytest.raises(ValueError, match=r"'t_end' must be after the start time 5.5 \(got 5\)"):
        count_steps(5.5, 5.0, 0.1)


@pytest.mark.parametrize(("t_end", "dt"), [(1.0, 1e-320), (3.0, 5e-324), (1e300, 1e-10)])
def test_a_step_too_small_to_count_is_refused(t_end: float, dt: float):
    with pytest.raises(ValueError, match=r"'dt' must "):
        count_steps(0.0, t_end, dt)


def test_the_largest_seed_is_that_of_a_generator():
    assert require_seed(2**63 - 1) == 2**63 - 1
    torch.Generator().manual_seed(2**63 - 1)
    for bad in (2**63, -1, 1.0):
        with pytest.raises(ValueError, match="'seed' must be an integer"):
            require_seed(bad)


def test_devices_are_the_cpu_and_those_of_cuda():
    assert require_device("cuda:3") == torch.device("cuda", 3)
    assert require_device(torch.device("cpu")) == torch.device("cpu")
    for bad in ("mps", "cuda:x", "cpu:0", ""):
        with pytest.raises(ValueError, match="'device' must be cpu, cuda or cuda:N"):
            require_device(bad)


def test_every_process_has_particles_and_a_block(monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: 4)
    require_work_for_all(4, None)
    require_work_for_all(100, 25)
    with pytest.raises(ValueError, match=r"'particles' must be at least 4, one for each process \(got 3\)"):
        require_work_for_all(3, None)
    with pytest.raises(ValueError, match=r"'batch_size' must be at most 25, .* \(got 26\)"):
        require_work_for_all(100, 26)
    # Larger than the run: that is refused for another reason, where the batches are made.
    require_work_for_all(100, 101)
