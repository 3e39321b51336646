"""The environment the embedded tritonserver runs in: checked, described, prepared.

Its Python (``.venv-serving``) is not ours: it has the package versions of the Triton
image, and the server binary from the nvidia-pytriton wheel.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from data_prep.errors import InputError
from data_prep.paths import ROOT

SERVING_PYTHON = ROOT / ".venv-serving" / "bin" / "python"
ONNXRUNTIME_BACKEND = (
    ROOT / "triton" / "server" / "backends" / "onnxruntime" / "model.py"
)
PACKAGES = ("nvidia-pytriton", "numpy", "onnxruntime", "opencv-python-headless")

# Run by the serving environment's Python: what the launcher must know of it. The
# packages are looked up without importing them. "libdir" is the folder of libpython,
# "" where the system knows it (Debian), null where there is none.
DESCRIBE = """
import ctypes, importlib.metadata, importlib.util, json, os, sys, sysconfig
found = {"python": "%d.%d" % sys.version_info[:2]}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found[name] = None
spec = importlib.util.find_spec("pytriton")
found["pytriton"] = spec and spec.submodule_search_locations[0]
library = "libpython%s.so.1.0" % found["python"]
folders = [sysconfig.get_config_var("LIBDIR"), os.path.join(sys.base_prefix, "lib")]
folders = [x for x in folders if x and os.path.exists(os.path.join(x, library))]
found["libdir"] = folders[0] if folders else ""
if not folders:
    try:
        ctypes.CDLL(library)
    except OSError:
        found["libdir"] = None
print(json.dumps(found))
"""


def describe() -> dict:
    """Describe the environment of the embedded server, having checked it.

    Raises:
        InputError: It is missing, or what it holds would not serve correctly.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise InputError(
            f"the embedded tritonserver runs on Linux x86_64, this is "
            f"{platform.system()} {platform.machine()}; use scripts/serve --docker"
        )
    remedy = "run scripts/setup serving"
    if not SERVING_PYTHON.exists():
        raise InputError(f"the serving environment is missing; {remedy}")
    answer = subprocess.run(
        [SERVING_PYTHON, "-I", "-c", DESCRIBE, *PACKAGES],
        capture_output=True,
        text=True,
    )
    if answer.returncode:
        raise InputError(
            f"{SERVING_PYTHON} does not start ({answer.stderr.strip()[-200:]}); "
            f"delete {SERVING_PYTHON.parent.parent}, then {remedy}"
        )
    found = json.loads(answer.stdout)
    if found["numpy"] and int(found["numpy"].split(".")[0]) >= 2:
        # tensors would arrive wrong, without any error
        raise InputError(
            f"the serving environment has numpy {found['numpy']}, this tritonserver "
            f"needs one below 2; {remedy}"
        )
    for name in PACKAGES:
        if found[name] is None:
            raise InputError(f"the serving environment lacks {name}; {remedy}")
    if found["libdir"] is None:
        raise InputError(
            f"there is no libpython{found['python']}.so.1.0, which tritonserver needs; "
            f"install it (Debian: apt install libpython{found['python']}), or delete "
            f"{SERVING_PYTHON.parent.parent}, set PYTHON to a shared build and {remedy}"
        )
    return found


def variables(serving: dict) -> dict[str, str]:
    """Build the variables that make Triton's Python stubs use our environment."""
    values = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    values["PATH"] = f"{SERVING_PYTHON.parent}:{os.environ.get('PATH', os.defpath)}"
    libraries = [serving["libdir"], os.environ.get("LD_LIBRARY_PATH")]
    values["LD_LIBRARY_PATH"] = ":".join(filter(None, libraries))
    return values


def backend_directory(serving: dict, state: Path) -> Path:
    """Make the directory of backends if it is not there: "python" and "onnxruntime".

    The name carries a hash of all that goes in, so servers can share one.
    """
    package = Path(serving["pytriton"]) / "tritonserver"
    stub = Path(
        package, "python_backend_stubs", serving["python"], "triton_python_backend_stub"
    )
    if not stub.exists():
        raise InputError(
            f"nvidia-pytriton has nothing for Python {serving['python']}; make the "
            "serving environment with Python 3.11"
        )
    source = ONNXRUNTIME_BACKEND.read_bytes()
    made_of = f"{package}\n{serving['nvidia-pytriton']}\n{stub}\n".encode() + source
    folder = state / f"backends-{hashlib.sha256(made_of).hexdigest()[:12]}"
    if folder.exists():
        return folder
    with tempfile.TemporaryDirectory(dir=state, prefix=".backends-") as temporary:
        staged = Path(temporary) / folder.name
        python = staged / "python"
        python.mkdir(parents=True)
        # The library must be a copy: Triton refuses a link for Python-based backends.
        # The stub must be a link: it finds its own libraries beside the original.
        for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
            shutil.copy(package / "backends" / "python" / name, python / name)
        (python / stub.name).symlink_to(stub)
        (staged / "onnxruntime").mkdir()
        (staged / "onnxruntime" / "model.py").write_bytes(source)
        try:
            os.rename(staged, folder)
        except OSError:  # another server was faster
            if not folder.exists():
                raise
    return folder
