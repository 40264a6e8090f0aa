"""Builds pickles opcode by opcode, and torch.save files around them, to test what refuses them."""

import io
import struct
import zipfile

START = b"\x80\x04"
STOP = b"."


def text(string):
    """BINUNICODE."""
    raw = string.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def data(raw):
    """BINBYTES."""
    return b"B" + struct.pack("<I", len(raw)) + raw


def number(value):
    """LONG1, of any size up to 255 bytes."""
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def items(*parts):
    """MARK ... TUPLE."""
    return b"(" + b"".join(parts) + b"t"


def numbers(*values):
    return items(*map(number, values))


def mapping(**entries):
    """EMPTY_DICT MARK ... SETITEMS, the values given as opcodes."""
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def name(module, attribute):
    """GLOBAL."""
    return f"c{module}\n{attribute}\n".encode()


def stack_name(module, attribute):
    """STACK_GLOBAL, which takes dotted names."""
    return text(module) + text(attribute) + b"\x93"


def call(function, *arguments):
    """REDUCE."""
    return function + items(*arguments) + b"R"


def storage(kind="FloatStorage", key="0", count=6):
    """A persistent id of a storage."""
    return items(text("storage"), name("torch", kind), text(key), text("cpu"), number(count)) + b"Q"


def tensor(stored, offset=None, shape=None, strides=None):
    """A tensor, the arguments given as opcodes; where none are, six numbers as 2 x 3."""
    view = offset or number(0), shape or numbers(2, 3), strides or numbers(3, 1)
    return call(name("torch._utils", "_rebuild_tensor_v2"), stored, *view, b"\x89", b"}")


def torch_zip(pickled, storages, compression=zipfile.ZIP_STORED, **extra):
    """A torch.save zip file around a pickle's opcodes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("archive/data.pkl", START + pickled + STOP)
        for key, raw in storages.items():
            archive.writestr(f"archive/data/{key}", raw)
        for key, raw in extra.items():
            archive.writestr(f"archive/{key}", raw)
    return stream.getvalue()


def pickled(*opcodes):
    """A whole pickle."""
    return START + b"".join(opcodes) + STOP


def module(**state):
    """A plain object of one of torch's classes, with the attributes given as opcodes."""
    return name("torch.nn.modules.container", "Sequential") + b")\x81" + mapping(**state) + b"b"
