"""Send alerts when the server has a fault, without Prometheus.

    python -m pipelines.monitor [--every 15s] [--receivers FILE] [--once]

Reads the metrics of Triton, of the exporter beside it, which it runs, and of the page's
gateway; computes the rules of triton/monitoring/rules.yaml, the very ones that
Prometheus reads; and tells the receivers of FILE (docs/monitoring.md) which alerts fire
and which are resolved. It keeps in a folder what it has seen and sent, so a restart of
the monitor or of the server makes it send nothing twice. The recorded series become
scalars of the ClearML task ``monitor``.
"""

import argparse
import os
import time
from pathlib import Path

from data_prep.answer import add_json, answering
from data_prep.command_line import address, command_parser, url
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.paths import data_home
from data_prep.stopping import until_stopped
from pipelines import loopback
from pipelines.monitoring import receivers, rules, targets
from pipelines.monitoring.alerts import Alerts
from pipelines.monitoring.history import LOOKBACK_S, History
from pipelines.monitoring.promql import seconds
from pipelines.monitoring.reporting import Reporting, write_keys
from pipelines.serving import running_server

HISTORY_FILE, ALERTS_FILE = "history.json", "alerts.json"
SAVE_S = 60.0  # between two writings of the history
SOON_S = 1.0  # the least time between two looks
TRITON, METRICS = "http://127.0.0.1:8000", "http://127.0.0.1:8002/metrics"


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "python -m pipelines.monitor",
        "Send alerts when the server has a fault, without Prometheus.",
        "--every 5m --receivers receivers.yaml",
    )
    # How often, and for how long
    parser.add_argument(
        "--every",
        default="15s",
        metavar="TIME",
        help="between two looks, such as 15s or 5m; sooner where something is about to "
        "fire",
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="check once, send alerts, and end; for cron, which then decides how often",
    )
    # Who is told
    parser.add_argument(
        "--receivers",
        type=Path,
        metavar="FILE",
        help="YAML file of mode 600 (default: DATA/monitoring/receivers.yaml if it is "
        "there, else nobody is told and alerts are printed)",
    )
    parser.add_argument(
        "--no-clearml", action="store_true", help="report nothing to ClearML"
    )
    # What is watched
    parser.add_argument(
        "--repository",
        type=Path,
        default=data_home() / "models",
        help="model repository of scripts/serve, whose server is found by it "
        "(default %(default)s)",
    )
    for option, default in ("--triton", TRITON), ("--metrics", METRICS):
        parser.add_argument(
            option,
            type=url,
            metavar="URL",
            help="of another server (default: of the one that is found, "
            f"else {default})",
        )
    parser.add_argument(
        "--gateway", type=url, metavar="URL", help="metrics of the page's gateway"
    )
    parser.add_argument(
        "--front", type=address, metavar="HOST:PORT", help="TLS in front of it"
    )
    parser.add_argument("--front-ca", metavar="FILE", help="who signed its certificate")
    parser.add_argument(
        "--rules", type=Path, default=rules.RULES, help="in Prometheus's form"
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=data_home() / "monitoring",
        help="folder of what has been seen and told (default %(default)s)",
    )
    add_json(parser, "of --once, the alerts that fire")
    return parser


