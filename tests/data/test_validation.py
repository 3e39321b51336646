"""Validation finds what would break a model: one test a finding."""

import base64
import io
import json
import os
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from PIL import Image
from raw_sets import encoded, picture, write, write_raw_set

from benchmarks import hostile_images
from data_prep.checks.findings import Thresholds
from data_prep.checks.inspection import decoder_complaints
from data_prep.checks.validation import require_ok, validate
from data_prep.errors import InputError
from data_prep.preprocessing import decode
from data_prep.sources import find_images


@pytest.fixture
def check(raw, tmp_path):
    """Validate the raw set as it is then: its findings by kind."""

    def run(**options):
        result = validate(find_images([raw]), tmp_path / "report", 1, **options)
        return {finding["kind"]: finding for finding in result["findings"]}

    return run


def test_a_clean_set_has_no_findings_and_a_full_report(raw, tmp_path):
    result = validate(find_images([raw]), tmp_path / "report", 2)
    text = (tmp_path / "report" / "validation.json").read_text(encoding="utf-8")
    assert json.loads(text) == result
    assert result["ok"] and not result["findings"]
    assert result["classes"] == {"A": 12, "B": 12, "C": 12}
    assert result["sources"] == {"raw": result["classes"]}
    assert (tmp_path / "report" / "samples.png").stat().st_size > 1000
    require_ok(result)


