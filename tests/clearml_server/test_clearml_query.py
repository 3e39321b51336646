"""The query language: what SQL finds is what a plain reading of the rules finds."""

import itertools
import re
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.clearml_server import documents, query
from pipelines.clearml_server.errors import ApiError
from pipelines.clearml_server.projection import split_path
from pipelines.clearml_server.storage import TASK, Storage

TAGS = ["a", "b", "c", "archived", "x y", "ü", 'quo"te', "per%cent"]
EPOCH = datetime(2024, 1, 1, tzinfo=timezone.utc)
names = st.text("abc. 1", min_size=3, max_size=8)
tags = st.lists(st.sampled_from(TAGS), unique=True, max_size=4)
records = st.fixed_dictionaries(
    {"name": names, "type": st.sampled_from(["training", "custom"])},
    optional={
        "tags": tags,
        "status": st.sampled_from(["created", "queued", "failed"]),
        "parent": st.sampled_from(["p1", "p2", ""]),
        "last_iteration": st.integers(-5, 5),
        "last_update": st.integers(0, 9),
        "runtime": st.dictionaries(
            st.sampled_from(["version", "v.2"]), st.sampled_from(["1", "2"])
        ),
        "models": st.fixed_dictionaries(
            {"input": st.lists(st.builds(dict, model=st.sampled_from("mn")))}
        ),
    },
)
tables = st.lists(records, max_size=12)


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    storage = Storage(tmp_path_factory.mktemp("query") / "server.sqlite")
    yield storage
    storage.close()


class Rollback(Exception):
    pass


def found(storage, table, request):
    """Positions of the records that a request finds, in the order of the answer."""
    records = [dict(record, id=f"{at:032x}") for at, record in enumerate(table)]
    for record in records:
        if "last_update" in record:
            moment = EPOCH + timedelta(days=record["last_update"])
            record["last_update"] = query.parse_date(moment.isoformat())
    try:
        with storage.write() as db:
            for record in records:
                documents.insert(db, TASK, record)
            answer = query.search(db, TASK, request)["tasks"]
            raise Rollback
    except Rollback:
        return [int(record["id"], 16) for record in answer]


def matches_list(values, wanted):
    """The rules for lists, read literally: `values` are those of a record."""
    include, exclude, every = [], [], []
    first_operator, reach, negate, empty, legacy = None, "any", False, False, True
    for word in wanted:
        if word is None:
            empty = True
        elif word in ("__$all", "__$and", "__$any", "__$or"):
            reach = "all" if word in ("__$all", "__$and") else "any"
            first_operator = first_operator or reach
            legacy = False
        elif word == "__$not":
            negate = True
        elif negate or (legacy and word.startswith("-")):
            first_operator = first_operator or "all"
            exclude.append(word if negate else word[1:])
            negate = False
        else:
            first_operator = first_operator or "all"
            (every if reach == "all" else include).append(word)
    groups = []
    if every:
        groups.append(all(word in values for word in every))
    if include:
        groups.append(any(word in values for word in include))
    if exclude:
        groups.append(not any(word in values for word in exclude))
    combine = any if first_operator == "any" else all
    missing = empty and not any(values)
    return missing or (combine(groups) if groups else not empty)


words = st.sampled_from(TAGS).flatmap(
    lambda tag: st.sampled_from([[tag], ["__$not", tag], [f"-{tag}"], [None]])
)
operators = st.sampled_from([["__$all"], ["__$any"], ["__$and"], ["__$or"], []])
lists = st.lists(st.one_of(words, operators), max_size=6).map(
    lambda parts: list(itertools.chain(*parts))
)


@settings(max_examples=300, deadline=None)
@given(tables, lists)
def test_tag_operators_find_what_their_rules_say(storage, table, wanted):
    expected = [
        at
        for at, record in enumerate(table)
        if matches_list(record.get("tags", []), wanted)
    ]
    assert found(storage, table, {"tags": wanted}) == expected


