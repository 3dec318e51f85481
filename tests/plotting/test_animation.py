"""The animation of phase space: a frame for each snapshot, in which only the particles and the time change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graphlandau.plotting import RunRecord, animate_phase_space

RunDir = Callable[[str], Path]


def test_a_frame_for_each_snapshot(kinetic_dir: RunDir, tmp_path: Path) -> None:
    run = RunRecord(kinetic_dir("vfp_gaussian_1d"))
    path = animate_phase_space(run, tmp_path / "phase.gif", frames_per_second=20)
    with Image.open(path) as picture:
        assert picture.n_frames == len(run.times) == 4
        frames, durations = [], []
        for k in range(picture.n_frames):
            picture.seek(k)
            frames.append(np.asarray(picture.convert("RGB"), dtype=int))
            durations.append(picture.info["duration"])
    assert durations == [50, 50, 50, 2000]
    assert path.stat().st_size < 4 * 30_000  # 3 MB for a hundred
    changed = np.abs(frames[0] - frames[-1]).sum(-1) > 0
    rows, columns = np.nonzero(changed)
    # The particles contract; the labels of both axes and the colour bar stand still.
    height, width = changed.shape
    assert changed.mean() > 0.05
    assert columns.min() > 0.05 * width
    assert columns.max() < 0.85 * width
    assert rows.max() < 0.9 * height


@pytest.mark.parametrize(
    ("name", "speed", "message"),
    [
        ("a.gif", 0, "'frames_per_second' must be an integer >= 1"),
        ("a.gif", 51, r"'frames_per_second' must be at most 50 \(got 51\)"),
        ("a.mp4", 10, r"'path' must end in .gif"),
    ],
)
def test_animation_refuses(kinetic_dir: RunDir, tmp_path: Path, name: str, speed: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        animate_phase_space(RunRecord(kinetic_dir("vfp_gaussian_1d")), tmp_path / name, frames_per_second=speed)
    assert not (tmp_path / name).exists()
