"""Reads the pickles that PyTorch checkpoints are made of, without running anything in them.

A pickle is a program for a small stack machine, and the standard one calls whatever the program names. Ours knows the
opcodes that checkpoints use and builds plain Python data and the inert records of `pickle_objects`; the only functions
it calls are listed there. `pickletools.genops`, which splits the stream into opcodes and no more, does the reading.

Work and memory stay within a small multiple of the stream's size: opcodes are counted, what a call gets is charged,
keys are atoms (the hash of a pair of one pair of one pair ..., thirty deep, takes minutes), and tensors stay views of
their storage until asked for. Nesting is bounded by those who walk the result.
"""

import io
import pickletools
import warnings
from collections.abc import Callable
from typing import Any

from panojax.converters.pickle_objects import (
    CALLS,
    Global,
    Storage,
    atom,
    is_known,
    kind,
    make_dict,
    new_object,
    set_state,
)
from panojax.errors import InputError, printable

MAX_OPCODES = 2_000_000  # a released network pickle has about 100,000


def read_pickle(
    stream: io.BytesIO,
    *,
    persistent_load: Callable[[Any], Any] | None = None,
    load_from_bytes: Callable[[bytes], Storage] | None = None,
) -> Any:
    """Interprets one pickle, from the stream's position to just after its STOP.

    Args:
      stream: the bytes, of protocol 2 to 5.
      persistent_load: what stands for a persistent id; without it, such ids are refused.
      load_from_bytes: reads the bytes given to `torch.storage._load_from_bytes`; without it, that name is refused.

    Returns:
      Plain Python data (OrderedDict and EasyDict become dicts, NumPy scalars Python numbers) with `Module`, `Tensor`,
      `Storage`, `NumpyArray` and `Global` records in it. It may be nested deeply, share parts and contain itself.

    Raises:
      InputError: the stream is broken, too long, names a global that no checkpoint needs, or a tensor leaves its
        storage.
    """
    calls = CALLS | ({("torch.storage", "_load_from_bytes"): load_from_bytes} if load_from_bytes else {})
    start = stream.tell()
    size = stream.seek(0, io.SEEK_END) - stream.seek(start)
    machine = _Machine(calls, persistent_load, allowance=4 * size + 2**20)
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in the arguments of opcodes that are refused
            for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
                if count >= MAX_OPCODES:
                    raise InputError(f"the pickle has more than {MAX_OPCODES} opcodes")
                if opcode.name != "STOP":
                    machine.step(opcode.name, argument)
        return machine.pop()
    except InputError:
        raise
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise InputError(f"broken pickle: {printable(str(error))}") from error


class _Machine:
    """The stack machine. It can make data and the records of `pickle_objects`, and call the functions in `calls`."""

    def __init__(self, calls: dict, persistent_load: Callable[[Any], Any] | None, *, allowance: int):
        self.calls, self.persistent_load, self.allowance = calls, persistent_load, allowance
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """Runs one opcode; those that checkpoints do not need (INST, OBJ, EXT1, DUP, ...) are refused."""
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "NONE":
                self.stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                self.stack.append(opcode == "NEWTRUE")
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                self.stack.append(argument)
            case "SHORT_BINUNICODE" | "BINUNICODE" | "BINUNICODE8" | "SHORT_BINBYTES" | "BINBYTES" | "BINBYTES8":
                self.stack.append(argument)
            case "BYTEARRAY8":
                self.stack.append(bytes(argument))
            case "EMPTY_DICT":
                self.stack.append({})
            case "EMPTY_LIST":
                self.stack.append([])
            case "EMPTY_SET":
                self.stack.append(set())
            case "EMPTY_TUPLE":
                self.stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [self.pop() for _ in range(int(opcode[-1]))]
                self.stack.append(tuple(reversed(items)))
            case "TUPLE":
                self.stack.append(tuple(self.pop_to_mark()))
            case "FROZENSET":
                self.stack.append(frozenset(map(atom, self.pop_to_mark())))
            case "MARK":
                self.marks.append(len(self.stack))
            case "POP":
                self.pop()
            case "POP_MARK":
                self.pop_to_mark()
            case "MEMOIZE" | "BINPUT" | "LONG_BINPUT":
                self.memo[len(self.memo) if opcode == "MEMOIZE" else argument] = self.top(object)
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo[argument])
            case "APPEND" | "APPENDS":
                items = [self.pop()] if opcode == "APPEND" else self.pop_to_mark()
                self.top(list).extend(items)
            case "ADDITEMS":
                items = self.pop_to_mark()
                self.top(set).update(map(atom, items))
            case "SETITEM" | "SETITEMS":
                items = [self.pop(), self.pop()][::-1] if opcode == "SETITEM" else self.pop_to_mark()
                self.top(dict).update(make_dict(zip(items[::2], items[1::2], strict=True)))
            case "GLOBAL":
                self.stack.append(self.find_global(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = self.pop(), self.pop()
                self.stack.append(self.find_global(module, name))
            case "REDUCE":
                arguments, function = self.pop(), self.pop()
                self.stack.append(self.call(function, arguments))
            case "NEWOBJ":
                arguments, cls = self.pop(), self.pop()
                self.stack.append(new_object(cls, arguments))
            case "BUILD":
                state = self.pop()
                self.charge(state)
                set_state(self.top(object), state)
            case "BINPERSID" if self.persistent_load:
                self.stack.append(self.persistent_load(self.pop()))
            case _:
                raise InputError(f"the pickle uses opcode {opcode}, which no checkpoint needs; nothing was run")

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise InputError("broken pickle: the stack is empty")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        if not self.marks:
            raise InputError("broken pickle: no mark on the stack")
        mark = self.marks.pop()
        items, self.stack[mark:] = self.stack[mark:], []
        return items

    def top(self, expected: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], expected):
            raise InputError(f"broken pickle: expected a {expected.__name__} on the stack")
        return self.stack[-1]

    def charge(self, value: Any) -> None:
        """Counts what a call is given: the same long string handed to it a million times must not fill the memory."""
        self.allowance -= len(value) if isinstance(value, str | bytes | list | tuple | dict) else 1
        if self.allowance < 0:
            raise InputError("the pickle grows far beyond its own size")

    def find_global(self, module: Any, name: Any) -> Global:
        if not isinstance(module, str) or not isinstance(name, str):
            raise InputError("broken pickle: a global's name should be two strings")
        found = Global(module, name)
        if (module, name) not in self.calls and not is_known(found):
            raise InputError(
                f"the pickle asks for {found}, which no checkpoint of these networks needs; nothing was run"
            )
        return found

    def call(self, function: Any, arguments: Any) -> Any:
        ours = self.calls.get((function.module, function.name)) if isinstance(function, Global) else None
        if ours is None:
            raise InputError(f"the pickle calls {kind(function)}, which no checkpoint needs; nothing was run")
        if not isinstance(arguments, tuple):
            raise InputError(f"broken pickle: {function} gets {kind(arguments)} for its arguments")
        for argument in arguments:
            self.charge(argument)
        try:
            return ours(*arguments)
        except TypeError as error:  # the wrong number of arguments: each of ours checks their types
            raise InputError(f"broken pickle: {function} does not take {len(arguments)} such arguments") from error