@settings(max_examples=100, deadline=None)
@given(
    tables,
    st.lists(st.sampled_from(["created", "queued", "-failed", "__$not", None])),
)
def test_single_fields_take_lists_too(storage, table, wanted):
    if wanted.count("__$not") and (
        wanted[-1] == "__$not" or ("__$not", "__$not") in itertools.pairwise(wanted)
    ):
        with pytest.raises(ApiError, match="__\\$not wants a value"):
            found(storage, table, {"status": wanted})
        return
    # None after __$not takes the operator's place
    words = [w for w, n in zip(wanted, [*wanted[1:], ""]) if (w, n) != ("__$not", None)]
    expected = [
        at
        for at, record in enumerate(table)
        if matches_list([record["status"]] if "status" in record else [], words)
    ]
    assert found(storage, table, {"status": wanted}) == expected


@settings(max_examples=100, deadline=None)
@given(tables, names)
def test_an_exact_name_finds_that_name_alone(storage, table, name):
    pattern = f"^{re.escape(name)}$"
    expected = [at for at, record in enumerate(table) if record["name"] == name]
    assert found(storage, table, {"name": pattern}) == expected


@settings(max_examples=100, deadline=None)
@given(tables, st.integers(0, 9), st.integers(0, 9), st.sampled_from(["[]", "><", ">"]))
def test_dates_take_ranges_and_comparisons(storage, table, low, high, form):
    first, last = ((EPOCH + timedelta(days=d)).isoformat() for d in (low, high))
    conditions, holds = {
        "[]": ([first, last], lambda day: low <= day <= high),
        "><": ([f">{first}", f"<={last}"], lambda day: low < day <= high),
        ">": ([f">={first}"], lambda day: low <= day),
    }[form]
    expected = [
        at
        for at, record in enumerate(table)
        if "last_update" in record and holds(record["last_update"])
    ]
    assert found(storage, table, {"last_update": conditions}) == expected


@settings(max_examples=100, deadline=None)
@given(tables, st.none() | st.integers(-5, 5), st.integers(-5, 5))
def test_an_open_range_includes_records_without_a_value(storage, table, low, high):
    def holds(value):
        if value is None:
            return low is None
        return (low is None or low <= value) and value <= high

    expected = [at for at, r in enumerate(table) if holds(r.get("last_iteration"))]
    assert found(storage, table, {"last_iteration": [low, high]}) == expected


