"""The comment on a pull request, written to a server that answers as GitHub does."""

import json
import os
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data_prep.paths import ROOT
from pipelines.ci.pull_request import BOT, MARK

TOKEN = "a-token-of-this-test"


class Handler(BaseHTTPRequestHandler):
    """Comments on issues, and merged pull requests of commits, in memory."""

    def do_GET(self):
        if self.path == "/user":  # not for a workflow's own token
            login = self.server.login
            self.answer({"login": login} if login else {}, 200 if login else 403)
            return
        if found := re.fullmatch(r"/repos/o/r/commits/(\w+)/pulls", self.path):
            self.answer(self.server.pulls.get(found.group(1), []))
            return
        found = re.fullmatch(
            r"/repos/o/r/issues/(\d+)/comments\?per_page=(\d+)&page=(\d+)", self.path
        )
        number, size, page = (int(text) for text in found.groups())
        mine = [c for c in self.server.comments if c["issue"] == number]
        self.answer(mine[size * (page - 1) : size * page])

    def do_POST(self):
        number = int(re.fullmatch(r"/repos/o/r/issues/(\d+)/comments", self.path)[1])
        comment = {"id": 1000 + len(self.server.comments), "issue": number}
        comment["user"] = {"login": self.server.login or BOT}
        self.server.comments.append(comment)
        self.write(comment, 201)

    def do_PATCH(self):
        id_ = int(re.fullmatch(r"/repos/o/r/issues/comments/(\d+)", self.path)[1])
        self.write(next(c for c in self.server.comments if c["id"] == id_), 200)

    def write(self, comment, code):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        comment |= {"body": body["body"], "html_url": f"http://x/{comment['id']}"}
        self.answer(comment, code)

    def answer(self, value, code=200):
        if self.server.moved_to:
            self.send_response(302)
            self.send_header("Location", self.server.moved_to + self.path)
            self.end_headers()
            return
        self.server.tokens.append(self.headers["Authorization"])
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            code, value = 403, {"message": "Resource not accessible"}
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def github():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.comments, server.pulls, server.tokens, server.moved_to = [], {}, [], None
    server.login = None
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def comment(github, report, **environment):
    """Run scripts/comment as the workflow does."""
    variables = {
        "PATH": os.environ["PATH"],
        "GITHUB_API_URL": github.address,
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_SHA": "abc",
        "GITHUB_TOKEN": TOKEN,
        "PULL_REQUEST": "",
        "REPORT": report,
    }
    return subprocess.run(
        ["scripts/comment"],
        cwd=ROOT,
        env=variables | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_what_others_wrote_stays_even_with_our_mark(github):
    """Anybody can begin a comment with the mark."""
    theirs = f"{MARK}\nmine"
    github.comments += [
        {"id": 1, "issue": 7, "body": theirs, "user": {"login": "somebody"}},
        {"id": 2, "issue": 7, "body": theirs, "user": None},
    ]
    assert comment(github, "| a |", PULL_REQUEST="7").returncode == 0
    assert [c["body"] for c in github.comments] == [theirs, theirs, f"{MARK}\n| a |"]


@pytest.mark.parametrize("login", [None, "a-person"])
def test_a_later_report_replaces_the_earlier_one(github, login):
    github.login = login
    github.comments += [
        {"id": i, "issue": 7, "body": f"talk {MARK}"} for i in range(150)
    ]
    assert comment(github, "| a |", PULL_REQUEST="7").returncode == 0
    github.comments += [{"id": i, "issue": 7, "body": "more"} for i in range(200, 260)]
    done = comment(github, "| b |", PULL_REQUEST="7")

    assert (done.returncode, done.stdout) == (0, "http://x/1150\n"), done.stderr
    ours = [c for c in github.comments if c["body"].startswith(MARK)]
    assert [(c["id"], c["body"]) for c in ours] == [(1150, f"{MARK}\n| b |")]


def test_the_pull_request_is_found_by_the_commit_it_became(github):
    github.pulls["abc"] = [
        {"number": 3, "merged_at": None},
        {"number": 4, "merged_at": "2026-01-01T00:00:00Z"},
    ]

    assert comment(github, "| a |").returncode == 0

    assert [c["issue"] for c in github.comments] == [4]


def test_a_commit_of_no_pull_request_is_no_error(github):
    done = comment(github, "| a |")

    assert done.returncode == 0
    assert "no pull request" in done.stdout
    assert github.comments == []


def test_what_github_refuses_is_told_in_one_line_without_the_token(github):
    done = comment(github, "| a |", PULL_REQUEST="7", GITHUB_TOKEN="wrong-secret")

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "403" in done.stderr and "pull-requests: write" in done.stderr
    assert "wrong-secret" not in done.stderr


def test_the_token_does_not_follow_a_redirection(github):
    other = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    try:  # nobody answers there: a request would wait for the client's timeout
        github.moved_to = f"http://127.0.0.1:{other.server_port}"
        done = comment(github, "| a |", PULL_REQUEST="7")
    finally:
        other.server_close()

    assert done.returncode == 2
    assert "302" in done.stderr


@pytest.mark.parametrize(
    "environment, told",
    [
        ({"REPORT": " "}, "REPORT is not set"),
        ({"GITHUB_TOKEN": ""}, "GITHUB_TOKEN is not set"),
        ({"PULL_REQUEST": "7/../8"}, "'7/../8', which is not a number"),
        ({"GITHUB_API_URL": "http://127.0.0.1:1"}, "GitHub did not answer"),
    ],
)
def test_what_is_missing_in_the_environment_is_named(environment, told, github):
    done = comment(github, "| a |", **environment)

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert told in done.stderr
    assert github.tokens == []
