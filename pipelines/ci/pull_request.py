"""Put a report on a pull request, as one comment that later reports replace.

    REPORT=... GITHUB_TOKEN=... python -m pipelines.ci.pull_request

The environment says the rest, as in a GitHub workflow: GITHUB_REPOSITORY, and the pull
request's number in PULL_REQUEST, or else the commit in GITHUB_SHA that it became.
Needs nothing but Python.
"""

import json
import os
import urllib.error
import urllib.request

from data_prep.errors import InputError, exit_2_on_input_error

MARK = "<!-- the report of the ASL pipeline -->"  # how our comment is found again
BOT = "github-actions[bot]"  # who comments with a workflow's own token
PAGE = 100  # comments a request
TIMEOUT_S = 30


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected request would carry the token to another server."""

    def redirect_request(self, *_):
        return None


class GitHub:
    """GitHub's API for one repository.

    Args:
        api: Its address.
        repository: ``owner/name``.
        token: May write to pull requests.
    """

    def __init__(self, api: str, repository: str, token: str):
        self.api = api
        self.address = f"{api}/repos/{repository}"
        self.headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {token}",
            "User-Agent": "asl-pipeline",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        self.opener = urllib.request.build_opener(NoRedirect)

    def call(self, method: str, path: str, body: dict | None = None):
        """Send one request; return the answer's JSON.

        Raises:
            InputError: GitHub cannot be reached, or refuses.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.address + path, data, self.headers, method=method
        )
        what = f"{method} {self.address}{path}"
        try:
            with self.opener.open(request, timeout=TIMEOUT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise InputError(
                f"GitHub answered {error.code} {error.reason} to {what}; the token "
                "needs the permission pull-requests: write"
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(f"GitHub did not answer {what}: {error}") from None

    def pull_request_of(self, commit: str) -> int | None:
        """Find the merged pull request that a commit comes from."""
        for found in self.call("GET", f"/commits/{commit}/pulls"):
            if found["merged_at"]:
                return found["number"]
        return None

    def own_name(self) -> str:
        """Who comments with this token; a workflow's own may not ask, and is `BOT`."""
        request = urllib.request.Request(f"{self.api}/user", headers=self.headers)
        try:
            with self.opener.open(request, timeout=TIMEOUT_S) as answer:
                return json.load(answer)["login"]
        except (OSError, ValueError, KeyError):
            return BOT

    def comment(self, number: int, text: str) -> str:
        """Write the comment, or write our own one anew; return its address."""
        body = {"body": f"{MARK}\n{text}"}
        existing = self.find_comment(number)
        if existing is None:
            answer = self.call("POST", f"/issues/{number}/comments", body)
        else:
            answer = self.call("PATCH", f"/issues/comments/{existing}", body)
        return answer["html_url"]

    def find_comment(self, number: int) -> int | None:
        """Find the report that we wrote earlier; others may write our mark as well."""
        page, author = 1, self.own_name()
        while True:
            path = f"/issues/{number}/comments?per_page={PAGE}&page={page}"
            comments = self.call("GET", path)
            for comment in comments:
                own = (comment.get("user") or {}).get("login") == author
                if own and comment["body"].startswith(MARK):
                    return comment["id"]
            if len(comments) < PAGE:
                return None
            page += 1


def value(name: str) -> str:
    """Read an environment variable.

    Raises:
        InputError: It is missing or empty.
    """
    found = os.environ.get(name, "").strip()
    if not found:
        raise InputError(f"the environment variable {name} is not set")
    return found


@exit_2_on_input_error
def main() -> None:
    api = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
    report = value("REPORT")
    github = GitHub(api, value("GITHUB_REPOSITORY"), value("GITHUB_TOKEN"))
    text = os.environ.get("PULL_REQUEST", "").strip()
    if text and not text.isdecimal():
        raise InputError(f"PULL_REQUEST is '{text}', which is not a number")
    number = int(text) if text else github.pull_request_of(value("GITHUB_SHA"))
    if number is None:
        print("this commit comes from no pull request; there is nothing to comment on")
        return
    print(github.comment(number, report))


if __name__ == "__main__":
    main()
