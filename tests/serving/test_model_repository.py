import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_model import make_artifacts, make_newer_artifacts

from data_prep import image_file, preprocessing
from data_prep.errors import InputError
from data_prep.paths import ROOT
from pipelines.repository import model_config, model_parts, versions
from pipelines.serving import deployment


def files_in(folder: Path) -> set[str]:
    return {str(x.relative_to(folder)) for x in folder.rglob("*") if x.is_file()}


@pytest.fixture
def repository(tmp_path):
    return tmp_path / "models"


def test_a_first_deployment_is_complete_and_leaves_nothing_staged(
    artifacts, repository
):
    assert versions.render(artifacts, repository, {"task_id": "t"}) == 1

    assert files_in(repository) == {
        ".lock",
        ".last-version",
        "current.json",
        "asl/config.pbtxt",
        "asl/1/README",
        "asl/1/deployment.json",
        "asl_classifier/config.pbtxt",
        "asl_classifier/1/README",
        "asl_classifier_1/config.pbtxt",
        "asl_classifier_1/classes.txt",
        "asl_classifier_1/golden.npz",
        "asl_classifier_1/golden_raw.npz",
        "asl_classifier_1/warmup/pixels",
        "asl_classifier_1/1/model.onnx",
        "asl_fused_1/config.pbtxt",
        "asl_fused_1/classes.txt",
        "asl_fused_1/warmup/photograph",
        "asl_fused_1/1/__pycache__",
        "asl_fused_1/1/image_file.py",
        "asl_fused_1/1/metrics.py",
        "asl_fused_1/1/model.py",
        "asl_fused_1/1/model.onnx",
        "asl_fused_1/1/photographs.py",
        "asl_fused_1/1/preprocessing.py",
        "asl_fused_1/1/preprocessing.json",
    }
    assert not list(repository.rglob(".staging-*"))
    for source in map(Path, (image_file.__file__, preprocessing.__file__)):
        served = repository / "asl_fused_1/1" / source.name
        assert served.read_bytes() == source.read_bytes()


def test_another_training_becomes_the_next_version_and_its_shapes_the_configs(
    artifacts, other_artifacts, repository
):
    versions.render(artifacts, repository, {"task_id": "first"})
    before = {
        name: (repository / name).read_bytes()
        for name in files_in(repository)
        if "_1/" in name or "/1/" in name
    }

    assert versions.render(other_artifacts, repository, {"task_id": "2nd"}) == 2

    def config(model):
        path = repository / model / "config.pbtxt"
        return model_config.from_text(path.read_text())

    assert list(config("asl_classifier").input[0].dims) == [48, 48, 3]
    assert list(config("asl_classifier").output[0].dims) == [2]
    assert list(config("asl_fused_2").output[0].dims) == [2]
    assert list(config("asl").output[0].dims) == [2]
    assert versions.current(repository)["metadata"]["task_id"] == "2nd"
    # the old version lies there as it was
    assert before == {name: (repository / name).read_bytes() for name in before}


def test_the_configs_of_an_old_version_can_be_written_again(
    artifacts, other_artifacts, repository
):
    versions.render(artifacts, repository, {"task_id": "first"})
    names = files_in(repository) - {".last-version"}  # counts on
    first = {name: (repository / name).read_bytes() for name in names}
    versions.render(other_artifacts, repository, {"task_id": "second"})

    versions.set_current(repository, versions.deployment(repository, 1))

    assert first == {name: (repository / name).read_bytes() for name in first}


def test_a_refused_model_changes_nothing(artifacts, repository, tmp_path):
    versions.render(artifacts, repository, {"task_id": "good"})
    before = {x: (repository / x).read_bytes() for x in files_in(repository)}
    bad = make_artifacts(tmp_path / "bad")
    (bad / "classes.txt").write_text("A\n")

    with pytest.raises(InputError):
        versions.render(bad, repository, {"task_id": "bad"})

    assert before == {x: (repository / x).read_bytes() for x in files_in(repository)}


def test_the_record_says_where_the_model_comes_from(artifacts, repository):
    versions.render(artifacts, repository, {"task_id": "t", "accuracy": "0.9"})

    record = json.loads((repository / "current.json").read_text())

    assert record["version"] == 1
    assert record["metadata"]["accuracy"] == "0.9"
    digest = model_parts.sha256(artifacts / "model.onnx")
    assert record["metadata"]["model_sha256"] == digest


def test_an_empty_repository_and_an_unknown_version_are_named(artifacts, repository):
    with pytest.raises(InputError, match="no model has been deployed"):
        versions.current(repository)
    versions.render(artifacts, repository, {})
    with pytest.raises(InputError, match="no version 5 of asl; it has: 1"):
        versions.deployment(repository, 5)


