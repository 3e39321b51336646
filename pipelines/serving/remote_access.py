"""TLS and tokens in front of Triton: nginx, for clients on other machines.

    scripts/remote-access certify asl.example.org        a certificate, for trying
    scripts/remote-access grant laptop                   a token for one client
    scripts/remote-access serve --host 0.0.0.0           nginx, until Ctrl-C
    scripts/remote-access serve --host 0.0.0.0 --page    nginx, for the page as well

HTTP and gRPC pass on one port, health without a token, inference and metadata with one,
and nothing else but the page, which has a token of its own:
triton/nginx/asl.conf.template. Certificates, tokens, configuration
and log lie in ``<data folder>/remote-access``, readable by their owner only.
"""

import argparse
import grp
import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

from data_prep.command_line import (
    HelpFormatter,
    address,
    command_parser,
    port_number,
)
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.paths import ROOT
from data_prep.stopping import until_stopped
from pipelines.serving.bounded_log import bounded
from pipelines.serving.remote_credentials import (
    DAYS,
    certify,
    clients,
    folder,
    grant,
    renew,
    revoke,
    running,
    tls_files,
    write,
)
from pipelines.serving.triton_server import pick_ports

ACCESS_LOG = "access.log"
PAGE = "127.0.0.1:8080"  # where scripts/demo is, unless told otherwise
TEMPLATE = ROOT / "triton/nginx/asl.conf.template"
# scripts/setup unpacks Debian's package there; an installed nginx comes first
UNPACKED = ROOT / ".nginx/usr/sbin/nginx"
# An ordinary user's PATH lacks it.
SYSTEM = "/usr/sbin"

# What stands around the template. Workers write nothing but to files that are opened
# for them, so they may be another user than the owner of the folder.
FRAME = """\
daemon off;
pid nginx.pid;
error_log stderr;
worker_processes {workers};
# so long may connections of before a change of tokens go on
worker_shutdown_timeout 30s;
{user}
events {{}}
http {{
    client_body_temp_path tmp/body;
    proxy_temp_path tmp/proxy;
    fastcgi_temp_path tmp/fastcgi;
    uwsgi_temp_path tmp/uwsgi;
    scgi_temp_path tmp/scgi;
    include asl.conf;
}}
"""


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "scripts/remote-access",
        description="Let clients of other machines reach Triton: TLS and tokens.",
        example="serve --host example.org",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    serve = actions.add_parser(
        "serve", formatter_class=HelpFormatter, help="run nginx until Ctrl-C"
    )
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at; 0.0.0.0: all (default %(default)s)",
    )
    serve.add_argument("--port", type=port_number, default=8443, help="0: any free one")
    serve.add_argument(
        "--http",
        type=address,
        default="127.0.0.1:8000",
        help="Triton's HTTP port",
    )
    serve.add_argument(
        "--grpc",
        type=address,
        default="127.0.0.1:8001",
        help="Triton's gRPC port",
    )
    serve.add_argument(
        "--page",
        type=address,
        nargs="?",
        const=PAGE,
        metavar="HOST:PORT",
        help="pass on the page, too, of scripts/demo --front https://HOST:8443; "
        f"without a value the one at {PAGE}",
    )
    for option, file in ("--certificate", "chain"), ("--key", "private key"):
        serve.add_argument(
            option,
            type=Path,
            metavar="FILE",
            help=f"PEM {file} (default: what certify has made)",
        )
    certify = actions.add_parser(
        "certify", formatter_class=HelpFormatter, help="make a self-signed certificate"
    )
    certify.add_argument(
        "names",
        nargs="+",
        metavar="HOST",
        help="names and addresses by which clients reach the server",
    )
    for action, text in (
        ("grant", "make a token for a client"),
        ("revoke", "a client's token is valid no longer"),
    ):
        command = actions.add_parser(action, formatter_class=HelpFormatter, help=text)
        command.add_argument("client", metavar="NAME", help="whose token it is")
    return parser


