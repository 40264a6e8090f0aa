"""Pickles that reach outside their storages, grow, nest or break off: each is refused in one line and at once."""

import numpy as np
import pytest
from opcodes import call, items, mapping, module, name, number, numbers, pickled, storage, tensor, text, torch_zip

from panojax.converters import pickle_reader
from panojax.converters.read import read_checkpoint

SEQUENTIAL = name("torch.nn.modules.container", "Sequential")
STORED = {"0": np.arange(6, dtype=np.float32).tobytes()}
TENSORS = {
    "too large": (tensor(storage(), shape=numbers(2, 4)), "a tensor of 8 elements reaches outside its storage of 6"),
    "offset": (tensor(storage(), offset=number(1)), "reaches outside its storage"),
    "negative offset": (tensor(storage(), offset=number(-1)), "reaches outside its storage"),
    "stride": (tensor(storage(), strides=numbers(4, 1)), "reaches outside its storage"),
    "negative stride": (tensor(storage(), offset=number(5), strides=numbers(-3, -1)), "reaches outside its storage"),
    "balanced strides": (tensor(storage(), strides=numbers(1000, -500)), "reaches outside its storage"),
    "empty beyond the end": (
        tensor(storage(), offset=number(7), shape=numbers(0), strides=numbers(1)),
        "reaches outside",
    ),
    "huge stride": (tensor(storage(), strides=numbers(2**62, 1)), "reaches outside its storage"),
    "huge shape": (
        tensor(storage(), shape=numbers(2**62, 2**62), strides=numbers(0, 0)),
        "at most 2^40 elements, got [46116",
    ),
    "huge empty shape": (tensor(storage(), shape=numbers(0, 2**62), strides=numbers(1, 1)), "at most 2^40 elements"),
    "negative shape": (tensor(storage(), shape=numbers(-1, 3)), "at most 2^40 elements, got [-1, 3]"),
    "expanded": (tensor(storage(), shape=numbers(2**30, 3), strides=numbers(0, 1)), "would take 12884901888 bytes"),
    "many axes": (tensor(storage(), shape=numbers(*[1] * 40), strides=numbers(*[1] * 40)), "at most 32 integers"),
    "boolean size": (tensor(storage(), shape=items(b"\x88", b"\x88")), "expected a shape of at most 32 integers"),
    "fractional offset": (tensor(storage(), offset=b"G" + bytes(8)), "a tensor should view a storage"),
    "strides of another rank": (tensor(storage(), strides=numbers(1)), "as many strides as axes"),
    "no storage": (tensor(b"N"), "a tensor should view a storage"),
    "another storage": (tensor(storage(key="1")), "storage 1 should have 24 bytes but is missing"),
    "storage outside the folder": (
        tensor(storage(key="../data.pkl")),
        "storage ../data.pkl should have 24 bytes but is",
    ),
    "larger storage": (tensor(storage(count=2**40)), "storage 0 should have 4398046511104 bytes but has 24"),
    "smaller storage": (tensor(storage("DoubleStorage", count=2)), "storage 0 should have 16 bytes but has 24"),
    "negative storage": (tensor(storage(count=-6)), "expected a storage of a known type"),
    "unknown storage": (tensor(storage("UntypedStorage")), "asks for torch.UntypedStorage"),
    "a parameter of nothing": (
        call(name("torch._utils", "_rebuild_parameter"), b"N", b"\x88", b"}"),
        "should be a tensor",
    ),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensor_outside_its_storage(refuse, case):
    opcodes, message = TENSORS[case]
    refuse(torch_zip(mapping(a=opcodes), STORED), message)


def test_a_huge_stride_of_one_element_says_nothing(tmp_path):
    (tmp_path / "a.pt").write_bytes(
        torch_zip(mapping(a=tensor(storage(), shape=numbers(1, 6), strides=numbers(2**62, 1))), STORED)
    )
    found = read_checkpoint(tmp_path / "a.pt").state_dict["a"]
    np.testing.assert_array_equal(found, np.arange(6, dtype=np.float32)[None])


def test_the_builder_makes_valid_tensors(tmp_path):
    """What the cases above start from is read."""
    (tmp_path / "a.pt").write_bytes(torch_zip(mapping(a=tensor(storage())), STORED, byteorder="little"))
    assert read_checkpoint(tmp_path / "a.pt").state_dict["a"].tolist() == [[0, 1, 2], [3, 4, 5]]


def deep_list(depth):
    return b"]" * depth + b"a" * (depth - 1)


def deep_modules(depth):
    """Modules within modules, the innermost without any."""
    opened = SEQUENTIAL + b")\x81}" + text("_modules") + b"}" + text("m")
    return opened * depth + module() + b"ssb" * depth


def doubled(times):
    """A pair of a pair of a pair ..., each twice the same: short to write, long to walk or hash."""
    return b")" + b"".join(b"\x940h" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(times))


GROWING = {
    "deep list": (pickled(module(_init_kwargs=mapping(a=deep_list(100_000)))), "init_kwargs.a: nested too deeply"),
    "deep modules": (pickled(deep_modules(5_000)), "at most 64 levels"),
    "doubled": (pickled(module(_init_kwargs=mapping(a=doubled(60)))), "nested too deeply, or too large"),
    "doubled as a key": (pickled(b"}", doubled(60), b"Ns"), "a key should be a string or a small integer, got a tuple"),
    "doubled in a set": (pickled(b"\x8f(", doubled(60), b"\x90"), "a key should be a string or a small integer"),
    "doubled in a frozenset": (pickled(b"(", doubled(60), b"\x91"), "a key should be a string or a small integer"),
    "doubled as a global": (pickled(doubled(60), doubled(60), b"\x93"), "a global's name should be two strings"),
    "doubled as a persistent id": (torch_zip(doubled(60) + b"Q", {}), "a persistent id should be"),
    "integers that collide": (
        pickled(b"}", number(2**61 - 1), b"Ns"),
        "a key should be a string or a small integer, got an int",
    ),
    "holds itself": (pickled(module(_init_kwargs=b"}\x94" + text("a") + b"h\x00s")), "nested too deeply"),
    "module holds itself": (
        pickled(SEQUENTIAL, b")\x81\x94", mapping(_modules=mapping(m=b"h\x00")), b"b"),
        "at most 64 levels",
    ),
    "modules doubled": (
        pickled(
            module(),
            *(b"\x940" + module(_modules=mapping(a=b"h" + bytes([n]), b=b"h" + bytes([n]))) for n in range(60)),
        ),
        "at most 64 levels",
    ),
    "long names": (
        pickled(module(_modules=mapping(**{"x" * 1000: module()}))),
        "expected a module, at most 64 levels and 500 characters deep",
    ),
    "empty array of many rows": (
        torch_zip(module(_init_kwargs=mapping(a=tensor(storage(), shape=numbers(2**39, 0)))), STORED),
        "init_kwargs.a: expected plain data, got a Tensor",
    ),
    "text encoded again and again": (
        pickled(text("x" * 10_000), b"\x940", *[call(name("_codecs", "encode"), b"h\x00", text("latin1"))] * 2_000),
        "grows far beyond its own size",
    ),
    "state set again and again": (
        pickled(mapping(**{f"{n}": b"N" for n in range(5_000)}), b"\x940", *[SEQUENTIAL + b")\x81h\x00b"] * 2_000),
        "grows far beyond its own size",
    ),
}


@pytest.mark.parametrize("case", GROWING)
def test_growing_pickle(refuse, case):
    refuse(*GROWING[case])


def test_number_of_opcodes(refuse, monkeypatch):
    monkeypatch.setattr(pickle_reader, "MAX_OPCODES", 1000)
    refuse(pickled(b"N0" * 1000), "the pickle has more than 1000 opcodes")


@pytest.mark.parametrize(
    "opcodes, message",
    [
        (b"0", "the stack is empty"),
        (b"(0", "the stack is empty"),
        (b"1", "no mark on the stack"),
        (b"t", "no mark on the stack"),
        (b"h\x05", "broken pickle: 5"),
        (b"]a", "expected a list on the stack"),
        (b"NNa", "expected a list on the stack"),
        (b"NNNs", "expected a dict on the stack"),
        (b"}(NNNu", "broken pickle: zip()"),
        (b"X\xff\xff\xff\xff", "expected 4294967295 bytes"),
        (b"\x8e" + bytes([255] * 8), "broken pickle"),
        (b"\x8a\x05\x00", "broken pickle"),
        (b"\xff", "broken pickle"),
        (b"S'\\K'\n", "uses opcode STRING"),
        (b"", "the stack is empty"),
    ],
)
def test_broken_opcodes(refuse, opcodes, message):
    refuse(pickled(opcodes), message)
