"""What tests of the page share: how Chromium is started, and a picture that nobody should decode."""

import zlib

# Headless, drawing in software.
FLAGS = [
    *("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def bomb(side=60_000):
    """A PNG of a few megabytes that would be eleven gigabytes of pixels."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    packer = zlib.compressobj()
    lines = b"".join(packer.compress(bytes(1 + 3 * side)) for _ in range(20)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")
