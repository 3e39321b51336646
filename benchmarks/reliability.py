"""Does the server stay, and does it answer rightly, whatever is done to it?

    python -m benchmarks.reliability [PART ...] [--clients 8] [--busy 2] ...

Parts, all by default:

    swaps      deployments and roll-backs in turn, under load
    kills      deployments that are killed at any moment, under load
    deaths     model processes that are killed at full load; the watchdog heals
    soak       load, and a deployment now and then; what grows?
    images     mutated images (benchmarks/mutated_images.py)
    requests   malformed requests (benchmarks/broken_requests.py)

Prints a table a part, as in triton/RELIABILITY.md; of a part that is interrupted, what
has been counted. The models are untrained networks of the size of trained ones. Exit
code 1 if a promise was not kept, 130 if interrupted.
"""

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import mutated_images, mutated_requests
from benchmarks.broken_requests import HARMFUL, KINDS
from benchmarks.reliability_clients import Count
from benchmarks.reliability_server import Place, resources, serving
from data_prep.command_line import command_parser
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.paths import ROOT
from pipelines.serving import deployment, model_processes
from pipelines.serving.watchdog import ORPHAN_S, Watchdog

PARTS = ("swaps", "kills", "deaths", "soak", "images", "requests")
DEPLOY = """
import sys
from pathlib import Path
from pipelines.repository.model_config import Settings
from pipelines.serving.deployment import deploy
artifacts, repository, instances, number, grpc, http = sys.argv[1:]
settings, urls = Settings(instances=int(instances)), {"grpc": grpc, "http": http}
print("imported", flush=True)
deploy(Path(artifacts), Path(repository), {"task_id": number}, settings, urls)
"""


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "scripts/bench reliability",
        description="Does the server stay and answer rightly, whatever is done to it?",
        example="swaps --clients 8",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    # Load
    parser.add_argument("--clients", type=int, default=8, help="(default 8)")
    parser.add_argument(
        "--busy", type=int, default=2, help="processes that only compute (default 2)"
    )
    parser.add_argument("--instances", type=int, default=2, help="(default 2)")
    parser.add_argument("--raw", type=Path, help="photographs to send (none: drawn)")
    # How much of it
    parser.add_argument("--swaps", type=int, default=100, help="(default 100)")
    parser.add_argument("--kills", type=int, default=30, help="(default 30)")
    parser.add_argument("--deaths", type=int, default=10, help="(default 10)")
    parser.add_argument(
        "--minutes", type=float, default=10, help="of soak (default 10)"
    )
    parser.add_argument("--images", type=int, default=20_000, help="(default 20000)")
    parser.add_argument("--requests", type=int, default=1_000, help="(default 1000)")
    parser.add_argument(
        "--harmful",
        action="store_true",
        help="requests, too, of the kinds that are known to harm this Triton",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all chance (default 0)")
    return parser


@exit_2_on_input_error
def main() -> None:
    options = arguments().parse_args()
    if unknown := set(options.parts) - set(PARTS):
        raise InputError(f"there is no part {min(unknown)}; there are {PARTS}")
    run = {"swaps": swaps, "kills": kills, "deaths": deaths, "soak": soak}
    run["requests"] = requests
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    kept = True
    try:
        for part in options.parts or PARTS:
            print(f"\n{part}", flush=True)
            if part == "images":  # has a smaller server
                kept &= images(options)
                continue
            with serving(options) as place:
                kept &= run[part](place)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0 if kept else 1)