def render(
    listen: str, http: str, grpc: str, page: str | None, certificate: Path, key: Path
) -> Path:
    """Write nginx's configuration; return its file.

    Args:
        listen: Where nginx listens, ``host:port``.
        http, grpc: Triton's two ports, ``host:port`` each.
        page: The page's port; None: there is none.
        certificate, key: PEM files.
    """
    values = {
        "LISTEN": listen,
        "TRITON_HTTP": http,
        "TRITON_GRPC": grpc,
        "PAGE": page or f"{PAGE} down",
        "CERTIFICATE": quote(certificate),
        "KEY": quote(key),
        "TOKENS": quote(folder() / "tokens.conf"),
        "ACCESS_LOG": quote(folder() / ACCESS_LOG),
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    write(folder() / "asl.conf", text)
    frame = FRAME.format(workers=min(4, os.cpu_count() or 1), user=user())
    write(folder() / "nginx.conf", frame)
    (folder() / "tmp").mkdir(exist_ok=True)
    return folder() / "nginx.conf"


def user() -> str:
    """Let workers of a root's nginx be nobody; others stay who they are."""
    if os.geteuid():
        return ""
    nobody = pwd.getpwnam("nobody")
    return f"user nobody {grp.getgrgid(nobody.pw_gid).gr_name};"


def quote(path: Path) -> str:
    text = str(path.resolve())
    if re.search(r'["\\$\n]', text):
        raise InputError(f"nginx cannot be told the path {text!r}; use a plainer one")
    return f'"{text}"'


def find_nginx() -> str:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:{SYSTEM}")
    if program:
        return program
    if UNPACKED.exists():
        return str(UNPACKED)
    raise InputError(
        "there is no nginx; install it (Debian: apt install nginx), or run "
        "scripts/setup nginx, which unpacks Debian's package here"
    )


def prepare(options: argparse.Namespace) -> tuple[list[str], str]:
    """Make everything ready for nginx; return its command line and its address.

    Raises:
        InputError: Something is missing or wrong.
    """
    nginx = find_nginx()
    if pid := running():
        raise InputError(
            f"nginx runs on {folder()} already (process {pid}); stop it first, or set "
            "ASL_HOME to another folder"
        )
    certificate, key = tls_files(options.certificate, options.key)
    if clients() == "none" and not options.page:
        raise InputError(
            "nobody may come in yet; run scripts/remote-access grant NAME for each "
            "client, or pass on the page by --page"
        )
    host = f"[{options.host}]" if ":" in options.host else options.host
    (port,) = pick_ports(options.port, host=options.host)
    renew()
    listen = f"{host}:{port}"
    addresses = options.http, options.grpc, options.page
    configuration = render(listen, *addresses, certificate, key)
    command = [nginx, "-p", str(folder()), "-c", str(configuration), "-e", "stderr"]
    check = subprocess.run([*command, "-t", "-q"], capture_output=True, text=True)
    if check.returncode:
        raise InputError(f"nginx refuses: {check.stderr.strip().splitlines()[0]}")
    return command, listen


def run(command: list[str]) -> int:
    """Run nginx until it ends or we are told to; return its exit code.

    nginx itself never cuts its log.
    """
    with (
        bounded(folder() / ACCESS_LOG),
        subprocess.Popen(command) as nginx,
        until_stopped(nginx.terminate),
    ):
        return nginx.wait()


def announcement(listen: str, options: argparse.Namespace) -> str:
    where, page = folder(), "none; --page passes it on"
    if options.page:
        page = f"of {options.page}: scripts/demo --front says its address and token"
    return f"""\
nginx at {listen}, for Triton at {options.http} (HTTP) and {options.grpc} (gRPC)
  page     {page}
  clients  {clients()}
  log      {where / ACCESS_LOG}
a client's two files are the certificate's authority, which for a self-made one is
{where / 'certificate.pem'}, and its own of {where / 'clients'}:
  client.py --url HOST:{listen.rpartition(':')[2]} --ssl --ca certificate.pem \
--header @NAME.header --image PHOTO.jpg
Ctrl-C stops it"""


@exit_2_on_input_error
def main() -> None:
    options = arguments().parse_args()
    if options.action == "certify":
        print(f"{certify(options.names)} is valid for {DAYS} days; the key lies beside")
    elif options.action == "grant":
        print(f"hand this file over to {options.client}: {grant(options.client)}")
    elif options.action == "revoke":
        revoke(options.client)
        print(f"{options.client} has no access any more")
    else:
        command, listen = prepare(options)
        print(announcement(listen, options), flush=True)
        sys.exit(run(command))


if __name__ == "__main__":
    main()
