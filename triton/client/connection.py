"""One model on one Triton server, asked by gRPC or HTTP."""

import os
import re
import ssl
import time

# Read when gRPC is imported: its errors reach us as exceptions, its log is of no use.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import numpy as np  # noqa: E402
import tritonclient.grpc  # noqa: E402
import tritonclient.http  # noqa: E402
from tritonclient.utils import InferenceServerException  # noqa: E402

UNAVAILABLE = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "502", "504")
UNTRUSTED = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed")
# what gRPC says of a port for HTTP/1: of Triton's, of others'
HTTP_THERE = ("Socket closed", "Failed parsing HTTP/2")
UNAUTHORIZED = ("StatusCode.UNAUTHENTICATED", "401")
ALL = 1000  # labels, more than any model has
NAME = re.compile("[A-Za-z0-9_.-]+")  # of a header


class Failure(Exception):
    """Nothing more can be answered; the text is one line for the user."""

    code = 2


class NoServer(Failure):
    """No server answers."""

    code = 3


class Refused(Exception):
    """The server is there but has refused this request; the text is its reason."""


class Server:
    """One model on one server, by either protocol.

    Args:
        headers: Sent with each request, such as ``{"authorization": "Bearer ..."}``.
        tls: Whether to use it.
        ca: PEM file of the authorities to trust; None: those the library brings along.
        timeout: Seconds that an answer may take.
        retries: How often a server that does not answer is asked once more.

    Attributes:
        batch_size: The most images the model takes in one request.
        outputs: Names of what the model answers.
        version: That was served when this was made.
        parameters: The origin of the model, from its config.
    """

    def __init__(
        self, protocol, url, model, headers, tls=False, ca=None, timeout=60, retries=0
    ):
        self.retries = retries
        self.url, self.model, self.protocol = url, model, protocol
        ask_directly(url)
        self.headers = headers
        if protocol == "grpc":
            self.library, self.arguments = tritonclient.grpc, {"as_json": True}
            settings = {"root_certificates": ca}
            self.timeout = {"client_timeout": timeout}
        else:
            self.library, self.arguments, self.timeout = tritonclient.http, {}, {}
            settings = {"connection_timeout": 10, "network_timeout": timeout}
            settings["ssl_options"] = {"ca_certs": ca} if ca else None
        try:
            ssl.create_default_context(cafile=ca)  # can it be read?
        except OSError as error:
            raise Failure("--ca %s: %s" % (ca, error.strerror)) from None
        try:
            self.client = self.library.InferenceServerClient(url, ssl=tls, **settings)
        except Exception as error:
            raise Failure("'%s' is not host:port (%s)" % (url, error)) from None
        try:
            metadata = self.call("get_model_metadata", model, **self.arguments)
            config = self.call("get_model_config", model, **self.arguments)
        except Refused as error:
            raise Failure(self.why_not(str(error))) from None
        config = config.get("config", config)  # gRPC wraps it once more
        self.input, self.outputs = metadata["inputs"][0], {}
        for output in metadata["outputs"]:
            self.outputs[output["name"]] = output
        self.output = self.outputs.get("probabilities", metadata["outputs"][0])
        if len(metadata["inputs"]) > 1 or self.input["datatype"] != "BYTES":
            raise Failure("model '%s' does not take encoded images" % model)
        self.batch_size = max(1, config.get("max_batch_size", 0))
        found = config.get("parameters", {})
        self.parameters = {k: v.get("string_value", "") for k, v in found.items()}
        # what was deployed; Triton's own number is the same for all of it
        self.version = self.parameters.get("version", metadata["versions"][0])

    def call(self, method, *arguments, **options):
        """Call the client library, again if no server answers."""
        for again in range(self.retries, -1, -1):
            try:
                return self.call_once(method, *arguments, **options)
            except NoServer:
                if not again:
                    raise
                time.sleep(min(8, 0.5 * 2 ** (self.retries - again)))

    def call_once(self, method, *arguments, **options):
        """Call the client library; tell a silent server from one that refuses."""
        options.update(self.timeout, headers=dict(self.headers))
        try:
            return getattr(self.client, method)(*arguments, **options)
        except InferenceServerException as error:
            if error.status() in UNAUTHORIZED:
                raise Failure(
                    "the server at %s wants a valid token; name the file that has it "
                    "with --header @FILE" % self.url
                ) from None
            if error.status() not in UNAVAILABLE:
                raise Refused(" ".join(error.message().split())) from None
            reason = error.message().splitlines()[0]
        except Exception as error:  # refused, timed out, not HTTP, ...
            reason = str(error) or type(error).__name__
        if any(sign in reason for sign in UNTRUSTED):
            raise Failure(
                "the certificate of the server at %s is not trusted, or for another "
                "name; --ca names a file with it, or with its authority's (%s)"
                % (self.url, reason)
            )
        if "connection refused" in reason.lower():  # around it is much of no use
            reason = "connection refused"
        remedy = "start one with scripts/serve, or name it with --url"
        may_be_http = self.url.endswith(":8000") or any(x in reason for x in HTTP_THERE)
        if self.protocol == "grpc" and may_be_http:
            remedy += "; if that is its HTTP port, add --protocol http"
        raise NoServer(
            "no Triton server answers at %s by %s (%s); %s"
            % (self.url, self.protocol, reason, remedy)
        )

    def why_not(self, reason):
        """Explain a refused model, naming those that are served."""
        try:  # the repository's index is not for everybody
            statistics = self.call("get_inference_statistics", **self.arguments)
        except Refused:
            return "model '%s': %s" % (self.model, reason)
        names = sorted({m["name"] for m in statistics.get("model_stats", [])})
        if self.model in names:
            return "model '%s': %s" % (self.model, reason)
        return "the server at %s does not serve a model '%s'; it serves: %s" % (
            self.url,
            self.model,
            ", ".join(names) or "none",
        )

    def classify(self, files, top=ALL):
        """Send encoded images in one request.

        Returns:
            For each image, the ``top`` most probable ``(label, probability)``, and the
            model's version.

        Raises:
            Refused: The server could not answer, for one image's fault or another's.
        """
        answer = self.infer(files, [self.output["name"]], top)
        return self.letters(answer, len(files)), self.version

    def see(self, file):
        """Send one encoded image.

        Returns:
            ``{label: probability}``, the model's other outputs by name, and its
            version.
        """
        answer = self.infer([file], list(self.outputs), ALL)
        others = {
            name: answer.as_numpy(name)[0]
            for name in self.outputs
            if name != self.output["name"]
        }
        return dict(self.letters(answer, 1)[0]), others, self.version

    def infer(self, files, outputs, top):
        shape = [len(files) if int(n) == -1 else int(n) for n in self.input["shape"]]
        tensor = self.library.InferInput(self.input["name"], shape, "BYTES")
        tensor.set_data_from_numpy(np.array(files, object).reshape(shape))
        wanted = [
            self.library.InferRequestedOutput(
                name, class_count=top if name == self.output["name"] else 0
            )
            for name in outputs
        ]
        return self.call("infer", self.model, [tensor], outputs=wanted)

    def letters(self, answer, count):
        rows = answer.as_numpy(self.output["name"]).reshape(count, -1)
        return [[parse(entry) for entry in row] for row in rows]


