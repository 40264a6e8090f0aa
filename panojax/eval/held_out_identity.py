"""An identity network that no training sees: dlib's, for figures alone.

Source: dlib's ResNet of 29 layers (King, CC0), as `face_recognition` uses it: distances of embeddings, under 0.6 for
pictures of one person. It must never become part of a loss.
"""

import numpy as np
from PIL import Image

from panojax.errors import InputError
from panojax.extras import need, package_folder

SAME_PERSON = 0.6
"""The distance under which dlib's author counts two pictures as of one person."""
LEAST_SIDE = 400
"""Pictures are enlarged to this side at least before faces are looked for: the detector knows faces of 80 pixels up."""


class HeldOutIdentity:
    """Embeddings of the largest face in a picture.

    Raises:
      InputError: the packages are not installed.
    """

    def __init__(self) -> None:
        dlib = need("dlib", "the held-out identity")
        models = package_folder("face_recognition_models", "the held-out identity") / "models"
        self._detect = dlib.cnn_face_detection_model_v1(str(models / "mmod_human_face_detector.dat"))
        self._points = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
        self._network = dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat"))

    def __call__(self, picture: np.ndarray) -> np.ndarray | None:
        """The embedding float64 [128] of a picture's largest face, or None where none is found.

        Args:
          picture: uint8 [H, W, 3], sRGB.
        """
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise InputError(f"picture must be uint8 [H, W, 3], got {picture.dtype} {picture.shape}")
        scale = max(1.0, LEAST_SIDE / min(picture.shape[:2]))
        if scale > 1:
            height, width = (round(scale * side) for side in picture.shape[:2])
            picture = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
        picture = np.ascontiguousarray(picture)
        found = self._detect(picture, 0)
        if not found:
            return None
        face = max(found, key=lambda one: one.rect.area()).rect
        return np.array(self._network.compute_face_descriptor(picture, self._points(picture, face)))


def distance(a: np.ndarray | None, b: np.ndarray | None) -> float:
    """The distance of two embeddings; NaN where a face was not found."""
    return float("nan") if a is None or b is None else float(np.linalg.norm(a - b))
