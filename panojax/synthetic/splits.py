"""Which identities train, validate and test.

A function of the identity's number alone, so that sets of any seed agree.
"""

import hashlib
from typing import Literal

Split = Literal["train", "validation", "test"]

VALIDATION_SHARE = 0.05
TEST_SHARE = 0.05

# Seen in test heads only: what a method does with hair and skin that it never saw.
TEST_ONLY_HAIR = ("bob02", "short02")
TEST_ONLY_SKINS = ("middleage_asian_female", "old_african_male", "young_caucasian_male")


def split_of(identity: int) -> Split:
    """The split of an identity by a hash of its number: about 90% train, 5% validation, 5% test."""
    digest = hashlib.sha256(f"panojax head {identity}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < TEST_SHARE:
        return "test"
    return "validation" if position < TEST_SHARE + VALIDATION_SHARE else "train"
