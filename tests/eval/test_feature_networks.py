import numpy as np
import pytest
import recipe

from panojax.errors import InputError
from panojax.eval import feature_networks as networks
from panojax.eval.feature_networks import NetworkOptions, cosine, distance_names, load_networks


def test_only_inception_s_official_weights_make_an_fid(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "read_inception", lambda path: {})
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    path.write_bytes(b"another file of that name")
    options = NetworkOptions("none", "none", "none", str(path))
    other = load_networks(options).names["features"]
    assert distance_names(other) == tuple(f"{x}-Inception-v3 (another file)" for x in ("FD", "KD", "IS"))
    monkeypatch.setattr(networks, "OFFICIAL_INCEPTION", networks.hashlib.sha256(path.read_bytes()).hexdigest()[:8])
    assert distance_names(load_networks(options).names["features"]) == ("FID", "KID", "IS")
    assert distance_names("VGG16") == ("FD-VGG16", "KD-VGG16", "IS-VGG16")


def test_features_of_a_batch_are_those_of_its_pictures():
    """VGG's: of each picture alone, as an 8-bit file keeps it."""
    found = load_networks(NetworkOptions("none", "none", "none", "vgg")).features
    pictures = np.clip(0.5 * recipe.normal("eval/pictures", (2, 16, 16, 3)), -1, 1)
    both = found(pictures)["features"]
    assert both.shape == (2, 512) and (both >= 0).all() and both.max() > 0
    stored = np.round((pictures[::-1] + 1) * 127.5) / np.float32(127.5) - 1
    np.testing.assert_allclose(found(stored)["features"][::-1], both, rtol=1e-4, atol=1e-5)


def test_names_say_which_network_measures():
    found = load_networks(NetworkOptions("none", "none", "none", "none"), segmenter="selfie")
    assert found.names == {"segmenter": "MediaPipe selfie"}


@pytest.mark.parametrize("option", ["lpips", "identity", "aligned", "features", "segmenter"])
def test_missing_weights_are_named_by_their_option(option):
    given = {option: "nowhere.pth"}
    segmenter = given.pop("segmenter", "none")
    nothing = dict.fromkeys(("lpips", "identity", "aligned", "features"), "none")
    with pytest.raises(InputError, match=f"{option} cannot be measured by 'nowhere.pth': it must be one of"):
        load_networks(NetworkOptions(**(nothing | given)), segmenter=segmenter)


def test_cosines():
    first, second = np.array([[1.0, 0], [3, 4], [np.nan, 0]]), np.array([[0.0, 2], [3, 4], [1, 0]])
    np.testing.assert_allclose(cosine(first, second), [0, 1, np.nan], rtol=1e-12)
