#!/usr/bin/env python3
"""Start a tritonserver that answers everybody, but loads models only with a key.

    python3 launch.py [--own-shm] [--end-with PID] [--load-deployed] \
        tritonserver --model-repository=X ...

Whoever reaches a port of Triton could otherwise have it run code of his own (load a
model with "file:1/model.py"), unload models, map other programs' shared memory, and
write files as log or trace. Those calls want a key here, by HTTP and by gRPC:

    HTTP  asl-key: KEY
    gRPC  triton-grpc-protocol-asl-key: KEY

The key is the first word of the file that TRITON_KEY_FILE names, or of
/run/secrets/triton-key, or else TRITON_KEY of the environment. Without any of
them the key is random and nobody knows it: then nobody can make such calls. Needs
nothing but Python and Linux.

Triton takes the key as an argument, and everybody on a machine can read arguments. So
it is handed over out of sight: see `execute`.
"""

import argparse
import ctypes
import os
import re
import secrets
import signal
import struct
import sys
from pathlib import Path

CLOSED = "model-repository,shared-memory,trace,logging"
HEADER = "asl-key"
OPTIONS = ("--http-restricted-api", "--grpc-restricted-protocol")
MOUNTED = "/run/secrets/triton-key"  # where Docker and Kubernetes put it

PTRACE_CONT, PTRACE_DETACH, PTRACE_SEIZE = 7, 17, 0x4206
PTRACE_O_TRACEEXEC, PTRACE_EVENT_EXEC = 0x10, 4
PR_SET_PDEATHSIG, PR_SET_PTRACER = 1, 0x59616D61
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_NOSUID, MS_NODEV, MS_REC, MS_SLAVE = 2, 4, 1 << 14, 1 << 19
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def read_key():
    """Return the key of this server; SystemExit where what is named holds none."""
    named = os.environ.get("TRITON_KEY_FILE")
    path = named or MOUNTED
    try:
        text = Path(path).read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        if named:
            sys.exit("error: there is no %s, which TRITON_KEY_FILE names" % path)
        path, text = "TRITON_KEY", os.environ.get("TRITON_KEY", "")
        if not text:
            return secrets.token_hex(32)
    except OSError as error:
        sys.exit("error: user %d cannot read the key: %s" % (os.getuid(), error))
    key = (text.split() or [""])[0]
    if not re.fullmatch("[A-Za-z0-9_-]{32,256}", key):
        sys.exit(
            "error: %s holds no key; it takes 32 to 256 letters and digits, such as "
            "openssl rand -hex 32 prints" % path
        )
    return key


def own_shared_memory():
    """Have a /dev/shm that no other program sees, where the system allows that.

    Triton and its Python models pass photographs on through files there, which Triton
    makes readable for all users of the machine. Root needs no more than a namespace of
    mounts; others need one of users as well.

    Returns:
        Whether it could be done.
    """
    for namespaces in CLONE_NEWNS, CLONE_NEWNS | CLONE_NEWUSER:
        child = os.fork()  # half done it would be harmful: try it out
        if not child:
            os._exit(0 if enter(namespaces) else 1)
        if os.waitpid(child, 0)[1] == 0:
            return enter(namespaces)
    return False


def enter(namespaces):
    """Enter new namespaces, and mount a /dev/shm there; return whether it worked."""
    identity = {"uid_map": os.getuid(), "gid_map": os.getgid()}
    if LIBC.unshare(namespaces):
        return False
    if namespaces & CLONE_NEWUSER:
        try:
            Path("/proc/self/setgroups").write_text("deny")
            for name, number in identity.items():
                Path("/proc/self", name).write_text("%d %d 1" % (number, number))
        except OSError:
            return False
    flags = ctypes.c_ulong(MS_REC | MS_SLAVE)
    if LIBC.mount(b"none", b"/", None, flags, None):
        return False
    flags = ctypes.c_ulong(MS_NOSUID | MS_NODEV)
    return LIBC.mount(b"asl", b"/dev/shm", b"tmpfs", flags, b"mode=0700") == 0


def deployed(command):
    """Name the models to load of the repository of a command: what clients call.

    A deployed model is two folders with a config, NAME and NAME_classifier; what else
    lies there are parts of their versions, which Triton loads along.
    """
    for argument in command:
        option, _, folder = argument.partition("=")
        if option == "--model-repository":
            break
    else:
        sys.exit("error: --load-deployed needs --model-repository=FOLDER")
    names = {path.parent.name for path in Path(folder).glob("*/config.pbtxt")}
    found = sorted(name for name in names if name + "_classifier" in names)
    if not found:
        sys.exit("error: no model has been deployed to %s" % folder)
    return [called for name in found for called in (name, name + "_classifier")]


