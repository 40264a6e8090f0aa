"""From a user's photo to a model's input: reading, finding the head, cropping, cutting out, labelling."""

from panojax.files.image_file import read_image, write_image
from panojax.photo.alignment import Aligned, AlignReport, align
from panojax.photo.folder import FolderReport, align_folder
from panojax.photo.framing import HEADS, PANOHEAD, Framing

__all__ = [
    "HEADS",
    "PANOHEAD",
    "AlignReport",
    "Aligned",
    "FolderReport",
    "Framing",
    "align",
    "align_folder",
    "read_image",
    "write_image",
]
