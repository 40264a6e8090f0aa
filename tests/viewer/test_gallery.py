"""The folder of the page's heads, and how they are shown."""

import numpy as np
import pytest
from export_scene import bar_head

import panojax
from panojax.errors import InputError
from panojax.params import random_params
from panojax.viewer.gallery import Gallery, drop_zone, gallery_html, thumbnail
from panojax.viewer.uploads import Photo

PICTURE = np.full((128, 128, 3), 80, np.uint8)


def test_heads_are_kept_and_found_again(params, tmp_path):
    gallery, head = Gallery(tmp_path / "heads"), bar_head()
    photo = Photo("me", b"the bytes that came", ".jpg")
    assert gallery.keep("me", head, PICTURE, [photo], params=params) == "me"
    assert gallery.keep("me", head, PICTURE, [photo, photo], params=params) == "me 2"
    assert sorted(path.name for path in (gallery.folder / "me 2").iterdir()) == [
        *("head.npz", "photo.jpg", "photo1.jpg", "thumbnail.png")
    ]
    kept = gallery.folder / "me" / "photo.jpg"
    assert kept.read_bytes() == photo.data and not kept.stat().st_mode & 0o111  # nothing to be executed
    found = list(gallery.heads(params, 12))
    assert [name for name, _, _ in found] == ["me", "me 2"]
    np.testing.assert_array_equal(found[0][1].planes, head.planes)
    assert found[0][2].shape == (96, 96, 3)
    assert [name for name, _, _ in gallery.heads(params, 1)] == ["me 2"] and not list(gallery.heads(params, 0))


def test_nothing_is_made_before_there_is_a_head_and_nothing_of_a_broken_one(params, tmp_path):
    gallery = Gallery(tmp_path / "heads")
    assert not list(gallery.heads(params, 12)) and not gallery.folder.exists()
    broken = bar_head().replace(planes=np.full_like(bar_head().planes, np.nan))
    with pytest.raises(InputError, match="finite"):
        gallery.keep("me", broken, PICTURE, (), params=params)
    assert not list(gallery.heads(params, 12)) and not (gallery.folder / "me").exists()


def test_heads_of_other_models_are_left_out(params, tmp_path, capsys):
    gallery = Gallery(tmp_path)
    gallery.keep("me", bar_head(), PICTURE, (), params=params)
    other = params.replace(generator=random_params(params.config).generator)
    assert not list(gallery.heads(other, 12))
    assert "left out" in capsys.readouterr().out
    (tmp_path / "me" / "thumbnail.png").write_text("no picture")
    [(_, _, picture)] = gallery.heads(params, 12)
    assert picture is None


def test_html_holds_no_tags_of_names(tmp_path):
    name = '"><script>alert(1)</script>'
    page = gallery_html([(0, "me", thumbnail(PICTURE)), (1, name, thumbnail(PICTURE))], [1])
    assert "<script" not in page and page.count("data-panojax-head") == 2 and page.count("#228be6") == 1
    assert "<script" not in drop_zone(name, tmp_path / name) and str(tmp_path) in drop_zone("key", tmp_path)


def test_kept_heads_are_heads_as_invert_writes_them(params, tmp_path):
    from panojax.commands.arguments import head_file

    gallery = Gallery(tmp_path)
    gallery.keep("me", bar_head(), PICTURE, (), params=params)
    head = panojax.load_head(head_file(tmp_path / "me"), params)
    assert head.planes.shape == params.config.generator.field.shape