def execute(command, hidden):
    """Become a program, with arguments that its command line does not show.

    The program's environment, which only its owner can read, holds them. As it begins,
    stopped at its first instruction, a helper process makes its argument vector point
    there. The command line has a placeholder instead, which no program takes for one of
    its options: should the helper fail then, the program refuses to start.

    Args:
        command: Program and arguments.
        hidden: Further arguments.
    """
    places = ["--hidden-argument-%d" % number for number in range(len(hidden))]
    variables = ["HIDDEN_ARGUMENT_%d" % number for number in range(len(hidden))]
    if not follow(places, hidden):
        print(
            "warning: other users of this machine can read the key of this server on "
            "its command line: the system lets no process trace another",
            file=sys.stderr,
            flush=True,
        )
        os.execvp(command[0], [*command, *hidden])
    kept = dict(zip(variables, hidden))
    os.execvpe(command[0], [*command, *places], {**os.environ, **kept})


def follow(places, hidden):
    """Start the helper; return whether it waits for this process to become another."""
    process = os.getpid()
    told, tell = os.pipe()
    asked, ask = os.pipe()
    between = os.fork()
    if not between:
        # A child's child, so that the program has no child which it does not know.
        if os.fork():
            os._exit(0)
        os.read(asked, 1)  # until this helper may trace
        done = LIBC.ptrace(PTRACE_SEIZE, process, None, PTRACE_O_TRACEEXEC) == 0
        os.write(tell, b"1" if done else b"0")
        try:
            if done:
                reveal(process, places, hidden)
        finally:
            os._exit(0)
    os.waitpid(between, 0)
    # Where the security module Yama guards processes, a parent may not be traced else.
    LIBC.prctl(PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
    os.write(ask, b"1")
    for end in asked, ask, tell:
        os.close(end)
    done = os.read(told, 1) == b"1"
    os.close(told)
    return done


def reveal(process, places, hidden):
    """Wait until a traced process has become the program, then exchange arguments."""
    while True:
        _, status = os.waitpid(process, 0)
        if not os.WIFSTOPPED(status):
            return
        if status >> 16 == PTRACE_EVENT_EXEC:
            break
        LIBC.ptrace(PTRACE_CONT, process, None, os.WSTOPSIG(status))
    try:
        exchange(process, places, hidden)
    finally:
        LIBC.ptrace(PTRACE_DETACH, process, None, None)


def exchange(process, places, hidden):
    """Make the pointers to some arguments of a process point into its environment."""
    folder = Path("/proc", str(process))
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    # as man 5 proc numbers them: arg_start is 48, the first one here 3
    arguments, arguments_end, variables, variables_end = map(int, fields[45:49])
    for line in (folder / "maps").read_text().splitlines():
        stack, end = (int(x, 16) for x in line.split()[0].split("-"))
        if stack <= arguments < end:
            break
    with open(folder / "mem", "r+b", buffering=0) as memory:

        def read(start, end):
            memory.seek(start)
            return memory.read(end - start)

        shown = read(arguments, arguments_end)
        kept = read(variables, variables_end)
        pointers = read(stack, arguments)
        for place, text in zip(places, hidden):
            old = arguments + shown.index(b"\0%s\0" % place.encode()) + 1
            new = variables + kept.index(b"=%s\0" % text.encode()) + 1
            memory.seek(stack + pointers.index(struct.pack("P", old)))
            memory.write(struct.pack("P", new))


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line."""

    def error(self, message):
        self.exit(2, "error: %s (see %s --help)\n" % (message, self.prog))


def main():
    parser = Parser(
        usage="launch.py [--own-shm] [--end-with PID] [--load-deployed] PROGRAM "
        "[ARGUMENT ...]",
        description="Become a tritonserver whose administration wants a key.",
    )
    parser.add_argument(
        "--own-shm",
        action="store_true",
        help="with a /dev/shm that no other program sees, where the system allows it",
    )
    parser.add_argument(
        "--end-with", type=int, metavar="PID", help="of the parent: end when it does"
    )
    parser.add_argument(
        "--load-deployed",
        action="store_true",
        help="have it load all models that are deployed to its --model-repository",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if not options.command:
        parser.error("name the program to become")
    command = options.command
    if options.load_deployed:
        command = command + ["--load-model=" + name for name in deployed(command)]
    key = read_key()
    if options.own_shm:
        own_shared_memory()
    if options.end_with:  # after that, which would undo it
        LIBC.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != options.end_with:
            sys.exit("the parent has ended")
    limits = ["%s=%s:%s=%s" % (option, CLOSED, HEADER, key) for option in OPTIONS]
    execute(command, limits)


if __name__ == "__main__":
    main()
