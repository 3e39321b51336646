#!/usr/bin/env python3
"""Metrics for Prometheus that Triton does not have; needs nothing but Python.

    python3 exporter.py [--port 9400] [--triton http://localhost:8000] ...

    asl_probe_success{model}             1 if a real inference is answered
    asl_probe_seconds{model}             how long that took
    asl_served_info{model,version,...}   which version is served, and of what task
    asl_reference_share{...,class}       which share of its answers a class should have
    asl_reference_confidence{...}        how sure it should be on average
    asl_shm_size_bytes, asl_shm_used_bytes
    asl_front_up, asl_front_expiry_timestamp_seconds    of --front's certificate
    asl_token_issued_timestamp_seconds{client}          of the files in --tokens
    clearml_up, clearml_queue_tasks{queue}, clearml_queue_oldest_seconds{queue},
    clearml_queue_workers{queue}, asl_promoted_timestamp_seconds{task_id,task}

Which models there are, and what is expected of them, is read from the server that is
asked: deployment has written it into their configs. Each scrape asks anew, but those
that come within a second of each other are given the same answer.
"""

import base64
import calendar
import json
import os
import re
import socket
import ssl
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import probe

TIMEOUT_S = 4.0
PROBES = 8  # pictures: each of a model's processes is likely to be asked
FRESH_S = 1.0
MAX_BYTES = 8 << 20
PART = re.compile(r".+_(fused|decode|classifier)(_\d+)?")
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url, data=None, headers=(), opener=DIRECT):
    """Return the body at an address; OSError or ValueError without one."""
    request = urllib.request.Request(url, data, dict(headers))
    with opener.open(request, timeout=TIMEOUT_S) as answer:
        body = answer.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise ValueError("more than %d bytes at %s" % (MAX_BYTES, url))
    return body.decode("utf-8", "replace")


class Exporter:
    """Collects everything, from as many threads as there are things to ask.

    Args:
        options: Of the command line.
    """

    def __init__(self, options):
        self.options = options
        self.known = {}  # of each model its config, for when the server is away
        self.lock = threading.Lock()
        self.answered, self.text = float("-inf"), ""
        self.clearml = ClearML(options.clearml, options.clearml_keys)

    def page(self):
        """The text that Prometheus is given."""
        with self.lock:
            if time.monotonic() - self.answered > FRESH_S:
                self.text = self.collect()
                self.answered = time.monotonic()
            return self.text

    def collect(self):
        jobs = [self.models]
        if self.options.shm:
            jobs.append(self.shared_memory)
        if self.options.front:
            jobs.append(self.front)
        if self.options.tokens:
            jobs.append(self.tokens)
        if self.options.clearml:
            jobs.append(self.clearml.lines)
        with ThreadPoolExecutor(len(jobs)) as pool:
            lines = [line for found in pool.map(safe, jobs) for line in found]
        return "".join("%s\n" % line for line in lines)

    def models(self):
        """Ask each model about a picture, and what it is."""
        for name in self.options.model or self.find_models():
            self.known.setdefault(name, {})
        lines = []
        for name in sorted(self.known):
            began = time.monotonic()
            wrong = ask(self.options.triton, name)
            lines += [
                sample("asl_probe_success", not wrong, model=name),
                sample("asl_probe_seconds", time.monotonic() - began, model=name),
            ]
            if wrong:
                print("%s: %s" % (name, wrong), file=sys.stderr, flush=True)
            try:
                self.known[name] = self.parameters(name)
            except (OSError, ValueError):
                pass
            lines += described(name, self.known[name])
        return lines

    def find_models(self):
        """The models that clients call: those that are no parts of others."""
        try:
            text = fetch(self.options.metrics)
        except (OSError, ValueError):
            return []
        found = re.findall(r'^nv_inference_count\{.*?model="([^"]+)"', text, re.M)
        return [name for name in found if not PART.fullmatch(name)]

    def parameters(self, name):
        url = "%s/v2/models/%s/config" % (self.options.triton, urllib.parse.quote(name))
        found = json.loads(fetch(url)).get("parameters", {})
        return {key: value.get("string_value", "") for key, value in found.items()}

    def shared_memory(self):
        found = os.statvfs(self.options.shm)
        size = found.f_blocks * found.f_frsize
        used = size - found.f_bfree * found.f_frsize
        return [sample("asl_shm_size_bytes", size), sample("asl_shm_used_bytes", used)]

    def front(self):
        """Shake hands with the server in front, as its clients do."""
        host, _, port = self.options.front.rpartition(":")
        context = ssl.create_default_context(cafile=self.options.front_ca)
        lines = []
        try:
            with socket.create_connection((host, int(port)), TIMEOUT_S) as plain:
                with context.wrap_socket(plain, server_hostname=host) as secure:
                    until = secure.getpeercert()["notAfter"]
            seconds = ssl.cert_time_to_seconds(until)
            lines.append(sample("asl_front_expiry_timestamp_seconds", seconds))
            up = True
        except (OSError, ValueError) as error:
            print("%s: %s" % (self.options.front, error), file=sys.stderr, flush=True)
            up = False
        return lines + [sample("asl_front_up", up)]

    def tokens(self):
        return [
            sample(
                "asl_token_issued_timestamp_seconds",
                path.stat().st_mtime,
                client=path.stem,
            )
            for path in sorted(Path(self.options.tokens).glob("*.header"))[:1000]
        ]