def has_port(url):
    """Does ``host:port``, or ``host:port/path``, name the port?"""
    found = re.fullmatch(r"([^:\[\]]+|\[.+\]):([0-9]{1,5})", url.partition("/")[0])
    return found is not None and int(found[2]) < 65536


def ask_directly(url):
    """Connect to this machine without the environment's proxy."""
    host = url.rpartition(":")[0].strip("[]")
    if host == "localhost" or host == "::1" or host.startswith("127."):
        os.environ["no_proxy"] = os.environ["no_grpc_proxy"] = host


def parse(entry):
    """Split the server's ``b"0.98:0:A"``; without a label the index stands for it."""
    probability, index, *label = entry.decode().split(":", 2)
    return (label or [index])[0], float(probability)


def read_headers(entries):
    """Turn ["NAME:VALUE", "@FILE", ...] into a dictionary, names in lower case.

    Raises:
        Failure: A file cannot be read, or an entry (not shown: it may be secret) is
            none.
    """
    headers = {}
    for entry in entries:
        lines = [entry]
        if entry.startswith("@"):
            try:
                with open(entry[1:], encoding="ascii") as file:
                    lines = file.read().splitlines()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or error
                raise Failure("--header %s: %s" % (entry, reason)) from None
        for line in lines:
            name, colon, value = line.partition(":")
            if not (colon and NAME.fullmatch(name) and value.strip().isprintable()):
                raise Failure("--header takes NAME:VALUE, or @FILE with such lines")
            headers[name.lower()] = value.strip()  # gRPC insists on lower case
    return headers
