"""The layout's two traps: a folder named triton, and a torchvision built for CUDA."""

import importlib.metadata
import subprocess
import sys

import pytest

from data_prep.paths import ROOT

MAKE_OPTIMIZER = (
    "import torch; torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))]).step()"
)


def run_from_root(code: str) -> subprocess.CompletedProcess:
    """Run code as a script started in the root would: with the root on sys.path."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_an_optimizer_works_with_the_folder_triton_on_the_path():
    assert (ROOT / "triton").is_dir()
    done = run_from_root(f"import training; {MAKE_OPTIMIZER}")
    assert done.returncode == 0, done.stderr


def test_without_the_guard_the_folder_breaks_torch_so_the_guard_is_needed():
    installed = {d.metadata["Name"] for d in importlib.metadata.distributions()}
    if "triton" in installed:
        pytest.skip("the real triton library is installed and hides the folder")
    assert run_from_root(MAKE_OPTIMIZER).returncode != 0


def test_the_guard_leaves_a_real_triton_library_alone(tmp_path):
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton" / "__init__.py").write_text("language = 'real'")
    done = run_from_root(
        f"sys.path.insert(0, {str(tmp_path)!r}); import training, triton; "
        "assert triton.language == 'real'"
    )
    assert done.returncode == 0, done.stderr


def test_the_triton_folder_is_no_package():
    assert not list((ROOT / "triton").rglob("__init__.py"))


def test_torchvision_models_build_beside_any_build_of_torch():
    done = run_from_root(
        "import training; from training.models import build_model; import torch; "
        "m = build_model('mobilenet_v3_small', 7, 64).eval(); "
        "assert m(torch.zeros(2, 3, 64, 64)).shape == (2, 7)"
    )
    assert done.returncode == 0, done.stderr
