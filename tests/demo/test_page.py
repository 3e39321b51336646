"""The page in a real browser, before a camera that shows a film of drawn hands."""

import time

import browser
import pytest
from drawn_model import film, jpeg

from data_prep.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

HOLD = 2.5  # seconds; the tests share two cores with much else
REST = 1.6
SERIOUS = (
    ".filter(one => ['serious', 'critical'].includes(one.impact))"
    ".map(one => [one.id, one.nodes.map(node => node.html)])"
)
GROUND = {"light": "rgb(251, 250, 247)", "dark": "rgb(21, 23, 26)"}


def hands(text):
    """What the camera sees of a text, with an empty picture between equal letters."""
    shown = [("nothing", REST)]
    for before, sign in zip(f" {text}", text):
        shown += [("nothing", REST)] * (sign == before) + [(sign, HOLD)]
    return shown


@pytest.fixture(scope="module")
def open_tab(tmp_path_factory):
    """A function that starts a browser; with a text its camera shows that."""
    if browser.find() is None:
        pytest.skip("no chromium on this machine (scripts/setup browser installs it)")
    tabs = []

    def open_tab(text="", *options):
        folder = tmp_path_factory.mktemp("chromium")
        if text:
            camera = film(folder / "camera.y4m", hands(text))
            options += (
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-video-capture={camera}",
            )
        tabs.append(browser.Browser(folder / "profile", *options))
        return tabs[-1]

    yield open_tab
    for tab in tabs:
        tab.close()


@pytest.fixture(scope="module")
def plain(open_tab):
    return open_tab()


def wait_until(tab, script, seconds=60.0):
    """Wait until a piece of JavaScript is true."""
    deadline = time.monotonic() + seconds
    while not tab.run(script):
        assert time.monotonic() < deadline, (script, tab.text(), tab.complaints)
        time.sleep(0.1)


def ready(tab, address):
    tab.open(address)
    wait_until(tab, "document.querySelectorAll('#chart li').length === 29")
    return tab


def choose(tab, *paths):
    root = tab.send("DOM.getDocument")["root"]["nodeId"]
    node = tab.send("DOM.querySelector", nodeId=root, selector="#files")["nodeId"]
    files = [str(path) for path in paths]
    tab.send("DOM.setFileInputFiles", nodeId=node, files=files)


def drop(tab, path):
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        tab.send("Input.dispatchDragEvent", type=kind, x=200, y=300, data=data)


def spells(tab, text, seconds=150.0):
    tab.run("document.querySelector('#text').value = ''; 0")
    wait_until(
        tab, f"document.querySelector('#text').value.includes({text!r})", seconds
    )


def test_the_camera_spells_hello_while_another_browser_spells_jazz(open_tab, demo):
    first, second = open_tab("HELLO"), open_tab("JAZZ")
    for tab in (first, second):
        ready(tab, demo).run("document.querySelector('#camera').click()")
    spells(first, "HELLO")
    spells(second, "JAZZ")
    drawn = "document.querySelector('#hand')"
    pixels = (
        f"{drawn}.getContext('2d').getImageData(0, 0, {drawn}.width, {drawn}.height)"
    )
    assert "frames/s" in first.run("document.querySelector('#figures').textContent")
    assert first.complaints == second.complaints == []
    # last, since reading the canvas again and again makes the browser complain of us
    wait_until(first, f"{pixels}.data.some(value => value > 0)")


def test_a_server_that_goes_and_comes_back_is_told_and_then_asked_again(
    open_tab, demo, triton
):
    tab = ready(open_tab("LL"), demo)
    tab.run("document.querySelector('#camera').click()")
    wait_until(tab, "document.querySelector('#figures').textContent.includes('ms')")
    triton.stop()
    try:
        assert "Trying again" in tab.wait_for("does not answer")
    finally:
        triton.start()
    wait_until(tab, "document.querySelector('#notice').hidden")
    spells(tab, "L")
    assert tab.complaints == []


