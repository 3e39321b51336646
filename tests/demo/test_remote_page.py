"""The page behind nginx and TLS, as people on other machines open it."""

import base64
import contextlib
import json
import subprocess

import browser
import pytest
from demo_command import running
from drawn_model import film, jpeg
from nginx_front import Front, wait_until
from test_gateway import ask
from test_page import drop
from test_page import wait_until as shows

from data_prep.errors import InputError
from demo import guard
from pipelines.serving import remote_access, running_server
from pipelines.serving.triton_server import pick_ports

try:
    remote_access.find_nginx()
except InputError as error:
    pytest.skip(str(error), allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

NO_PAGE = "the page does not run"
HANDSHAKE = """\
Upgrade: websocket
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="""


@pytest.fixture(scope="module")
def port():
    """Where the page is."""
    return pick_ports(0)[0]


@pytest.fixture(scope="module")
def front(triton, port, tmp_path_factory):
    """nginx before Triton and the page, which does not run yet."""
    home = tmp_path_factory.mktemp("remote")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASL_HOME", str(home))
        page = f"--page=127.0.0.1:{port}"
        front = Front(triton, home / "remote-access", page)
        yield front
        front.stop()


class Page:
    """The page behind nginx: its tokens, and requests to it from outside."""

    def __init__(self, front, lines):
        self.front, self.host = front, f"localhost:{front.port}"
        self.address, _, self.token = (
            lines[0].removeprefix("open ").partition("?token=")
        )
        self.admin = lines[1].rpartition(" ")[2]
        self.cookie = f"Cookie: {guard.COOKIE}={self.token}"

    def ask(self, method, path, *headers, body=b"", host=None):
        """Return status and body."""
        host = self.host if host is None else host
        status, _, answer = self.front.request(method, path, headers, body, host)
        return status, answer


@pytest.fixture(scope="module")
def page(triton, front, port):
    options = f"--front=https://localhost:{front.port}", "--admin"
    options += (f"--repository={triton.repository}",)
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            running_server.noted(triton.repository, triton.grpc_url, triton.http_url)
        )
        _, lines = stack.enter_context(running(None, *options, port=port))
        yield Page(front, lines)


def test_while_no_page_runs_that_is_said_and_triton_is_answered(front):
    status, _, body = front.request("GET", "/?token=secret")

    assert (status, NO_PAGE in json.loads(body)["error"]) == (502, True)
    token = front.header.read_text().strip()
    assert front.request("GET", "/v2/models/asl", [token])[0] == 200


def test_the_page_wants_its_own_token(front, page):
    bearer = f"Authorization: Bearer {page.token}"
    photograph = jpeg("L")

    assert page.address == f"https://{page.host}/"
    for header in [], ["Authorization: Bearer x"], [front.header.read_text().strip()]:
        assert page.ask("GET", "/", *header)[0] == 401
        assert page.ask("POST", "/predict", *header, body=photograph)[0] == 401
    status, body = page.ask("POST", "/predict", bearer, body=photograph)
    assert (status, json.loads(body)["predicted_class"]) == (200, "L")
    assert page.ask("GET", "/page/main.js", page.cookie)[0] == 200
    assert front.request("GET", "/v2/models/asl", [bearer])[0] == 401


def test_the_cookie_is_for_tls_and_not_for_scripts(page):
    asked = "GET", f"/?token={page.token}", [], b"", page.host

    status, head, _ = page.front.request(*asked)

    assert status == 303
    (cookie,) = (x for x in head.lower().splitlines() if x.startswith("set-cookie"))
    assert "secure" in cookie and "httponly" in cookie


def test_no_other_name_or_page_is_served_from_outside(front, page):
    for host in ("localhost", "127.0.0.1", f"127.0.0.1:{front.port}", "evil.example"):
        assert page.ask("GET", "/model", page.cookie, host=host)[0] == 403, host
    own = f"https://{page.host}"
    others = own.replace("https", "http"), "https://localhost", "https://evil.example"
    assert (
        page.ask("POST", "/predict", page.cookie, f"Origin: {own}", body=b"x")[0] == 400
    )
    for other in others:
        header = f"Origin: {other}"
        assert page.ask("POST", "/predict", page.cookie, header, body=b"x")[0] == 403
        shake = HANDSHAKE.splitlines()
        assert page.ask("GET", "/frames", page.cookie, header, *shake)[0] == 403


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/page/../metrics", "/page/%2e%2e/x.js", "/signs/%2e/front.png"],
)
def test_what_is_not_the_page_is_not_passed_on(path, page):
    assert "not possible from outside" in page.ask("GET", path, page.cookie)[1]


