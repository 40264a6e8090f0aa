"""Hostile pickles: each is refused in one line, and nothing in it is run.

Where Python alone could run an attack, the test also runs it with the standard pickle module, to show that it is one.
"""

import copyreg
import os
import pickle
import subprocess

import numpy as np
import pytest
from opcodes import (
    STOP,
    call,
    data,
    items,
    mapping,
    module,
    name,
    number,
    numbers,
    pickled,
    stack_name,
    storage,
    tensor,
    text,
    torch_zip,
)

from panojax.converters.read import read_checkpoint


class Reduces:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def attacks(sentinel):
    """{name: (pickle, what the refusal says)}: each makes the file `sentinel` if the standard unpickler reads it."""
    shell, python = f"echo > {sentinel}", f"open({str(sentinel)!r}, 'w').close()"
    evaluate = name("builtins", "eval")
    hidden = [text("builtins"), b"\x940", text("eval"), b"\x940", b"h\x00h\x01\x93", items(text(python)), b"R"]
    os_module = call(name("importlib", "import_module"), text("os"))
    get = name("builtins", "getattr")
    return {
        "os.system": (pickle.dumps(Reduces(os.system, shell)), "asks for posix.system, which"),
        "os.system protocol 2": (pickle.dumps(Reduces(os.system, shell), 2), "asks for posix.system"),
        "subprocess": (
            pickle.dumps({"G": Reduces(subprocess.call, shell, 0, None, None, None, None, None, True, True)}),
            "asks for subprocess.call",
        ),
        "eval": (pickled(call(evaluate, text(python))), "asks for builtins.eval"),
        "eval of python 2": (b"\x80\x02" + call(name("__builtin__", "eval"), text(python)) + STOP, "__builtin__.eval"),
        "exec in a state dict": (pickled(mapping(a=call(name("builtins", "exec"), text(python)))), "builtins.exec"),
        "hidden by the memo": (pickled(*hidden), "asks for builtins.eval"),
        "getattr": (pickled(call(call(get, os_module, text("system")), text(shell))), "asks for builtins.getattr"),
        "dotted name": (
            pickled(call(stack_name("posixpath", "os.system"), text(shell))),
            "asks for posixpath.os.system",
        ),
        "inside a key": (pickled(b"}", call(evaluate, text(python)), b"Ns"), "asks for builtins.eval"),
        "INST": (b"\x80\x02(" + text(shell) + b"iposix\nsystem\n.", "uses opcode INST"),
        "OBJ": (
            b"\x80\x02(" + name("types", "SimpleNamespace") + b"o" + call(evaluate, text(python)) + STOP,
            "asks for types.SimpleNamespace",
        ),
        "setstate": (
            pickled(name("types", "SimpleNamespace"), b")R", mapping(a=call(evaluate, text(python))), b"b"),
            "asks for types.SimpleNamespace",
        ),
        "EXT1": (b"\x80\x02\x82\xf0" + items(text(python)) + b"R.", "uses opcode EXT1"),
        "EXT4": (b"\x80\x02\x84\xf0\x00\x00\x00" + items(text(python)) + b"R.", "uses opcode EXT4"),
    }


@pytest.fixture
def extension():
    """eval, registered as the extension 240."""
    copyreg.add_extension("builtins", "eval", 240)
    yield
    copyreg.remove_extension("builtins", "eval", 240)
    copyreg.clear_extension_cache()


@pytest.mark.parametrize("attack", attacks(""))
def test_attack(tmp_path, attack, extension, refuse):
    sentinel = tmp_path / "was_run"
    data, message = attacks(sentinel)[attack]
    refuse(data, message)
    assert not sentinel.exists()
    pickle.loads(data)
    assert sentinel.exists()


def embedded(raw):
    return call(name("torch.storage", "_load_from_bytes"), data(raw))


SYSTEM = call(name("posix", "system"), text("echo"))
EVIL = b"\x80\x02" + SYSTEM + STOP
SEQUENTIAL = name("torch.nn.modules.container", "Sequential")

