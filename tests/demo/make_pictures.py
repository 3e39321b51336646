"""Make the README's pictures of the page, with drawn hands only.

python tests/demo/make_pictures.py docs
"""

import base64
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "demo")]

import browser  # noqa: E402
from demo_command import running  # noqa: E402
from drawn_model import film, make_artifacts  # noqa: E402

from pipelines.repository import versions  # noqa: E402
from pipelines.serving.triton_server import TritonServer  # noqa: E402

SHOWN = [("nothing", 2.0), ("H", 2.5), ("E", 2.5), ("L", 2.5), ("nothing", 2.0)]
SHOWN += [("L", 2.5), ("O", 8.0)]


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        artifacts = make_artifacts(work / "drawn")
        versions.render(artifacts, work / "models", {"model": "drawn"})
        with TritonServer(work / "models") as server, running(server) as (address, _):
            tab = browser.Browser(
                work / "profile",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-video-capture={film(work / 'c.y4m', SHOWN)}",
            )
            try:
                spell(tab, address, out / "demo-spell.jpg")
                learn(tab, out / "demo-learn.jpg")
            finally:
                tab.close()


def spell(tab, address, path):
    look(tab, width=1100, height=640, theme="light")
    tab.open(address).wait_for("Start camera")
    time.sleep(2)
    tab.run("document.querySelector('#camera').click()")
    until(tab, "document.querySelector('#text').value.endsWith('HELLO')")
    picture(tab, path)


def learn(tab, path):
    look(tab, width=1100, height=760, theme="dark")
    tab.run("document.querySelector('#tab-learn').click()")
    until(tab, "[...document.images].slice(0, 16).every(x => x.naturalWidth)")
    tab.run("scrollTo(0, 9999)")
    time.sleep(2)
    tab.run("scrollTo(0, 0)")
    picture(tab, path)


def look(tab, width, height, theme):
    feature = [{"name": "prefers-color-scheme", "value": theme}]
    tab.send("Emulation.setEmulatedMedia", features=feature)
    tab.send(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=height,
        deviceScaleFactor=1,
        mobile=False,
    )


def until(tab, script, seconds=180):
    deadline = time.monotonic() + seconds
    while not tab.run(f"!!({script})"):
        if time.monotonic() > deadline:
            raise SystemExit(f"error: {script} has not come true within {seconds} s")
        time.sleep(0.1)


def picture(tab, path):
    answer = tab.send("Page.captureScreenshot", format="jpeg", quality=82)
    path.write_bytes(base64.b64decode(answer["data"]))
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs"))