def test_photographs_that_are_chosen_are_answered_each(plain, demo, tmp_path):
    (tmp_path / "one.jpg").write_bytes(jpeg("A"))
    (tmp_path / "two.jpg").write_bytes(jpeg("Z"))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    ready(plain, demo)
    choose(plain, *sorted(tmp_path.glob("*.jpg")))
    found = "[...document.querySelectorAll('#photographs li')].map(x => x.innerText)"
    wait_until(plain, f"{found}.filter(x => /%|no JPEG/.test(x)).length === 3")
    text = " | ".join(plain.run(found))
    assert "A " in text and "Z " in text and "it is no JPEG" in text


def test_a_photograph_is_dropped_and_its_letter_read(plain, demo, tmp_path):
    path = tmp_path / "dropped.jpg"
    path.write_bytes(jpeg("L"))
    ready(plain, demo)
    drop(plain, path)
    wait_until(
        plain, "document.querySelector('#photographs strong')?.innerText === 'L'"
    )


def test_practice_waits_for_the_sign_and_says_what_differs(open_tab, demo):
    tab = ready(open_tab("AL"), demo)
    tab.run("document.querySelector('#tab-learn').click()")
    tab.run("document.querySelector('#asked').value = 'l'; 0")
    tab.run("document.querySelector('#ask').requestSubmit()")
    advice = "document.querySelector('#advice').textContent"
    wait_until(tab, f"{advice}.includes('That is A')", 90)
    wait_until(tab, f"{advice}.includes('L: done')", 90)
    assert "0 of 1 right at once" in tab.text() and "To practise: L" in tab.text()
    assert tab.complaints == []


def test_the_model_tab_shows_the_model(plain, demo):
    ready(plain, demo).run("document.querySelector('#tab-model').click()")
    text = plain.wait_for("resize_mode letterbox")
    assert "drawn" in text and "8: A E H J L O Z nothing" in text
    assert plain.complaints == []


def test_tabs_are_reached_by_the_keyboard(plain, demo):
    ready(plain, demo).run("document.querySelector('#tab-spell').focus()")
    for name in ("learn", "model", "spell"):
        for kind in ("keyDown", "keyUp"):
            plain.send("Input.dispatchKeyEvent", type=kind, key="ArrowRight")
        assert plain.run("document.activeElement.id") == f"tab-{name}"
        assert plain.run(f"!document.querySelector('#{name}').hidden")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_checker_of_accessibility_finds_nothing_serious(theme, plain, demo, tmp_path):
    axe = next((ROOT / ".axe").glob("axe-*.js"), None)
    if axe is None:
        pytest.skip("no axe-core here (scripts/setup axe fetches it)")
    feature = [{"name": "prefers-color-scheme", "value": theme}]
    plain.send("Emulation.setEmulatedMedia", features=feature)
    (tmp_path / "one.jpg").write_bytes(jpeg("A"))
    ready(plain, demo).run(f"{axe.read_text(encoding='utf-8')}; 0")
    choose(plain, tmp_path / "one.jpg")
    wait_until(plain, "!!document.querySelector('#photographs strong')")
    for name in ("spell", "learn", "model"):
        plain.run(f"document.querySelector('#tab-{name}').click()")
        if name == "model":
            plain.wait_for("resize_mode")
        found = plain.run(f"axe.run().then(found => found.violations{SERIOUS})")
        assert found == [], name


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(width, theme, plain, demo):
    feature = [{"name": "prefers-color-scheme", "value": theme}]
    plain.send("Emulation.setEmulatedMedia", features=feature)
    plain.send(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=844,
        deviceScaleFactor=1,
        mobile=width < 500,
    )
    ready(plain, demo)
    for name in ("spell", "learn", "model"):
        plain.run(f"document.querySelector('#tab-{name}').click()")
        if name == "model":
            plain.wait_for("resize_mode")
        assert plain.run("document.documentElement.scrollWidth") <= width, name
    ground = plain.run("getComputedStyle(document.body).backgroundColor")
    assert ground == GROUND[theme]
    assert plain.complaints == []