# Attacks through names that the reader knows: {name: (file, what the refusal says)}.
THROUGH_KNOWN_NAMES = {
    "embedded bytes": (pickled(embedded(EVIL)), "asks for posix.system"),
    "bytes embedded in embedded bytes": (pickled(embedded(pickled(embedded(EVIL)))), "torch.storage._load_from_bytes"),
    "embedded text": (pickled(call(name("torch.storage", "_load_from_bytes"), text("x"))), "expected the bytes of one"),
    "persistent id": (torch_zip(SYSTEM + b"Q", {}), "asks for posix.system"),
    "persistent id without storages": (pickled(text("0"), b"Q"), "uses opcode BINPERSID"),
    "persistent id of another kind": (
        torch_zip(items(text("module"), SEQUENTIAL) + b"Q", {}),
        "a persistent id should be",
    ),
    "storage of a class": (
        torch_zip(items(text("storage"), SEQUENTIAL, text("0"), text("cpu"), number(1)) + b"Q", {}),
        "expected a storage of a known type, with a key and a size, got torch.nn.modules.container.Sequential",
    ),
    "a class called": (
        pickled(call(SEQUENTIAL, text("echo"))),
        "the pickle calls torch.nn.modules.container.Sequential",
    ),
    "a name under a known module": (
        pickled(call(stack_name("torch.nn.modules.module", "os.system"), text("echo"))),
        "the pickle calls torch.nn.modules.module.os.system",
    ),
    "a dunder under a known module": (
        pickled(call(stack_name("training.networks", "__builtins__.eval"), text("1"))),
        "the pickle calls training.networks.__builtins__.eval",
    ),
    "a string called": (pickled(call(text("posix.system"), text("echo"))), "the pickle calls a str"),
    "an object called": (pickled(call(module(), text("echo"))), "the pickle calls a Module"),
    "a function made an object": (pickled(name("_codecs", "encode"), b")\x81"), "makes an object of"),
    "an object with arguments": (pickled(SEQUENTIAL, items(text("echo")), b"\x81"), "cannot make an object"),
    "state of a name": (pickled(SEQUENTIAL, mapping(__class__=b"N"), b"b"), "cannot set the state of torch.nn.modules"),
    "state of a tensor": (
        torch_zip(tensor(storage()) + mapping(storage=b"N") + b"b", {"0": bytes(24)}),
        "cannot set the state of a Tensor to a dict",
    ),
    "state that is no dict": (
        pickled(module(), items(b"}", b"}"), b"b"),
        "cannot set the state of a Module to a tuple",
    ),
    "name made of bytes": (
        pickled(call(name("_codecs", "encode"), text("posix"), text("latin1")), text("system"), b"\x93"),
        "a global's name should be two strings",
    ),
    "name with a line break": (pickled(stack_name("posix\nsystem\x1b[2J", "x")), r"asks for posix\nsystem\x1b[2J.x"),
    "NEWOBJ_EX": (pickled(SEQUENTIAL, b")}\x92"), "uses opcode NEWOBJ_EX"),
    "objects in an array": (pickle.dumps({"a": np.array([Reduces(os.getpid)])}), "expected a numeric dtype, got O8"),
    "objects in a scalar": (
        pickled(
            call(name("numpy._core.multiarray", "scalar"), call(name("numpy", "dtype"), text("O")), data(bytes(8)))
        ),
        "expected a numeric dtype, got O",
    ),
    "a dtype with fields": (
        pickled(call(name("numpy", "dtype"), text("f4")), items(number(3), text("<"), b"N", text("a"), b"}"), b"b"),
        "a dtype with fields",
    ),
    "an array of another class": (
        pickled(call(name("numpy._core.multiarray", "_reconstruct"), SEQUENTIAL, numbers(0), data(b"b"))),
        "cannot make an array of torch.nn.modules.container.Sequential",
    ),
    "arguments that do not fit": (
        pickled(call(name("torch._utils", "_rebuild_tensor_v2"), b"N")),
        "does not take 1 such",
    ),
}


@pytest.mark.parametrize("attack", THROUGH_KNOWN_NAMES)
def test_attack_through_known_names(refuse, attack):
    refuse(*THROUGH_KNOWN_NAMES[attack])


def test_attributes_stay_data(tmp_path):
    """Names that mean something to Python mean nothing on a stand-in; they are entries of a dict."""
    array = call(
        name("numpy._core.numeric", "_frombuffer"),
        data(bytes(8)),
        call(name("numpy", "dtype"), text("f8")),
        numbers(1),
        text("C"),
    )
    state = {"__class__": text("x"), "__reduce__": SEQUENTIAL, "__setstate__": text("y"), "state": b"}"}
    path = tmp_path / "module.pkl"
    path.write_bytes(pickled(module(_parameters=mapping(weight=array), **state), mapping(state=b"N"), b"b"))
    checkpoint = read_checkpoint(path)
    assert checkpoint.class_name == "torch.nn.modules.container.Sequential"
    assert checkpoint.attributes == {"state": None}
    assert {name: values.tolist() for name, values in checkpoint.state_dict.items()} == {"weight": [0.0]}
