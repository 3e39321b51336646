"""From the request log to a version of the raw Dataset, after a look."""

import csv
import json
import os
import random
from datetime import date, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from place import Place, interrupt

from data_prep.errors import InputError
from pipelines.monitoring import collection, request_log
from pipelines.monitoring.request_log import Policy, RequestLog


def picture(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
    return cv2.imencode(".png", noise)[1].tobytes()


def answer(label: str, confidence: float, model: str = "asl") -> dict:
    return {
        "predicted_class": label,
        "confidence": confidence,
        "all_predictions": {label: confidence, "other": 1 - confidence},
        "model": {"name": model, "version": "7"},
    }


def filled(folder, photographs=True) -> tuple[RequestLog, list[str]]:
    """A log with a sure answer, an uncertain one, and two that were corrected."""
    log = RequestLog(folder, Policy(share=1.0, photographs=photographs))
    ids = [
        log.add(answer("A", 0.99), picture(0)),
        log.add(answer("B", 0.4), picture(1)),
        log.add(answer("S", 0.9), picture(2), "R"),
        log.add(answer("S", 0.8), picture(3), "M"),
    ]
    return log, ids


def test_photographs_are_kept_only_if_asked_for(tmp_path):
    filled(tmp_path / "with")
    filled(tmp_path / "without", photographs=False)
    kept = {path.suffix for path in (tmp_path / "without").rglob("*.*")}
    assert kept == {".json"}
    assert len(list((tmp_path / "with").rglob("*.png"))) == 4
    assert collection.propose(tmp_path / "without", 1.0, 10, ()) == []


def test_a_share_is_kept():
    policy = Policy(share=0.25)
    log = RequestLog.__new__(RequestLog)
    log.policy, log.random = policy, random.Random(1)
    assert 450 < sum(log.sampled() for _ in range(2000)) < 550
    with pytest.raises(InputError, match="between 0 and 1"):
        Policy(share=2)


def test_old_entries_go_and_so_do_the_oldest_of_too_many(tmp_path):
    log, ids = filled(tmp_path)
    today = date.today()
    old = tmp_path / (today - timedelta(days=40)).isoformat()
    (today_folder,) = tmp_path.iterdir()
    old.mkdir()
    (old / f"{'0' * 32}.json").write_text("{}")
    log.tidy()
    assert not old.exists() and today_folder.exists()
    for number, path in enumerate(sorted(today_folder.glob(f"{ids[0]}.*"))):
        os.utime(path, (number, number))
    log.policy = Policy(photographs=True, max_bytes=1 << 20)
    for _ in range(300):
        log.add(answer("A", 0.5), b"\x89PNG" + bytes(5000))
    assert not list(today_folder.glob(f"{ids[0]}.*"))
    assert sum(path.stat().st_size for path in today_folder.iterdir()) < 1.1 * (1 << 20)


def test_what_was_corrected_and_what_was_uncertain_is_proposed(tmp_path):
    _, ids = filled(tmp_path)
    proposed = collection.propose(tmp_path, 0.6, 10, known=[ids[3]])
    assert [(x.label, x.why) for x in proposed] == [
        ("R", "corrected"),
        ("B", "uncertain"),
    ]
    *sheets, table = collection.write_sheets(proposed, tmp_path / "out")
    sheet = cv2.imread(str(sheets[0]))
    assert sheet.shape == (194, 8 * 160, 3)
    shown = cv2.imdecode(np.frombuffer(picture(2), np.uint8), cv2.IMREAD_COLOR)
    small = cv2.resize(shown, (160, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(sheet[:128, :160].astype(int) - small).max() == 0
    assert collection.read_table(table) == {ids[2]: "R", ids[1]: "B"}
    for path in (*sheets, table):
        assert path.stat().st_mode & 0o077 == 0


def test_the_answers_of_each_model_are_its_own(tmp_path):
    log, ids = filled(tmp_path)
    flower = log.add(answer("rose", 0.3, "flowers"), picture(4))

    proposed = collection.propose(tmp_path, 0.6, 10, (), "flowers")

    assert [(x.entry["id"], x.label) for x in proposed] == [(flower, "rose")]
    assert flower not in {
        x.entry["id"] for x in collection.propose(tmp_path, 1.0, 10, ())
    }
    accepted = {flower: "rose", ids[1]: "B"}
    with pytest.raises(InputError, match="the model flowers, not by asl; give --name"):
        collection.gather(tmp_path, accepted, tmp_path / "out")


@pytest.mark.parametrize(
    "line, reason",
    [
        ("abc,R", "line 2: 'abc' is no id"),
        ("0123456789abcdef0123456789abcdef,../R", "is no class"),
        ("0123456789abcdef0123456789abcdef,R", "not in .* any more"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(line, reason, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text(f"id,label\n{line}\n")
    with pytest.raises(InputError, match=reason):
        labels = collection.read_table(table)
        collection.gather(tmp_path, labels, tmp_path / "out")


@pytest.mark.slow
def test_nothing_becomes_data_before_it_is_accepted_and_registering_keeps_it(tmp_path):
    place = Place(tmp_path)
    place.home.mkdir()
    log, ids = filled(place.home / request_log.LOG_FOLDER)
    server = place.start(place.python, "-m", "pipelines.clearml_server")
    server.stdout.readline()
    try:
        collect = (place.python, "-m", "pipelines.collect")
        done = place.run(*collect)
        assert "3 photographs, 2 of them corrected" in done.stdout
        table = done.stdout.split()[-1]
        assert place.tasks() == []
        rows = list(csv.DictReader(Path(table).read_text().splitlines()))
        kept = [row for row in rows if row["why"] == "corrected"]
        with open(table, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(kept)

        dataset = place.run(*collect, "--accept", table).stdout.split()[-1]
        again = place.run(*collect, "--accept", table, check=False)
        assert (again.returncode, "collected before" in again.stderr) == (2, True)

        raw = tmp_path / "mine"
        for label in "AB":
            (raw / label).mkdir(parents=True)
            (raw / label / "1.png").write_bytes(picture(ord(label)))
        found = place.show(f"""
            from pathlib import Path
            from clearml import Dataset
            from pipelines.tracking.dataset_versions import forget_raw, register_raw
            first = Dataset.get(dataset_id={dataset!r}).list_files()
            both = Dataset.get(dataset_id=register_raw({{"mine": Path({str(raw)!r})}}))
            last = Dataset.get(dataset_id=forget_raw([{ids[2]!r}]))
            print(json.dumps([first, both.list_files(), last.list_files()]))
            """)
        collected = {f"collected/R/{ids[2]}.png", f"collected/M/{ids[3]}.png"}
        assert set(found[0]) == collected
        assert set(found[1]) == collected | {"mine/A/1.png", "mine/B/1.png"}
        assert set(found[2]) == set(found[1]) - {f"collected/R/{ids[2]}.png"}

        # what another model has answered goes into its own raw Dataset, and out of it
        flower = log.add(answer("rose", 0.3, "flowers"), picture(4))
        done = place.run(*collect, "--name", "flowers", "--json")
        table = json.loads(done.stdout)["files"][-1]
        said = place.run(*collect, "--name", "flowers", "--accept", table).stdout
        assert "1 photograph is data now, in a new version of flowers_raw" in said
        said = place.run(*collect, "--delete", flower).stdout
        assert f"{flower}: deleted" in said and " of flowers_raw; earlier" in said
    finally:
        interrupt(server)