@pytest.mark.parametrize(
    "source, version",
    [
        (model_parts.PYTHON_MODELS / "decode.py", (3, 10)),  # the image's Python
        (model_parts.PYTHON_MODELS / "fused.py", (3, 10)),
        (model_parts.PYTHON_MODELS / "photographs.py", (3, 10)),
        (model_parts.PYTHON_MODELS / "metrics.py", (3, 10)),
        (Path(image_file.__file__), (3, 10)),
        (Path(preprocessing.__file__), (3, 10)),
        (
            ROOT / "triton/server/backends/onnxruntime/model.py",
            (3, 10),
        ),
        *((path, (3, 8)) for path in sorted((ROOT / "triton/client").glob("*.py"))),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else None,
)
def test_what_runs_in_an_older_python_is_valid_there(source, version):
    ast.parse(source.read_text(), feature_version=version)


def test_the_number_of_a_deployment_that_was_killed_is_not_given_again(
    artifacts, repository
):
    versions.render(artifacts, repository, {"task_id": "first"})
    versions.add(artifacts, repository, {}, model_config.Settings())  # killed
    versions.repair(repository)
    assert versions.versions(repository) == [1]
    assert versions.render(artifacts, repository, {"task_id": "next"}) == 3


@pytest.mark.parametrize("lost", ["asl/2", "asl_classifier_2", "asl_fused_2", "*_2"])
def test_if_files_of_the_current_version_are_lost_the_one_before_takes_its_place(
    lost, artifacts, other_artifacts, repository, capsys
):
    versions.render(artifacts, repository, {"task_id": "first"})
    config = (repository / "asl/config.pbtxt").read_bytes()
    versions.render(other_artifacts, repository, {"task_id": "second"})
    for folder in repository.glob(lost):
        shutil.rmtree(folder)

    versions.repair(repository)

    assert versions.current(repository)["metadata"]["task_id"] == "first"
    assert versions.numbers(repository) == [1]
    assert (repository / "asl/config.pbtxt").read_bytes() == config
    said = "version 2 of asl are missing; version 1 is the current one instead"
    assert said in capsys.readouterr().err
    record = deployment.deploy(other_artifacts, repository, {"task_id": "third"})
    assert record["version"] == 3


def test_if_the_files_of_the_only_version_are_lost_nothing_is_deployed(
    artifacts, repository
):
    versions.render(artifacts, repository, {"task_id": "first"})
    shutil.rmtree(repository / "asl_fused_1")

    with pytest.raises(InputError, match="no model has been deployed"):
        deployment.roll_back(repository)

    assert deployment.deploy(artifacts, repository, {"task_id": "2nd"})["version"] == 2


def test_operators_that_no_version_vouches_for_are_refused_where_no_server_tries_them(
    artifacts, repository, tmp_path
):
    """A server that polls would have nobody to ask; ours has an older runtime."""
    deployment.deploy(artifacts, repository, {})
    before = files_in(repository)

    with pytest.raises(InputError, match="UnfoldTensor of com.microsoft; deploy to a"):
        deployment.deploy(make_newer_artifacts(tmp_path / "newer"), repository, {})

    assert files_in(repository) == before


def deploy_all(artifacts, repository, *names, keep=3):
    for name in names:
        deployment.deploy(artifacts, repository, {"task_id": name}, keep=keep)


def test_going_back_passes_over_what_was_gone_back_from_before(artifacts, repository):
    deploy_all(artifacts, repository, "good", "better", "bad")
    assert deployment.roll_back(repository)["metadata"]["task_id"] == "better"
    deploy_all(artifacts, repository, "bad as well")
    assert deployment.roll_back(repository)["metadata"]["task_id"] == "better"

    states = [line.split()[1:2] + line.split()[-1:] for line in table(repository)]
    assert states[1] == ["better", "current"]
    assert [state[-1] for state in states[2:]] == ["withdrawn", "withdrawn"]
    assert deployment.roll_back(repository)["metadata"]["task_id"] == "good"
    with pytest.raises(InputError, match="no version before 1 to go back to"):
        deployment.roll_back(repository)


def table(repository):
    return deployment.table(deployment.listing(repository)).splitlines()[1:]


def test_withdrawn_versions_do_not_count_as_kept_and_go_with_those_of_their_time(
    artifacts, repository
):
    deploy_all(artifacts, repository, "1", "2", "3 bad", keep=2)
    deployment.roll_back(repository)
    deploy_all(artifacts, repository, "4", keep=2)
    assert versions.versions(repository) == [1, 2, 3, 4]
    assert versions.withdrawn(repository) == [3]

    deploy_all(artifacts, repository, "5", keep=2)
    assert versions.versions(repository) == [2, 3, 4, 5]
    deploy_all(artifacts, repository, "6", keep=2)
    assert versions.versions(repository) == [4, 5, 6]


def test_of_many_withdrawn_versions_only_the_last_stays(artifacts, repository):
    deploy_all(artifacts, repository, "good")
    for name in ("bad", "worse", "worst"):
        deploy_all(artifacts, repository, name, keep=1)
        deployment.roll_back(repository)
    deploy_all(artifacts, repository, "better", keep=1)

    assert versions.versions(repository) == [1, 4, 5]
    parts = {path.name for path in repository.glob("asl_fused_*")}
    assert parts == {"asl_fused_1", "asl_fused_4", "asl_fused_5"}


def test_a_version_that_cannot_be_written_whole_leaves_nothing(artifacts, repository):
    deploy_all(artifacts, repository, "first")
    before = sorted(repository.rglob("*"))
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from data_prep.errors import InputError\n"
        "from pipelines.serving import deployment\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "artifacts, repository = map(Path, sys.argv[1:])\n"
        "try: deployment.deploy(artifacts, repository, {'task_id': 'x'})\n"
        "except InputError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, artifacts, repository],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "File too large" in done.stdout and len(done.stdout.splitlines()) == 1
    assert sorted(repository.rglob("*")) == before
    assert versions.current(repository)["metadata"]["task_id"] == "first"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_clients_can_read_the_precision(precision, artifacts, repository):
    settings = model_config.Settings("gpu", accelerator="tensorrt", precision=precision)
    versions.render(artifacts, repository, {}, settings)

    config = model_config.from_text((repository / "asl/config.pbtxt").read_text())
    assert config.parameters["precision"].string_value == precision