def swaps(place: Place) -> bool:
    """Deploy and go back in turn: the same part is loaded again at once."""
    seconds = []
    with place.asking() as count:
        for number in progress(place.options.swaps // 2, 2):
            began = time.monotonic()
            place.deploy(2 * number + 1)
            deployed = time.monotonic()
            deployment.roll_back(place.server.repository, place.urls)
            seconds += [deployed - began, time.monotonic() - deployed]
    told = {"swaps and roll-backs": len(seconds)}
    return report(count, place, told | spread("seconds each", seconds))


def kills(place: Place) -> bool:
    """Kill deployments at any moment; the next whole one must leave nothing of them."""
    chance, moments, most = random.Random(place.options.seed), [], "-"
    repository = str(place.server.repository)
    with place.asking() as count:
        for number in progress(place.options.kills):
            artifacts = str(place.candidates[number % 2])
            command = [sys.executable, "-c", DEPLOY, artifacts, repository]
            command += [str(place.settings.instances), str(number)]
            with subprocess.Popen(
                command + list(place.urls.values()),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            ) as process:
                try:
                    process.stdout.readline()
                    moment = chance.uniform(0, 8)
                    time.sleep(moment)
                    process.send_signal(chance.choice((signal.SIGKILL, signal.SIGINT)))
                    process.wait()
                finally:
                    process.kill()
            moments.append(moment)
        most = place.surplus()
        place.deploy(number + 1)
    told = {"killed deployments": len(moments), "processes too many before": most}
    return report(count, place, told)


def deaths(place: Place) -> bool:
    """Kill model processes at full load; failures are counted, not promised away."""
    chance, seconds, said = random.Random(place.options.seed), [], []
    with place.asking() as count, Watchdog(place.server, said.append):
        time.sleep(2)
        for _ in progress(place.options.deaths):
            victims = model_processes.of_server(place.server.process.pid)
            victim = max(victims, key=lambda x: (x.started, chance.random()))
            began, known = time.monotonic(), len(said)
            os.kill(victim.pid, signal.SIGKILL)
            if not wait_until(lambda known=known: len(said) > known, 120):
                print(f"{victim.part} has not been healed")
                return False
            seconds.append(time.monotonic() - began)
        wait_until(lambda: not place.surplus(), ORPHAN_S + 60)
    failed = len(count.failed)
    unexpected = [why for _, why in count.failed if "not healthy" not in why]
    count.failed = [x for x in count.failed if x[1] in unexpected]
    told = {
        "killed model processes": len(seconds),
        **spread("seconds until healed", seconds),
        "requests that died with a process": failed - len(unexpected),
    }
    return report(count, place, told)


def soak(place: Place) -> bool:
    """Ask for minutes, deploy now and then; look at what might grow."""
    ends = time.monotonic() + 60 * place.options.minutes
    place.deploy(1)
    before, number = resources(place.server), 1
    with place.asking() as count:
        time.sleep(min(30, 6 * place.options.minutes))  # buffers of the first requests
        before = resources(place.server)
        while time.monotonic() < ends:
            time.sleep(max(0, min(60, ends - time.monotonic())))
            number += 1
            place.deploy(number)
            print(f"  {resources(place.server)}", flush=True)
        wait_until(lambda: not place.surplus(), 60)
    after = resources(place.server)
    told = {"minutes": place.options.minutes, "deployments": number}
    told |= {x: f"{before[x]} -> {after[x]}" for x in before}
    return report(count, place, told)


def requests(place: Place) -> bool:
    """Send malformed requests beside innocent ones."""
    result = mutated_requests.run(
        place.server.http_url,
        place.server.grpc_url,
        mutated_requests.pictures(),
        place.options.requests,
        place.options.seed,
        lambda text: print(f"  {text}", flush=True),
        KINDS + HARMFUL * place.options.harmful,
    )
    result.alive &= place.server.process.poll() is None
    print(f"\n{mutated_requests.table(result)}", flush=True)
    if result.interrupted:
        raise KeyboardInterrupt
    return result.good


def images(options: argparse.Namespace) -> bool:
    """Send damaged images to the decoder, and to a server beside good photographs."""
    result = mutated_images.run(options.images, options.seed)
    print(f"\n{mutated_images.table(result)}", flush=True)
    if result.interrupted:
        raise KeyboardInterrupt
    return not result.bad


def report(count: Count, place: Place, told: dict) -> bool:
    """Print a part's table; say whether what it must keep was kept.

    Raises:
        KeyboardInterrupt: The part was interrupted; its table is printed all the same.
    """
    if not place.interrupted:
        wait_until(lambda: not place.surplus(), 60)
    left, alive = place.surplus(), place.server.process.poll() is None
    asked = {
        "clients; processes that only compute": (
            f"{place.options.clients}; {place.options.busy}"
        ),
        "requests": count.asked,
        "failed": len(count.failed),
        "wrong answers": count.wrong,
        "slowest answer, s": f"{count.slowest_s:.2f}",
        "model processes too many at the end": left,
        "server alive": "yes" if alive else "no",
    }
    if place.interrupted:
        asked = {"interrupted": "yes"} | asked
    print("\n| | |\n|---|---|")
    for name, value in (told | asked).items():
        print(f"| {name} | {value} |")
    for why, number in Counter(why for _, why in count.failed).most_common(5):
        print(f"{number} x {why}")
    sys.stdout.flush()
    if place.interrupted:
        raise KeyboardInterrupt
    return not (count.failed or count.wrong or left) and alive


def spread(name: str, seconds: list[float]) -> dict[str, str]:
    """A row of a table: the median and the most, if there are any."""
    if not seconds:
        return {}
    median, most = statistics.median(seconds), max(seconds)
    return {f"{name}, median and most": f"{median:.1f}, {most:.1f}"}


def progress(rounds: int, each: int = 1) -> Iterator[int]:
    """Count, with a line now and then."""
    said = time.monotonic()
    for number in range(rounds):
        yield number
        if time.monotonic() - said > 30:
            said = time.monotonic()
            print(f"  {each * (number + 1)} of {each * rounds}", flush=True)


def wait_until(true: Callable, seconds: float) -> bool:
    """Wait until something is true, for a while at most; say whether it is."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


if __name__ == "__main__":
    main()
