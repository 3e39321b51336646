"""A parser of that part of Prometheus's query language that the rules are written in.

Selectors with matchers, ranges and offsets; aggregations with ``by``; functions;
arithmetic, comparisons and set operators with ``on``, ``ignoring``, ``group_left`` and
``group_right``. `evaluation` computes what is parsed here. What else the language has
is refused, by name.

https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

import re
from dataclasses import dataclass

from data_prep.errors import InputError

AGGREGATIONS = ("sum", "max", "min", "avg", "count")
# and how many arguments each takes
FUNCTIONS = {
    **dict.fromkeys(("increase", "rate", "absent", "ln", "abs"), 1),
    **{"clamp_min": 2, "clamp_max": 2, "label_replace": 5, "time": 0},
}
OVER_RANGES = ("increase", "rate")
# from the loosest to the tightest; all are left-associative
PRECEDENCE = (
    ("or",),
    ("and", "unless"),
    ("==", "!=", "<=", "<", ">=", ">"),
    ("+", "-"),
    ("*", "/", "%"),
)
SETS, COMPARISONS = PRECEDENCE[0] + PRECEDENCE[1], PRECEDENCE[2]
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
TOKEN = re.compile(
    r"""\s*(?:
    (?P<duration>(?:\d+(?:ms|[smhdw]))+)(?![\w.])
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<operator>=~|!~|==|!=|<=|>=|[-+*/%<>=(){}\[\],])
    )""",
    re.X,
)


@dataclass(frozen=True)
class Number:
    value: float


@dataclass(frozen=True)
class Text:
    value: str


@dataclass(frozen=True)
class Selector:
    """Series by name and labels.

    Attributes:
        name: Of the metric.
        matchers: ``(label, operator, value)`` each; values of =~ and !~ are patterns.
        range_s: Of a range of samples; 0: the last one only.
        offset_s: How long before now.
    """

    name: str
    matchers: tuple[tuple[str, str, str], ...] = ()
    range_s: float = 0
    offset_s: float = 0


@dataclass(frozen=True)
class Call:
    function: str
    arguments: tuple


@dataclass(frozen=True)
class Aggregate:
    operator: str
    by: tuple[str, ...]
    inner: "Node"


@dataclass(frozen=True)
class Binary:
    """Two operands and an operator.

    Attributes:
        labels: By which the series of both sides are matched; None: all.
        ignoring: Whether ``labels`` are those that do not count.
        many: The side of which several series go with one of the other, "left" or
            "right"; "": one goes with one.
        included: Labels that the one side lends to the many.
    """

    operator: str
    left: "Node"
    right: "Node"
    labels: tuple[str, ...] | None = None
    ignoring: bool = False
    many: str = ""
    included: tuple[str, ...] = ()


Node = Number | Text | Selector | Call | Aggregate | Binary


def parse(text: str) -> Node:
    """Parse one expression.

    Raises:
        InputError: It is none, or has what is not known here.
    """
    return _Parser(text).whole()


def seconds(text: str) -> float:
    """Read a duration such as ``1h30m``.

    Raises:
        InputError: It is none.
    """
    parts = re.findall(r"(\d+)(ms|[smhdw])", text)
    if not parts or "".join(map("".join, parts)) != text:
        raise InputError(f"'{text}' is no duration; write it as 30s, 5m or 1h30m")
    return sum(int(count) * UNITS[unit] for count, unit in parts)


def names(node: Node) -> set[str]:
    """The metrics that an expression reads."""
    if isinstance(node, Selector):
        return {node.name}
    if isinstance(node, Call):
        return set().union(*map(names, node.arguments))
    if isinstance(node, Aggregate):
        return names(node.inner)
    if isinstance(node, Binary):
        return names(node.left) | names(node.right)
    return set()


class _Parser:
    def __init__(self, text: str):
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            found = TOKEN.match(text, position)
            if not found or found.lastgroup is None:
                raise self.fault(f"cannot read '{text[position:position + 20]}'")
            self.tokens.append((found.lastgroup, found[found.lastgroup]))
            position = found.end()
        self.place = 0

    def whole(self) -> Node:
        node = self.binary(0)
        if self.place < len(self.tokens):
            raise self.fault(f"'{self.tokens[self.place][1]}' is not expected there")
        return node

    def fault(self, why: str) -> InputError:
        return InputError(f"the expression '{' '.join(self.text.split())}': {why}")

    def peek(self) -> str:
        return self.tokens[self.place][1] if self.place < len(self.tokens) else ""

    def kind(self) -> str:
        return self.tokens[self.place][0] if self.place < len(self.tokens) else ""

    def take(self, wanted: str = "", kind: str = "") -> str:
        value = self.peek()
        if (wanted and value != wanted) or (kind and self.kind() != kind):
            raise self.fault(f"there is '{value}' where {wanted or kind} is expected")
        self.place += 1
        return value

    def took(self, *wanted: str) -> str:
        """Take one of these if it comes next."""
        value = self.peek()
        if value in wanted and self.kind() != "string":
            self.place += 1
            return value
        return ""

    def binary(self, level: int) -> Node:
        if level == len(PRECEDENCE):
            return self.unary()
        left = self.binary(level + 1)
        while operator := self.took(*PRECEDENCE[level]):
            matching = self.matching()
            left = Binary(operator, left, self.binary(level + 1), **matching)
        return left

    def matching(self) -> dict:
        found: dict = {}
        if word := self.took("on", "ignoring"):
            found = {"labels": self.listed(), "ignoring": word == "ignoring"}
            if side := self.took("group_left", "group_right"):
                found["many"] = side.removeprefix("group_")
                # what follows in brackets is a list only if it has a comma or a name
                if self.peek() == "(" and self.is_list():
                    found["included"] = self.listed()
        return found

    def is_list(self) -> bool:
        after = [value for _, value in self.tokens[self.place + 1 :]]
        inside = after[: after.index(")")] if ")" in after else after
        return all(re.fullmatch(r"[a-zA-Z_]\w*|,", value) for value in inside)

    def unary(self) -> Node:
        if self.took("-"):
            return Binary("-", Number(0.0), self.unary())
        return self.primary()

    def primary(self) -> Node:
        if self.took("("):
            node = self.binary(0)
            self.take(")")
            return node
        kind = self.kind()
        if kind == "number":
            return Number(float(self.take()))
        if kind == "string":
            return Text(_unquoted(self.take()))
        if kind != "name" and self.peek() != "{":
            raise self.fault(f"there is '{self.peek()}' where a value is expected")
        word = self.peek()
        follows = [value for _, value in self.tokens[self.place + 1 :][:1]] or [""]
        if word in AGGREGATIONS and follows[0] in ("(", "by"):
            return self.aggregate()
        if follows[0] == "(":
            return self.call()
        return self.selector()

    def aggregate(self) -> Aggregate:
        operator = self.take()
        by = self.listed() if self.took("by") else ()
        self.take("(")
        inner = self.binary(0)
        self.take(")")
        if self.took("by"):
            by = self.listed()
        return Aggregate(operator, by, inner)

    def call(self) -> Call:
        function = self.take()
        if function not in FUNCTIONS:
            raise self.fault(
                f"{function}() is not known here; there are "
                f"{', '.join([*AGGREGATIONS, *FUNCTIONS])}"
            )
        self.take("(")
        arguments = []
        while self.peek() != ")":
            arguments.append(self.binary(0))
            if not self.took(","):
                break
        self.take(")")
        if len(arguments) != FUNCTIONS[function]:
            raise self.fault(f"{function}() takes {FUNCTIONS[function]} arguments")
        if function in OVER_RANGES and not (
            isinstance(arguments[0], Selector) and arguments[0].range_s
        ):
            raise self.fault(f"{function}() takes a range, such as name[5m]")
        return Call(function, tuple(arguments))

    def selector(self) -> Selector:
        name = self.take(kind="name")
        matchers = []
        if self.took("{"):
            while self.peek() != "}":
                label = self.take(kind="name")
                operator = self.took("=", "!=", "=~", "!~")
                value = _unquoted(self.take(kind="string"))
                matchers.append((label, operator, value))
                if not self.took(","):
                    break
            self.take("}")
        range_s = offset_s = 0.0
        if self.took("["):
            range_s = seconds(self.take(kind="duration"))
            self.take("]")
        if self.took("offset"):
            offset_s = seconds(self.take(kind="duration"))
        return Selector(name, tuple(matchers), range_s, offset_s)

    def listed(self) -> tuple[str, ...]:
        self.take("(")
        found = []
        while self.peek() != ")":
            found.append(self.take(kind="name"))
            if not self.took(","):
                break
        self.take(")")
        return tuple(found)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])