def test_a_page_for_this_machine_only_is_not_lent_to_others_by_a_proxy(demo):
    """Not even one that asks for it as localhost."""
    for header in ("X_Forwarded_For", "X_Forwarded_Proto", "Forwarded"):
        status, body, _ = ask(demo, **{header: "203.0.113.7"})
        assert (status, b"runs without --front" in body) == (403, True)


def test_rolling_back_takes_the_administrators_token_as_well(page):
    """There is no earlier version: who may roll back is told so."""
    admin, wrong = (f"Authorization: Bearer {x}" for x in (page.admin, page.token))

    assert page.ask("POST", "/roll-back", admin)[0] == 401
    assert page.ask("POST", "/roll-back", page.cookie)[0] == 403
    assert page.ask("POST", "/roll-back", page.cookie, wrong)[0] == 403
    assert page.ask("POST", "/roll-back", page.cookie, admin)[0] == 409


def test_a_body_larger_than_the_page_takes_is_refused_in_its_words(page):
    size = (32 << 20) + 1
    status, body = page.ask("POST", "/predict", page.cookie, body=bytes(size))
    assert (status, "more than 32 MiB" in body) == (400, True)


def test_a_browser_that_follows_a_link_reads_a_photograph_and_a_camera(
    front, page, tmp_path
):
    if browser.find() is None:
        pytest.skip("no chromium on this machine (scripts/setup browser installs it)")
    (tmp_path / "dropped.jpg").write_bytes(jpeg("O"))
    tab = browser.Browser(
        tmp_path / "profile",
        f"--ignore-certificate-errors-spki-list={public_key(front.ca)}",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film(tmp_path / 'c.y4m', [('L', 9.0)])}",
    )
    try:
        tab.open("data:text/html,a mail")
        tab.run(f"location.href = '{page.address}?token={page.token}'; 0")
        shows(tab, "document.querySelectorAll('#chart li').length === 29")
        assert tab.run("location.href") == page.address
        drop(tab, tmp_path / "dropped.jpg")
        shows(tab, "document.querySelector('#photographs strong')?.innerText === 'O'")
        tab.run("document.querySelector('#camera').click()")
        shows(tab, "document.querySelector('#text').value === 'L'")
        assert tab.complaints == []
    finally:
        tab.close()


def public_key(certificate) -> str:
    """Hash of a certificate's key, by which Chromium trusts it and no other."""
    key = certificate.read_bytes()
    for command in (
        "openssl x509 -pubkey -noout",
        "openssl pkey -pubin -outform der",
        "openssl dgst -sha256 -binary",
    ):
        done = subprocess.run(
            command.split(), input=key, capture_output=True, check=True
        )
        key = done.stdout
    return base64.b64encode(key).decode()


def test_the_pages_token_is_in_no_log(front, page):
    """Also of the requests above, and while no page ran."""
    assert page.ask("GET", f"/?token={page.token}", host="localhost")[0] == 403
    log = front.folder / remote_access.ACCESS_LOG
    wait_until(
        lambda: '"GET /?..." 403' in log.read_text(), "the request is not in the log"
    )
    assert '"GET /?..." 502' in log.read_text()
    for text in log.read_text(), front.errors.read_text():
        assert page.token not in text and page.admin not in text
        assert "secret" not in text


@pytest.mark.parametrize(
    "address, written",
    [
        ("https://ASL.example.org:8443/", "https://asl.example.org:8443"),
        ("https://asl.example.org:443", "https://asl.example.org"),
        ("https://[::1]:8443", "https://[::1]:8443"),
    ],
)
def test_a_fronts_address_is_written_as_browsers_do(address, written):
    assert guard.origin(address) == written


@pytest.mark.parametrize(
    "address",
    [
        "http://x",
        "asl.example.org",
        "https://",
        "https://x/y",
        "https://u@x",
        "https://x:y",
    ],
)
def test_what_is_no_fronts_address_is_refused(address):
    with pytest.raises(InputError, match="is not the https address"):
        guard.origin(address)
