"""What a finished run says of itself: the numbers that its kind of problem is judged by, and no others."""

from __future__ import annotations

import re

import pytest

from graphlandau.cli import main as cli
from graphlandau.cli.report import HEADLINES, kind_of, report

RUN = "run --dt 0.1 --t_end 0.3 --snapshots 2 --baselines false --figures false --threads 1"
CASES = {
    "--problem anisotropic_coulomb_3d --method blob --particles 70": (
        "velocities",
        {"entropy H", "dissipation dH/dt", "distance from isotropy", "energy drift (relative)"},
        {"free energy", "KL from the exact"},
    ),
    "--problem bkw_2d --method blob --particles 60": (
        "velocities",
        {"KL from the exact", "score error (rel. Fisher)", "covariance error", "entropy H"},
        {"free energy"},
    ),
    "--problem two_stream --method vlasov --particles 300": (
        "collisionless",
        {"growth rate of the mode", "square of the field", "energy drift (relative)"},
        {"free energy", "KL from equilibrium", "frequency of the mode"},
    ),
    "--problem landau_damping --method vlasov --particles 400": (
        "collisionless",
        {"growth rate of the mode", "frequency of the mode"},
        {"free energy"},
    ),
    "--problem vfp_gaussian_1d --method langevin --particles 80": ("collisional", {"wall seconds"}, set()),
    "--problem vfp_double_well_1d --method kinetic_jko --control affine --particles 80": (
        "collisional",
        {"KL from equilibrium", "free energy"},
        {"energy drift (relative)"},
    ),
}


@pytest.mark.parametrize("line", CASES)
def test_each_kind_of_problem_has_its_numbers(line, tmp_path, capsys):
    kind, there, absent = CASES[line]
    assert cli.main([*RUN.split(), *line.split(), "--out", str(tmp_path / "a")]) == 0
    out = capsys.readouterr().out
    found = {name.strip() for name in re.findall(r"^  (\S.{0,27}\S) +\S", out, flags=re.MULTILINE)}
    assert there <= found
    assert not absent & found
    assert found <= {headline.name for headline in HEADLINES[kind]} | {"folder"}


def test_theory_is_printed_without_a_fit(tmp_path, capsys):
    line = "--problem landau_damping --method vlasov --particles 3000 --t_end 9"
    assert cli.main([*RUN.split(), *line.split(), "--out", str(tmp_path / "a")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"growth rate of the mode +not fitted +-0\.153 by the dispersion relation\n +\d of 4 falling", out)
    assert re.search(r"frequency of the mode +not fitted +1\.42 by the dispersion relation", out)


def test_numbers_stand_beside_what_they_are_compared_with():
    summary = {"problem": "p", "method": "m", "particles": 7, "t": 1.0, "steps": 2, "entropy": -1.25}
    summary |= {"entropy_equilibrium": -1.5, "equilibrium_distance": 0.25, "equilibrium_distance_mc": 0.125}
    lines = report(summary).splitlines()
    assert lines[0] == "p · m · 7 particles · t = 1 in 2 steps"
    assert lines[1].split()[2:] == ["-1.25", "-1.5", "of", "the", "Maxwellian"]
    assert lines[2].endswith("0.25        0.125 of as many samples of the Maxwellian")
    assert kind_of({"kinetic": 1.0, "epsilon": 0.0}) == "collisionless"