class Monitor:
    """Looks, computes, tells; what it knows lies in a folder.

    Args:
        options: Of the command line.
        say: Is told what happens, in one line each.
    """

    def __init__(self, options: argparse.Namespace, say=print):
        self.options, self.say = options, say
        self.every = max(SOON_S, seconds(options.every))
        self.rules = rules.load_rules(options.rules)
        self.inhibitions = rules.load_inhibitions()
        self.wanted = rules.metrics(self.rules)
        self.receivers = find_receivers(options)
        try:
            options.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise InputError(
                f"--state {options.state} cannot be made ({error.strerror}); name "
                "another folder"
            ) from None
        lookback = max(LOOKBACK_S, 2.5 * self.every)
        self.history = History(lookback, 1.5 * self.every)
        self.exporter = targets.Exporter()
        self.saved = 0.0
        self.clearml: list[str] = []
        try:
            self.history.load(options.state / HISTORY_FILE)
        except ValueError:
            say(f"{options.state / HISTORY_FILE} is damaged; the history begins anew")
        try:
            self.alerts = Alerts(options.state / ALERTS_FILE)
        except ValueError:
            raise InputError(
                f"{options.state / ALERTS_FILE} is damaged; remove it, and what fires "
                "is told once more"
            ) from None

    def look(self) -> None:
        """Do everything once."""
        now = time.time()
        targets.scrape(self.targets(), self.wanted, self.history, now)
        self.alerts.update(rules.apply(self.rules, self.history, now), now)
        self.alerts.save()  # what is to be told, before it is
        self.tell()
        if now - self.saved >= SAVE_S:
            self.save(now)

    def save(self, now: float) -> None:
        self.history.thin(now)
        self.history.save(self.options.state / HISTORY_FILE)
        self.saved = now

    def targets(self) -> list[targets.Target]:
        options = self.options
        note = None if options.triton else running_server.find_note(options.repository)
        triton, metrics = options.triton or TRITON, options.metrics or METRICS
        shm = Path("/dev/shm")
        if note:
            triton = f"http://{note['urls']['http']}"
            metrics = options.metrics or note.get("metrics") or METRICS
            shm = targets.shared_memory(note["process"])
        chosen = {
            "triton": triton,
            "metrics": metrics,
            "shm": shm,
            "front": options.front,
            "front-ca": options.front_ca,
            "tokens": data_home() / "remote-access" / "clients",
        }
        line = [f"--{key}={value}" for key, value in chosen.items() if value]
        found = [
            targets.Target("triton", metrics),
            self.exporter.ensure([*line, *self.clearml]),
        ]
        if options.gateway:
            found.append(targets.Target("gateway", options.gateway))
        return found

    def tell(self) -> None:
        """Send each receiver what is new to it; try again later where that fails."""
        for receiver in self.receivers:
            news = self.alerts.news(receiver.name, self.inhibitions)
            if not news:
                continue
            try:
                receiver.tell(news)
            except receivers.Undelivered as error:
                self.say(f"not told: {error}; it is tried again")
                continue
            for alert in news:
                alert.told[receiver.name] = alert.state
            self.alerts.save()  # at once: nobody is to be told twice
            names = ", ".join(f"{alert.state} {alert.name}" for alert in news)
            self.say(f"told {receiver.name}: {names}")
        self.alerts.forget(receiver.name for receiver in self.receivers)
        self.alerts.save()

    def pause(self) -> float:
        """How long to wait for the next look, seconds."""
        pending = self.alerts.pending_s(self.rules, time.time())
        if pending is None:
            return self.every
        return min(self.every, max(SOON_S, pending))


class Console:
    """The receiver of those who have named none."""

    name = "console"

    def tell(self, alerts) -> None:
        print(receivers.as_text(alerts), flush=True)


def find_receivers(options: argparse.Namespace) -> list:
    path = options.receivers or options.state / "receivers.yaml"
    if options.receivers is None and not path.exists():
        return [Console()]
    return receivers.load(path)


def summary(alerts: Alerts) -> str:
    """How many alerts fire, and which may soon."""
    count = len(alerts.firing())
    text = "1 alert fires" if count == 1 else f"{count or 'no'} alerts fire"
    waiting = {alert.name for alert in alerts.known.values() if alert.fired is None}
    return text + (f"; soon, if it lasts: {', '.join(sorted(waiting))}" * bool(waiting))


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


@exit_2_on_input_error
def main() -> None:
    options = arguments().parse_args()
    with answering(arguments()) as answer:
        if options.json and not options.once:
            raise InputError("--json goes with --once, which ends; add that")
        answer["alerts"] = watch(options)


def watch(options: argparse.Namespace) -> list[dict]:
    """Look until Ctrl-C, or once; return the alerts that fire then.

    Raises:
        InputError: An option, the rules or what is kept cannot be used.
    """
    os.umask(0o077)
    loopback.bypass_proxies()
    monitor = Monitor(options, say)
    with until_stopped(), monitor.exporter:
        reporting = None
        if not options.no_clearml:
            reporting = Reporting(options.state)
            monitor.clearml = write_keys(options.state)
        to = ", ".join(receiver.name for receiver in monitor.receivers)
        often = f"every {options.every}"
        how = "once" if options.once else f"{often}; Ctrl-C stops it"
        say(f"looking {how}; told: {to}")
        try:
            while True:
                monitor.look()
                if reporting:
                    reporting.report(monitor.history, monitor.rules, monitor.alerts)
                if options.once:
                    say(summary(monitor.alerts))
                    break
                time.sleep(monitor.pause())
        finally:
            monitor.save(time.time())
            if reporting:
                reporting.close()
    return [
        {
            "name": alert.name,
            "labels": alert.labels,
            "annotations": alert.annotations,
            "value": alert.value,
            "since": alert.since,
        }
        for alert in monitor.alerts.firing()
    ]


if __name__ == "__main__":
    main()