def test_truncated_empty_and_foreign_files_are_unreadable(raw, check):
    whole = (raw / "A" / "A1.jpg").read_bytes()
    write(raw / "A" / "cut.jpg", whole[: len(whole) // 2])
    write(raw / "A" / "empty.png", b"")
    write(raw / "A" / "text.jpg", b"Sorry, the page was not found.")
    found = check()["unreadable"]
    assert found["severity"] == "error" and found["count"] == 3
    assert [p.split("/")[-1] for p in found["examples"]] == [
        "cut.jpg",
        "empty.png",
        "text.jpg",
    ]


def test_errors_stop_with_one_line_that_names_a_file(raw, tmp_path):
    write(raw / "A" / "text.jpg", b"Sorry")
    result = validate(find_images([raw]), tmp_path / "report", 1)
    assert not result["ok"]
    with pytest.raises(InputError, match="raw/A/text.jpg") as error:
        require_ok(result)
    assert "\n" not in str(error.value)


def test_an_empty_class_folder_is_an_error(raw, check):
    (raw / "D").mkdir()
    assert check()["empty_class"]["examples"] == ["D"]


def test_missing_and_unknown_classes_are_held_against_the_expected_ones(check):
    found = check(expected=["A", "B", "Z"])
    assert found["missing_class"]["examples"] == ["Z"]
    assert found["unknown_class"]["examples"] == ["C"]


def test_a_photograph_in_two_classes_is_a_conflict_of_labels(raw, check):
    write(raw / "B" / "other.jpg", (raw / "A" / "A0.jpg").read_bytes())
    found = check()["conflicting_labels"]
    assert found["severity"] == "error"
    assert sorted(found["examples"]) == ["raw/A/A0.jpg", "raw/B/other.jpg"]


def test_a_repetition_within_a_class_is_only_a_warning(raw, check):
    write(raw / "A" / "again.jpg", (raw / "A" / "A0.jpg").read_bytes())
    found = check()
    assert found["exact_duplicates"]["severity"] == "warning"
    assert found["exact_duplicates"]["examples"] == ["raw/A/again.jpg"]


def test_a_nested_copy_of_the_whole_set_is_found(raw, check):
    write_raw_set(raw / "raw_train")
    found = check()["nested_copy"]
    assert found["severity"] == "error" and found["count"] == 36
    assert found["details"] == {"source": "raw/raw_train", "of": "raw"}


def test_a_nested_copy_under_the_sets_own_name_is_found(raw, check):
    write_raw_set(raw / "raw")
    found = check()["nested_copy"]
    assert found["details"] == {"source": "raw/raw", "of": "raw"}


def test_a_file_that_cannot_be_opened_is_a_finding_among_others(raw, check):
    (raw / "A" / "gone.jpg").symlink_to(raw / "nowhere.jpg")
    write(raw / "B" / "cut.jpg", encoded(picture(77))[:300])
    found = check()["unreadable"]
    assert [p.split("/")[-1] for p in found["examples"]] == ["gone.jpg", "cut.jpg"]


def test_near_duplicates_are_counted_by_class(raw, check):
    write(raw / "A" / "brighter.png", encoded(picture(0) + 3, ".png"))
    found = check()["near_duplicates"]
    assert found["details"]["share_by_class"]["A"] == round(2 / 13, 4)
    assert found["details"]["share_by_class"]["B"] == 0


def saved(image, kind, **options):
    """Encode by Pillow, which writes what OpenCV cannot."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def variants():
    """One file of each unusual kind: (trait, suffix, bytes)."""
    rgb = Image.fromarray(picture(900))
    translucent = rgb.copy()
    translucent.putalpha(Image.linear_gradient("L").resize(rgb.size))
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    frames = {"save_all": True, "append_images": [Image.fromarray(picture(901))]}
    deep = (picture(900).astype(np.uint16) << 8) + 77
    yield "grey", ".jpg", saved(rgb.convert("L"), "JPEG")
    yield "grey", ".png", saved(rgb.convert("L"), "PNG")
    yield "palette", ".png", saved(rgb.quantize(32), "PNG")
    yield "palette", ".bmp", saved(rgb.quantize(32), "BMP")
    yield "alpha", ".png", saved(translucent, "PNG")
    yield "alpha", ".webp", saved(translucent, "WEBP")
    yield "alpha", ".webp", saved(translucent, "WEBP", lossless=True)
    yield "cmyk", ".jpg", saved(rgb.convert("CMYK"), "JPEG")
    yield "16bit", ".png", encoded(deep, ".png")
    yield "rotated", ".jpg", saved(rgb, "JPEG", exif=upside_down)
    yield "rotated", ".png", saved(rgb, "PNG", exif=upside_down)
    yield "rotated", ".webp", saved(rgb, "WEBP", exif=upside_down)
    yield "animated", ".png", saved(rgb, "PNG", **frames)
    yield "animated", ".webp", saved(rgb, "WEBP", **frames)


@pytest.mark.parametrize("trait, suffix, data", list(variants()))
def test_an_image_that_is_no_plain_rgb_is_named_by_its_trait(
    raw, check, trait, suffix, data
):
    write(raw / "B" / f"odd{suffix}", data)
    found = check()
    assert found[trait]["severity"] == "note"
    assert found[trait]["examples"] == [f"raw/B/odd{suffix}"]
    assert set(found) <= {trait, "near_duplicates"}


def test_a_png_named_jpg_is_used_but_reported(raw, check):
    write(raw / "A" / "odd.jpg", encoded(picture(900), ".png"))
    found = check()["wrong_suffix"]
    assert found["severity"] == "warning" and found["details"] == {"kinds": {"png": 1}}


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_a_format_that_the_server_would_refuse_is_an_error(raw, check, kind):
    write(raw / "A" / "odd.jpg", saved(Image.fromarray(picture(900)), kind))
    assert check()["unreadable"]["examples"] == ["raw/A/odd.jpg"]


def test_a_jpeg_whose_middle_is_missing_is_unreadable_though_it_has_an_end(raw, check):
    data = encoded(picture(900, 200))
    write(raw / "A" / "hole.jpg", data[: len(data) // 2] + data[-2:])
    found = check()["unreadable"]
    assert found["examples"] == ["raw/A/hole.jpg"]
    assert "end early" in next(iter(found["details"]["reasons"]))


def test_small_damages_that_the_decoder_overlooks_are_a_warning(raw, check):
    data = encoded(picture(900, 200))
    write(raw / "A" / "odd.jpg", data[:-2] + bytes(range(1, 100)) + data[-2:])
    found = check()["damaged"]
    assert found["severity"] == "warning" and found["examples"] == ["raw/A/odd.jpg"]


def damaged_webps():
    """Lossy WebP whose decoder notices nothing: (what is said of it, bytes)."""
    data = saved(Image.fromarray(picture(900, 200)), "WEBP")
    assert data[12:16] == b"VP8 "
    half = len(data) // 2
    yield "bytes are zeros", data[:half] + bytes(len(data) - half)
    yield "follow its end", data + data[-40:]
    longer = (len(data) - 8 + 40).to_bytes(4, "little")
    yield "do not fill", data[:4] + longer + data[8:] + data[-40:]


@pytest.mark.parametrize("says, data", list(damaged_webps()))
def test_damages_of_a_webp_that_its_decoder_overlooks_are_a_warning(
    raw, check, says, data
):
    assert decode(data).shape == (200, 200, 3)
    write(raw / "A" / "odd.webp", data)
    found = check()["damaged"]
    assert found["severity"] == "warning" and found["examples"] == ["raw/A/odd.webp"]
    assert says in found["message"]


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("quality", [80, 101])  # 101: lossless
def test_whole_webps_are_not_called_damaged(raw, check, value, quality):
    options = [cv2.IMWRITE_WEBP_QUALITY, quality]
    for side in (48, 1000):
        image = np.full((side, side, 3), value, np.uint8)
        data = cv2.imencode(".webp", image, options)[1].tobytes()
        write(raw / "A" / f"{side}.webp", data)
    write(raw / "B" / "exif.webp", saved(Image.fromarray(picture(9)), "WEBP"))
    assert "damaged" not in check()


def test_most_damages_in_the_middle_of_a_jpeg_are_noticed(raw, check):
    """A JPEG has no checksums; what is left is that its codes lose their rhythm."""
    data = encoded(picture(900, 200))
    scan = data.find(b"\xff\xda") + 14
    rng = np.random.default_rng(0)
    for i in range(20):
        hurt = bytearray(data)
        at = scan + int(rng.integers(0, (len(data) - scan) // 2))
        hurt[at : at + 16] = rng.integers(0, 255, 16, np.uint8).tobytes()
        write(raw / "A" / f"hurt{i}.jpg", bytes(hurt))
    found = check()
    reported = [found[k]["count"] for k in ("damaged", "unreadable") if k in found]
    assert sum(reported) > 10


def test_what_others_write_to_standard_error_meanwhile_is_no_damage(raw, capfd):
    with decoder_complaints() as complaints:
        os.write(2, b"a word\n")
        assert complaints() == "a word"
        assert complaints() == ""
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "later\n"


def test_images_much_larger_or_smaller_than_the_others_stand_out(raw, check):
    write(raw / "A" / "large.png", encoded(picture(900, 400), ".png"))
    write(raw / "B" / "small.png", encoded(picture(901, 12), ".png"))
    found = check()["size_outlier"]
    assert found["examples"] == ["raw/A/large.png", "raw/B/small.png"]


def test_images_that_show_nothing_or_are_nearly_black_are_found(raw, check):
    grey = np.full((48, 48, 3), 128, np.uint8)
    write(raw / "A" / "wall.png", encoded(grey, ".png"))
    write(raw / "B" / "night.png", encoded(picture(900) // 12, ".png"))
    found = check(thresholds=Thresholds(flat=2))
    assert found["flat"]["examples"] == ["raw/A/wall.png"]
    assert found["dark"]["examples"] == ["raw/B/night.png"]


def test_a_small_and_a_huge_class_are_reported(raw, check):
    for path in list((raw / "C").iterdir())[3:]:
        path.unlink()
    found = check()
    assert found["few_images"]["details"] == {"images": {"C": 3}}
    assert "1 of 3 classes has fewer than 10 images (such as C 3)" in (
        found["few_images"]["message"]
    )
    assert found["imbalance"]["details"] == {"ratio": 4}
    assert "imbalance" not in check(thresholds=Thresholds(imbalance=4))


def test_one_class_alone_cannot_be_learned(tmp_path):
    raw = write_raw_set(tmp_path / "one", classes=["A"])
    result = validate(find_images([raw]), tmp_path / "report", 1)
    assert [f["kind"] for f in result["findings"]] == ["single_class"]
    assert not result["ok"]


def test_class_names_that_differ_only_in_case_are_an_error(raw, check):
    write_raw_set(raw, classes=["a"], seed=5000)
    found = check()["class_case"]
    assert found["severity"] == "error" and found["examples"] == ["A", "a"]


@pytest.mark.parametrize(
    "first, second",
    [
        ("\u00c5", "A\u030a"),  # composed, and a letter with a mark behind it
        ("B", "B "),
        ("B", "B\u200b"),
        ("C", "\u0421"),  # Cyrillic
        ("space bar", "space\u00a0bar"),
    ],
)
def test_class_names_that_look_the_same_are_an_error(tmp_path, first, second):
    write_raw_set(tmp_path / "raw", classes=[first, second, "Z"])
    result = validate(find_images([tmp_path / "raw"]), tmp_path / "report", 1)
    found = {f["kind"]: f for f in result["findings"]}
    assert found["class_look"]["severity"] == "error"
    assert found["class_look"]["examples"] == sorted([first, second])
    assert found["class_look"]["message"].isascii()


def test_a_class_name_with_what_cannot_be_seen_is_a_warning(raw, check):
    (raw / "C").rename(raw / "C\u200b")
    found = check()
    assert found["class_invisible"]["severity"] == "warning"
    assert "'C\\u200b'" in found["class_invisible"]["message"]
    assert "class_look" not in found


def test_images_over_the_limits_are_an_error_of_their_own(raw, check):
    photo = hostile_images.claiming((raw / "A" / "A0.jpg").read_bytes(), 20_000, 20_000)
    write(raw / "A" / "wall.jpg", photo + bytes(1 << 20))
    found = check()
    assert found["too_large"]["severity"] == "error"
    assert found["too_large"]["examples"] == ["raw/A/wall.jpg"]
    assert "claims 20000 x 20000 pixels" in found["too_large"]["message"]
    assert "unreadable" not in found


def test_file_names_that_differ_only_in_case_are_a_warning(raw, check):
    write(raw / "A" / "a1.JPG", encoded(picture(900)))
    found = check()["name_case"]
    assert found["severity"] == "warning"
    assert sorted(found["examples"]) == ["raw/A/A1.jpg", "raw/A/a1.JPG"]


def test_stray_files_are_a_warning(raw, check):
    write(raw / "Thumbs.db", b"x")
    assert check()["stray_files"]["examples"] == ["raw/Thumbs.db"]


def test_a_line_that_all_images_have_at_their_edge_is_found(tmp_path):
    for label in "AB":
        for i in range(10):
            image = picture(100 * ord(label) + i)
            image[:2] = image[-2:] = image[:, :2] = (250, 5, 5)
            write(tmp_path / "raw" / label / f"{i}.png", encoded(image, ".png"))
    result = validate(find_images([tmp_path / "raw"]), tmp_path / "report", 1)
    (found,) = [f for f in result["findings"] if f["kind"] == "repeated_border"]
    assert found["details"]["edges"] == ["left", "top", "bottom"]
    assert found["details"]["rgb"] == [5, 5, 250]


def test_hands_cut_out_on_black_have_no_repeated_border(tmp_path):
    for label in "AB":
        for i in range(10):
            image = np.zeros((48, 48, 3), np.uint8)
            image[12:36, 12:36] = picture(100 * ord(label) + i, 24)
            write(tmp_path / "raw" / label / f"{i}.png", encoded(image, ".png"))
    result = validate(find_images([tmp_path / "raw"]), tmp_path / "report", 1)
    assert "repeated_border" not in [f["kind"] for f in result["findings"]]


def test_a_test_set_made_of_training_frames_is_no_independent_set(raw, tmp_path):
    for label in "ABC":
        image = cv2.imread(str(raw / label / f"{label}3.jpg"))
        # another compression: not the same bytes
        write(tmp_path / "test" / label / "1.png", encoded(image, ".png"))
    result = validate(find_images([raw, tmp_path / "test"]), tmp_path / "report", 1)
    (found,) = [f for f in result["findings"] if f["kind"] == "shared_between_sets"]
    assert found["details"] == {"source": "test", "other": "raw", "share": 1}
    assert "3 of 3 images of test" in found["message"]


def test_raw_data_is_only_read(raw, check):
    write(raw / "A" / "text.jpg", b"Sorry")
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in raw.rglob("*")}
    for path in sorted(raw.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    check()
    after = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in raw.rglob("*")}
    assert after == before


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.images = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attributes)["src"])

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_shows_findings_with_pictures_and_believes_no_file_name(raw, tmp_path):
    write(raw / "A" / "<img src=x>.jpg", encoded(picture(900)))
    write(raw / "B" / "<script>.jpg", encoded(picture(900)))
    write(raw / "B" / "text.jpg", b"Sorry")
    validate(find_images([raw]), tmp_path / "report", 1)
    text = (tmp_path / "report" / "validation.html").read_text(encoding="utf-8")
    shown = Page(text)
    assert "script" not in shown.tags
    assert "raw/B/<script>.jpg" in shown.words and "raw/B/text.jpg" in shown.words
    assert "2 kinds of errors" in text
    assert len(shown.images) >= 3
    for source in shown.images:
        data = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))
        assert decode(data).size
    assert not re.search(r"https?://", text), "the page must work without a network"


@pytest.mark.real_data
def test_kaggles_test_images_are_recognised_as_training_frames(real_data, tmp_path):
    names = ("asl_alphabet", "asl_alphabet_test")
    listing = find_images([real_data / name for name in names])
    result = validate(listing, tmp_path, 2)
    found = {f["kind"]: f for f in result["findings"]}
    assert result["ok"]
    assert found["shared_between_sets"]["details"]["source"] == "asl_alphabet_test"
    assert found["shared_between_sets"]["details"]["share"] > 0.3
    assert found["repeated_border"]["details"]["edges"] == [
        "left",
        "right",
        "top",
        "bottom",
    ]
    assert found["near_duplicates"]["details"]["share_by_class"]["nothing"] > 0.5
