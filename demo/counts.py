"""The gateway's own metrics, in Prometheus's text format."""

from collections import Counter

from starlette.requests import Request
from starlette.responses import PlainTextResponse

OUTCOMES = ("answered", "refused", "away")
KINDS = ("photograph", "frame")


class Counts:
    """How many photographs and frames were answered, refused, or met no server."""

    def __init__(self):
        self.requests = Counter({(k, o): 0 for k in KINDS for o in OUTCOMES})

    def add(self, kind: str, outcome: str) -> None:
        self.requests[kind, outcome] += 1


async def show(request: Request):
    state = request.app.state
    lines = [
        "# HELP asl_gateway_requests_total Pictures, by what came of them",
        "# TYPE asl_gateway_requests_total counter",
    ]
    for (kind, outcome), number in state.counts.requests.items():
        labels = f'kind="{kind}",outcome="{outcome}"'
        lines.append(f"asl_gateway_requests_total{{{labels}}} {number}")
    lines += [
        "# HELP asl_gateway_connections Browsers that send frames",
        "# TYPE asl_gateway_connections gauge",
        f"asl_gateway_connections {len(state.browsers.held)}",
    ]
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain")