class ClearML:
    """Queues, and the trainings that are promoted, of any ClearML server.

    Args:
        address: Of its API.
        keys: File with a JSON object of "access_key" and "secret_key".
    """

    def __init__(self, address, keys):
        self.address, self.keys = address, keys
        # a server elsewhere may be behind a proxy
        self.opener = urllib.request.build_opener()
        host = urllib.parse.urlsplit(address or "").hostname
        if host in ("localhost", "127.0.0.1", "::1"):
            self.opener = DIRECT

    def lines(self):
        try:
            token = self.log_in()
            queues = self.call(token, "queues.get_all_ex", {"max_task_entries": 1000})
            order = {"tags": ["best"], "type": ["training"], "page": 0}
            order.update(page_size=100, only_fields=["id", "name", "last_change"])
            best = self.call(token, "tasks.get_all", order)
        except (OSError, ValueError, KeyError) as error:
            print("ClearML: %s" % error, file=sys.stderr, flush=True)
            return [sample("clearml_up", 0)]
        lines = [sample("clearml_up", 1)]
        for queue in queues["queues"]:
            waiting = queue.get("entries") or []
            since = [moment(entry.get("added")) for entry in waiting]
            oldest = time.time() - min(since) if since else 0
            for name, value in (
                ("tasks", len(waiting)),
                ("oldest_seconds", max(0, oldest)),
                ("workers", len(queue.get("workers") or [])),
            ):
                lines.append(
                    sample("clearml_queue_%s" % name, value, queue=queue["name"])
                )
        for task in best["tasks"]:
            value = moment(task.get("last_change"))
            labels = {"task_id": task["id"], "task": task.get("name", "")}
            lines.append(sample("asl_promoted_timestamp_seconds", value, **labels))
        return lines

    def log_in(self):
        keys = json.loads(Path(self.keys).read_text(encoding="utf-8"))
        pair = "%s:%s" % (keys["access_key"], keys["secret_key"])
        basic = base64.b64encode(pair.encode()).decode()
        return self.ask("auth.login", {}, "Basic %s" % basic)["token"]

    def call(self, token, endpoint, body):
        return self.ask(endpoint, body, "Bearer %s" % token)

    def ask(self, endpoint, body, authorization):
        headers = {"Content-Type": "application/json", "Authorization": authorization}
        url = "%s/%s" % (self.address.rstrip("/"), endpoint)
        text = fetch(url, json.dumps(body).encode(), headers, self.opener)
        return json.loads(text)["data"]


def ask(url, model):
    """Have a model infer; return in one line what is wrong with it, or None."""
    return probe.failure(url, PROBES, TIMEOUT_S, model)


def described(name, parameters):
    """What a model's config says of the version that is served."""
    if not parameters:
        return []
    labels = {"model": name, "version": parameters.get("version", "")}
    more = {key: parameters.get(key, "") for key in ("task_id", "dataset_id")}
    lines = [sample("asl_served_info", 1, **labels, **more)]
    try:
        expected = json.loads(parameters.get("expected", "{}"))
        shares, confidence = expected.get("shares", {}), expected.get("confidence")
        for label, share in shares.items():
            row = {**labels, "class": label}
            lines.append(sample("asl_reference_share", share, **row))
        if confidence is not None:
            lines.append(sample("asl_reference_confidence", confidence, **labels))
    except (ValueError, AttributeError):
        pass
    return lines


def sample(name, value, **labels):
    """One line of Prometheus's text format."""
    text = ",".join('%s="%s"' % (key, escape(x)) for key, x in labels.items())
    return "%s%s %s" % (name, "{%s}" % text if text else "", repr(float(value)))


def escape(value):
    value = str(value).replace("\\", "\\\\")
    return value.replace('"', '\\"').replace("\n", "\\n")


def moment(text):
    """Seconds since 1970 of ClearML's times, which are UTC."""
    try:
        return calendar.timegm(time.strptime(str(text)[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return 0


def safe(job):
    """If a part fails, only its metrics are missing; an alert sees that."""
    try:
        return job()
    except Exception as error:
        print("%s: %r" % (job.__name__, error), file=sys.stderr, flush=True)
        return []


class Handler(BaseHTTPRequestHandler):
    timeout = 10  # of a client that says nothing

    def do_GET(self):
        if self.path != "/metrics":
            self.send_error(404)
            return
        body = self.server.exporter.page().encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def arguments():
    parser = probe.Parser(description="Metrics beside Triton's own.")
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    add("--port", type=int, default=9400, help="0: any free one (%(default)s)")
    add("--triton", default="http://localhost:8000", help="HTTP port (%(default)s)")
    add("--metrics", default="http://localhost:8002/metrics", help="(%(default)s)")
    add("--model", action="append", help="that is asked (default: all there are)")
    add("--shm", default="/dev/shm", help="the server's; empty: none (%(default)s)")
    add("--front", help="HOST:PORT of TLS whose certificate is looked at")
    add("--front-ca", help="PEM file of who has signed it (default: the system's)")
    add("--tokens", help="folder of the clients' *.header, whose age is told")
    add("--clearml", help="address of ClearML's API, whose queues are told")
    add("--clearml-keys", help='JSON file with its "access_key" and "secret_key"')
    return parser


def main():
    options = arguments().parse_args()
    options.triton = options.triton.rstrip("/")
    try:
        server = ThreadingHTTPServer((options.host, options.port), Handler)
    except (OSError, OverflowError) as error:  # in use, no such host, 99999
        address = "%s:%d" % (options.host, options.port)
        print(
            "error: cannot listen at %s (%s); choose another --port or --host"
            % (address, error),
            file=sys.stderr,
        )
        sys.exit(2)
    server.daemon_threads = True
    server.exporter = Exporter(options)
    print("http://%s:%d/metrics" % server.server_address[:2], flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