@settings(max_examples=100, deadline=None)
@given(
    tables,
    st.sampled_from(["last_iteration", "name", "runtime.version", "runtime.v%2E2"]),
    st.booleans(),
    st.integers(1, 5),
)
def test_pages_join_to_the_whole_in_order(storage, table, field, descending, size):
    def key(record):
        column, *path = split_path(field)
        value = record.get(column)
        value = value.get(path[0]) if path and value else value
        if isinstance(value, dict):
            value = None
        return value

    order = f"-{field}" if descending else field
    known = [at for at, record in enumerate(table) if key(record) is not None]
    empty = [at for at, record in enumerate(table) if key(record) is None]
    expected = sorted(known, key=lambda at: key(table[at]), reverse=descending)
    if descending:  # equal ones stay in their order
        groups = itertools.groupby(expected, key=lambda at: key(table[at]))
        expected = [at for _, group in groups for at in sorted(group)]
    expected += empty  # last in either order
    pages = [
        found(storage, table, {"order_by": [order], "page": p, "page_size": size})
        for p in range(-(-len(table) // size) + 1)
    ]
    assert list(itertools.chain(*pages)) == expected


@settings(max_examples=100, deadline=None)
@given(tables, st.sampled_from("mn"))
def test_dotted_fields_reach_into_lists(storage, table, model):
    expected = [
        at
        for at, record in enumerate(table)
        if any(m["model"] == model for m in record.get("models", {}).get("input", []))
    ]
    assert found(storage, table, {"models.input.model": [model]}) == expected


def test_several_fields_can_be_searched_at_once(storage):
    table = [
        {"name": "Alpha", "comment": "one"},
        {"name": "beta", "comment": "alphabet"},
        {"name": "gamma", "tags": ["ALPHA"]},
        {"name": "delta"},
    ]
    fields = ["name", "comment", "tags"]
    request = {"_any_": {"fields": fields, "pattern": "alpha"}}
    assert found(storage, table, request) == [0, 1, 2]
    request = {"_all_": {"fields": ["name", "comment"], "pattern": "a.*e|o"}}
    assert found(storage, table, request) == []
    request = {"search_text": "eta"}
    assert found(storage, table, request) == [1]
    request = {"_any_": {"fields": ["last_update"], "datetime": [">=2024-01-03"]}}
    assert found(storage, [{"last_update": 1}, {"last_update": 2}], request) == [1]


def test_text_with_numbers_sorts_by_the_numbers(storage):
    table = [
        {"hyperparams": {"Args": {"n": {"value": value}}}}
        for value in ("10", "9", "x2", "x10")
    ]
    request = {"order_by": ["hyperparams.Args.n.value"]}
    assert found(storage, table, request) == [1, 0, 2, 3]


def test_only_the_requested_fields_come_back_with_their_containers(storage):
    record = {
        "name": "task",
        "runtime": {},
        "script": {"diff": "long", "branch": "main"},
        "models": {"input": [{"model": "m", "name": "n"}]},
    }
    paths = ["runtime.version", "script.branch", "models.input.model"]
    with storage.write() as db:
        id_ = documents.insert(db, TASK, record)
        request = {"id": [id_], "only_fields": paths}
        cut = query.search(db, TASK, request)["tasks"][0]
        rest = query.search(
            db, TASK, {"id": [id_], "only_fields": ["-name", "-script.diff"]}
        )["tasks"][0]
        documents.delete(db, TASK, id_)
    assert cut == {
        "id": id_,
        "runtime": {},
        "script": {"branch": "main"},
        "models": {"input": [{"model": "m"}]},
    }
    assert rest == {"id": id_} | {
        "runtime": {},
        "script": {"branch": "main"},
        "models": record["models"],
    }


def test_a_scroll_continues_where_it_stopped(storage):
    table = [{"name": f"task {i}"} for i in range(5)]
    with storage.write() as db:
        ids = [documents.insert(db, TASK, record) for record in table]
        seen, request = [], {"size": 2}
        while (answer := query.search(db, TASK, request))["tasks"]:
            seen += [task["id"] for task in answer["tasks"]]
            request["scroll_id"] = answer["scroll_id"]
        for id_ in ids:
            documents.delete(db, TASK, id_)
    assert seen == ids


@pytest.mark.parametrize(
    "request_, message",
    [
        ({"tags": ["__$not"]}, "__\\$not wants a value"),
        ({"tags": ["__$not", "__$all", "a"]}, "__\\$not wants a value"),
        ({"tags": ["__$xor", "a"]}, "no such operator"),
        ({"tags": [1]}, "text wanted"),
        ({"name": "("}, "Malformed regular expression"),
        ({"page": -1}, "whole number >= 0"),
        ({"page_size": 0}, "whole number >= 1"),
        ({"size": 5, "scroll_id": "elsewhere"}, "Invalid scroll id"),
        ({"order_by": ["nothing"]}, "Fields not defined"),
        ({"last_iteration": [1]}, "range wants"),
        ({"last_iteration": [None, None]}, "range wants"),
        ({"last_update": ["yesterday"]}, "Invalid value"),
        ({"_any_": {"pattern": "a"}}, "incorrect field format"),
    ],
)
def test_impossible_requests_are_refused(storage, request_, message):
    with pytest.raises(ApiError, match=message) as caught:
        found(storage, [{"name": "task"}], request_)
    assert caught.value.code == 400
