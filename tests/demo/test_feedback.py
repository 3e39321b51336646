"""What the gateway keeps: nothing, unless it was started with --log."""

import json
import stat
import urllib.request
from pathlib import Path

import browser
import pytest
from demo_command import running
from drawn_model import jpeg
from test_gateway import ask
from test_page import choose, ready, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kept(triton, home):
    """The page with a log of every answer; its address, and the log's folder."""
    options = ("--log", "--log-share", "1", "--log-photographs")
    with running(triton, *options) as (address, _):
        yield address, home / "request_log"


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.*"))


def delete(address, id_):
    request = urllib.request.Request(f"{address}/log/{id_}", method="DELETE")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_nothing_is_kept_without_the_option(demo, home):
    before = files(home / "request_log")
    assert "id" not in json.loads(ask(demo, "/predict", jpeg("A"))[1])
    assert json.loads(ask(demo, "/log")[1]) == {"keeps": False}
    status, body, _ = ask(demo, "/correct?label=E", jpeg("A"))
    assert status == 403 and b"without --log" in body
    assert files(home / "request_log") == before


def test_an_answer_is_kept_for_its_owner_and_deleted_by_its_id(kept):
    address, folder = kept
    found = json.loads(ask(address, "/predict", jpeg("A"))[1])
    entry, photograph = (
        next(folder.glob(f"*/{found['id']}{suffix}")) for suffix in (".json", ".jpg")
    )
    assert photograph.read_bytes() == jpeg("A")
    said = json.loads(entry.read_text())
    assert (said["predicted"], said["label"]) == ("A", None)
    assert said["model"] == {"name": "asl", "version": "1"}
    for path in (entry, photograph):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert delete(address, found["id"]) == {"deleted": True}
    assert not entry.exists() and not photograph.exists()


def test_what_somebody_corrects_is_kept_with_the_right_letter(kept):
    address, folder = kept
    said = json.loads(ask(address, "/log")[1])
    assert said["keeps"] and said["photographs"] and "E" in said["labels"]
    status, body, _ = ask(address, "/correct?label=E", jpeg("A"))
    (path,) = folder.glob(f"*/{json.loads(body)['id']}.json")
    entry = json.loads(path.read_text())
    assert (status, entry["label"], entry["predicted"]) == (200, "E", "A")
    before = files(folder)
    for query, data, reason in (
        ("label=../x", jpeg("A"), b"label must be one of"),
        ("label=E", b"no photograph", b"broken image"),
        ("label=E", b"", b"empty"),
    ):
        status, body, _ = ask(address, f"/correct?{query}", data)
        assert status == 400 and reason in body
    assert ask(address, "/correct?label=E", jpeg("A"), origin="http://evil")[0] == 403
    assert files(folder) == before


def test_what_came_of_requests_is_counted_for_prometheus(kept):
    address, _ = kept

    def counted():
        lines = ask(address, "/metrics")[1].decode().splitlines()
        return dict(x.rsplit(" ", 1) for x in lines if not x.startswith("#"))

    before = counted()
    ask(address, "/predict", jpeg("A"))
    ask(address, "/predict", b"no photograph")
    after = counted()
    for outcome in ("answered", "refused"):
        name = f'asl_gateway_requests_total{{kind="photograph",outcome="{outcome}"}}'
        assert int(after[name]) == int(before[name]) + 1


def test_the_page_says_what_is_kept_and_takes_a_correction(kept, tmp_path):
    if browser.find() is None:
        pytest.skip("no chromium on this machine (scripts/setup browser installs it)")
    address, folder = kept
    photograph = tmp_path / "letter.jpg"
    photograph.write_bytes(jpeg("L"))
    tab = browser.Browser(tmp_path / "profile")
    try:
        ready(tab, address)
        wait_until(tab, "document.querySelector('#right').options.length > 0")
        assert "100 % of the answers, with the pictures, for 30 days" in tab.text()
        choose(tab, photograph)
        wait_until(tab, "!document.querySelector('#feedback').hidden")
        before = {path.name for path in files(folder)}
        tab.run("document.querySelector('#right').value = 'O'")
        tab.run("document.querySelector('#tell').click()")
        wait_until(tab, "!document.querySelector('#forget-last').hidden")
        assert "Thank you: O instead of L." in tab.text()
        (entry,) = [
            json.loads(path.read_text())
            for path in files(folder)
            if path.suffix == ".json" and path.name not in before
        ]
        assert (entry["predicted"], entry["label"]) == ("L", "O")
        tab.run("document.querySelector('#forget-last').click()")
        wait_until(tab, "document.querySelector('#forget-last').hidden")
        assert {path.name for path in files(folder)} == before
        assert tab.complaints == []
    finally:
        tab.close()
