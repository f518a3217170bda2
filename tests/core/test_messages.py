"""Messages: the codec loses nothing, and what strangers send is checked."""

from __future__ import annotations

import types
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thornback.core.messages import MESSAGES, Heartbeat, Message, QueryState, Value, decode, encode

PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**64 - 1),
    bool: st.booleans(),
    str: st.text(max_size=20),
    bytes: st.binary(max_size=40),
    float: st.floats(allow_nan=False),
    type(None): st.none(),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Anything that a field with this type may hold."""
    if hint in PLAIN:
        return PLAIN[hint]
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(values_of, parts))
    if origin is tuple:
        if len(parts) == 2 and parts[1] is Ellipsis:
            return st.lists(values_of(parts[0]), max_size=3).map(tuple)
        return st.tuples(*map(values_of, parts))
    if origin is dict:
        return st.dictionaries(values_of(parts[0]), values_of(parts[1]), max_size=3)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return structs_of(hint)
    raise AssertionError(f"messages may not hold {hint!r}: only plain data survives the way to another machine")


def structs_of(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Any instance of a message or record type."""
    hints = get_type_hints(kind)
    fields = {name: st.deferred(lambda name=name: values_of(hints[name])) for name in kind.__struct_fields__}
    return st.fixed_dictionaries(fields).map(lambda found: kind(**found))


@pytest.mark.parametrize("message_type", MESSAGES, ids=lambda each: each.__name__)
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_every_message_survives_the_wire(message_type: type[Message], data: st.DataObject) -> None:
    messages = data.draw(st.lists(structs_of(message_type), min_size=1, max_size=3))
    decoded = decode(encode(messages))
    assert decoded == messages
    assert [type(each) for each in decoded] == [message_type] * len(messages)


def test_every_message_and_tag_is_unique() -> None:
    tags = [message_type.__struct_config__.tag for message_type in MESSAGES]
    assert len(set(tags)) == len(tags)
    assert all(isinstance(tag, int) for tag in tags)


@pytest.mark.parametrize("message_type", MESSAGES, ids=lambda each: each.__name__)
def test_every_message_is_frozen_and_documented(message_type: type[Message]) -> None:
    assert message_type.__struct_config__.frozen, (
        "messages are shared between simulated processes: they must not change"
    )
    assert message_type.__doc__ and message_type.__doc__ != Message.__doc__


@given(st.binary(max_size=200))
def test_strangers_cannot_crash_the_decoder(data: bytes) -> None:
    try:
        decode(data)
    except msgspec.DecodeError:
        pass


def test_a_field_of_the_wrong_type_is_refused() -> None:
    tag = QueryState.__struct_config__.tag
    with pytest.raises(msgspec.ValidationError):
        decode(msgspec.msgpack.encode([[tag, "not a number", "actors"]]))
    assert decode(msgspec.msgpack.encode([[tag, 1, "actors"]])) == [QueryState(1, "actors")]


def test_the_size_of_a_value_counts_its_buffers() -> None:
    assert Value(b"12345", (b"123", b"1")).size == 9


def test_heartbeats_are_the_kind_of_message_that_may_be_lost() -> None:
    assert not Heartbeat.reliable
    assert {message_type.__name__ for message_type in MESSAGES if not message_type.reliable} <= {"Heartbeat"}
