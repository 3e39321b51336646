"""Connect to this machine directly, whatever proxy the environment names."""

import os

HOSTS = ("localhost", "127.0.0.1", "::1")
# As Python's libraries, curl and gRPC read them; gRPC looks at its own one first.
VARIABLES = ("no_proxy", "NO_PROXY")
GRPC_VARIABLE = "no_grpc_proxy"


def bypass_proxies() -> None:
    """Keep proxies out of the way to this machine, for this process and its children.

    Commands call it before they connect to anything.
    """
    names = [*VARIABLES, *([GRPC_VARIABLE] if GRPC_VARIABLE in os.environ else [])]
    for name in names:
        hosts = [x.strip() for x in os.environ.get(name, "").split(",") if x.strip()]
        missing = [host for host in HOSTS if host not in hosts]
        os.environ[name] = ",".join(hosts + missing)
