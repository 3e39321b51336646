"""Finding the images of raw folders, however they are nested."""

import os
import shutil
import socket
import subprocess
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from raw_sets import encoded, picture, write, write_raw_set

from data_prep import containers, packed
from data_prep.errors import InputError
from data_prep.image_file import BrokenImage
from data_prep.paths import ROOT
from data_prep.preprocessing import decode
from data_prep.sources import find_images


def test_class_folders_become_labels_and_frames_keep_their_order(tmp_path):
    for number in (10, 2, 1):
        write(tmp_path / "asl" / "A" / f"A{number}.JPG", encoded(picture(number)))
    images = find_images([tmp_path / "asl"]).images
    assert [i.path for i in images] == [f"asl/A/A{n}.JPG" for n in (1, 2, 10)]
    assert {(i.label, i.source) for i in images} == {("A", "asl")}
    assert images[0].read() == encoded(picture(1))


def test_kaggles_nesting_is_seen_through_and_its_flat_test_folder_is_no_class(tmp_path):
    name = "asl_alphabet_train"
    write_raw_set(tmp_path / "asl" / name / name)
    flat = tmp_path / "asl" / "asl_alphabet_test" / "asl_alphabet_test"
    write(flat / "A_test.jpg", encoded(picture(5)))
    listing = find_images([tmp_path / "asl"])
    assert {i.label for i in listing.images} == {"A", "B", "C"}
    assert {i.source for i in listing.images} == {"asl/asl_alphabet_train"}
    assert listing.strays == ["asl/asl_alphabet_test/asl_alphabet_test/A_test.jpg"]


def test_several_raw_folders_merge_and_keep_their_source(tmp_path):
    folders = [write_raw_set(tmp_path / name, seed=n) for n, name in enumerate("yx")]
    images = find_images(folders).images
    assert [i.source for i in images] == ["x"] * 36 + ["y"] * 36
    assert find_images(folders[::-1]).images == images


def test_signers_side_by_side_in_one_folder_are_several_sources(tmp_path):
    for n, name in enumerate(("signer_1", "signer_2")):
        write_raw_set(tmp_path / "mine" / name, seed=100 * n)
    images = find_images([tmp_path / "mine"]).images
    assert {i.source for i in images} == {"mine/signer_1", "mine/signer_2"}
    assert {i.label for i in images} == {"A", "B", "C"}


def test_raw_folders_of_the_same_name_are_told_apart_by_their_parents(tmp_path):
    folders = [write_raw_set(tmp_path / n / "asl", count=1) for n in ("ann", "bob")]
    assert {i.source for i in find_images(folders).images} == {"ann/asl", "bob/asl"}


def test_the_same_folder_given_twice_counts_once(raw):
    assert len(find_images([raw, raw]).images) == 36


def test_strays_and_empty_class_folders_are_reported(raw):
    write(raw / ".DS_Store", b"x")
    write(raw / "A" / "notes.txt", b"x")
    (raw / "D").mkdir()
    listing = find_images([raw])
    assert sorted(listing.strays) == ["raw/.DS_Store", "raw/A/notes.txt"]
    assert listing.empty == [("raw", "D")]


def test_a_class_folder_without_readable_photographs_is_empty_and_others_are_not(raw):
    write(raw / "D" / ".gitkeep", b"")
    write(raw / "E" / "phone.HEIC", b"x")
    write(raw / "notes" / "labels.txt", b"x")
    write(raw / ".ipynb_checkpoints" / "A1-checkpoint.jpg", b"x")
    listing = find_images([raw])
    assert sorted(listing.empty) == [("raw", "D"), ("raw", "E")]
    assert {i.label for i in listing.images} == {"A", "B", "C"}


def test_a_folder_that_may_not_be_read_is_named(raw):
    program = (
        "import os, sys; from data_prep.sources import find_images\n"
        "os.setuid(65534)\n"
        "find_images([sys.argv[1]])"
    )
    for folder in (raw, *raw.parents):  # for others than root
        if folder.owner() == "root" and len(folder.parts) > 2:
            folder.chmod(0o755)
    (raw / "C").chmod(0)
    if os.getuid():
        pytest.skip("only root can become somebody else")
    done = subprocess.run(
        [sys.executable, "-c", program, raw], cwd=ROOT, capture_output=True, text=True
    )
    assert f"{raw}/C cannot be read" in done.stderr.splitlines()[-1]


def test_a_file_name_that_is_no_utf_8_is_named(raw):
    shutil.copy(raw / "A" / "A1.jpg", os.fsencode(raw / "A") + b"/\xf1.jpg")
    with pytest.raises(InputError, match=r"raw/A/\\udcf1.jpg' is no UTF-8"):
        find_images([raw])


def test_hard_links_in_a_tar_are_files_as_well(raw, tmp_path):
    os.link(raw / "A" / "A1.jpg", raw / "A" / "again.jpg")
    images = find_images([pack("gztar", raw, tmp_path)]).images
    assert [i.read() for i in images] == [i.read() for i in find_images([raw]).images]


def test_a_table_may_be_of_excel_with_any_case_and_blank_lines(tmp_path):
    rng = np.random.default_rng(0)
    rows = [(n, rng.integers(0, 256, (28, 28), np.uint8)) for n in (0, 10)]
    plain = write_table(tmp_path / "t.csv", rows).read_bytes()
    odd = write(tmp_path / "odd" / "T.CSV", b"\xef\xbb\xbf" + plain + b"\r\n\n")
    same = [image.read() for image in find_images([tmp_path / "t.csv"]).images]
    for place in (odd, pack("zip", odd.parent, tmp_path)):
        assert [image.read() for image in find_images([place]).images] == same
    decode(same[0])


def test_a_limit_takes_images_from_the_whole_sequence(raw):
    images = find_images([raw], limit=3).images
    paths = [i.path for i in images if i.label == "A"]
    assert paths == ["raw/A/A0.jpg", "raw/A/A4.jpg", "raw/A/A8.jpg"]
    assert len(images) == 9


def test_classes_can_be_chosen_and_an_unknown_one_is_named(raw):
    assert {i.label for i in find_images([raw], classes=["A", "C"]).images} == {
        "A",
        "C",
    }
    with pytest.raises(InputError, match="'Q' has no images.*A B C"):
        find_images([raw], classes=["A", "Q"])


def test_a_missing_folder_and_one_without_images_are_named(tmp_path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        find_images([tmp_path / "nowhere"])
    write(tmp_path / "texts" / "A" / "a.txt", b"x")
    with pytest.raises(InputError, match="texts holds no class folders"):
        find_images([tmp_path / "texts"])
    write(tmp_path / "telephone" / "A" / "IMG_1.HEIC", b"x")
    with pytest.raises(InputError, match="are .heic files: export them as JPEG"):
        find_images([tmp_path / "telephone"])


def test_macos_droppings_are_strays_and_links_are_followed_once(raw):
    write(raw / "A" / "._A1.jpg", b"x")
    (raw / "D").symlink_to(raw / "A")
    (raw / "B" / "up").symlink_to(raw)
    listing = find_images([raw])
    assert [s for s in listing.strays if "._A1" in s]
    assert sorted({i.label for i in listing.images}) == ["A", "B", "C"]


def pack(kind, raw, tmp_path):
    return Path(shutil.make_archive(str(tmp_path / "packed"), kind, raw))


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar", "xztar"])
def test_an_archive_is_read_in_place(raw, tmp_path, kind):
    (raw / "D").mkdir()
    listing = find_images([pack(kind, raw, tmp_path)])
    folder = find_images([raw])
    assert [i.read() for i in listing.images] == [i.read() for i in folder.images]
    assert [i.label for i in listing.images] == [i.label for i in folder.images]
    assert [label for _, label in listing.empty] == ["D"]
    assert sorted(p.name for p in tmp_path.iterdir())[0].startswith("packed")


def test_archives_in_a_folder_are_entered_and_read_by_other_processes(raw, tmp_path):
    for name in ("ann", "bob"):
        shutil.make_archive(str(tmp_path / "mine" / name), "zip", raw)
    images = find_images([tmp_path / "mine"]).images
    assert {i.source for i in images} == {"mine/ann.zip", "mine/bob.zip"}
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(images[0].read).result() == images[0].read()


def test_a_damaged_archive_is_named(raw, tmp_path):
    for kind in ("zip", "tar", "gztar"):
        path = pack(kind, raw, tmp_path)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match=path.name):
            for image in find_images([path]).images:
                image.read()
                decode(image.read())


def test_a_file_that_is_no_set_is_refused(tmp_path):
    path = write(tmp_path / "photos.rar", b"Rar!")
    with pytest.raises(InputError, match="photos.rar is no folder, archive"):
        find_images([path])


def write_table(path, rows):
    header = "label," + ",".join(f"pixel{i + 1}" for i in range(784))
    lines = [",".join(map(str, (label, *pixels.ravel()))) for label, pixels in rows]
    return write(path, "\r\n".join([header, *lines, ""]).encode())


def test_a_sign_mnist_table_becomes_images_with_letters(tmp_path):
    rng = np.random.default_rng(0)
    rows = [(n, rng.integers(0, 256, (28, 28), np.uint8)) for n in (0, 10, 24, 0)]
    write_table(tmp_path / "mnist" / "sign_mnist_train.csv", rows)
    images = find_images([tmp_path / "mnist"]).images
    assert [(i.label, i.path.split("/")[-1]) for i in images] == [
        ("A", "1.bmp"),
        ("A", "4.bmp"),
        ("K", "2.bmp"),
        ("Y", "3.bmp"),
    ]
    assert {i.source for i in images} == {"mnist/sign_mnist_train.csv"}
    np.testing.assert_array_equal(decode(images[2].read())[:, :, 1], rows[1][1])


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_a_table_in_an_archive_is_read_like_one_in_a_folder(tmp_path, kind):
    rng = np.random.default_rng(0)
    rows = [(n, rng.integers(0, 256, (28, 28), np.uint8)) for n in (0, 10, 24)]
    name = "sign_mnist_train"
    write_table(tmp_path / "mnist" / name / f"{name}.csv", rows)
    write(tmp_path / "mnist" / "american_sign_language.PNG", b"a chart")
    write(tmp_path / "mnist" / "notes.csv", b"filename,A,B\n")
    path = pack(kind, tmp_path / "mnist", tmp_path)
    packed, plain = find_images([path]), find_images([tmp_path / "mnist"])
    assert [i.label for i in packed.images] == ["A", "K", "Y"]
    assert [i.read() for i in packed.images] == [i.read() for i in plain.images]
    assert packed.images[0].path == f"{path.name}/{name}/{name}.csv/A/1.bmp"
    assert len(packed.strays) == 2


def test_a_wrong_label_or_row_in_a_table_is_named(tmp_path):
    pixels = np.zeros((28, 28), np.uint8)
    path = write_table(tmp_path / "in" / "t.csv", [(0, pixels), (26, pixels)])
    for place in (path, path.parent, pack("zip", path.parent, tmp_path)):
        with pytest.raises(InputError, match="t.csv, row 2: label '26'"):
            find_images([place])
    path = write_table(tmp_path / "u.csv", [(0, pixels), (1, pixels[:, :-1])])
    with pytest.raises(BrokenImage):
        decode(find_images([path]).images[1].read())


def test_other_tables_are_strays(raw):
    write(raw / "_classes.csv", b"filename,A,B\n")
    assert find_images([raw]).strays == ["raw/_classes.csv"]


@pytest.mark.parametrize("kind", ["zip", "gztar", "xztar"])
def test_an_archive_with_wrong_bytes_is_named(raw, tmp_path, kind):
    path = pack(kind, raw, tmp_path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle - 200 : middle + 200] = bytes(400)
    path.write_bytes(data)
    with pytest.raises(InputError, match=path.name):
        for image in find_images([path]).images:
            image.read()


def test_a_limit_below_zero_is_refused(raw):
    with pytest.raises(InputError, match="--limit is -1"):
        find_images([raw], limit=-1)


def test_what_is_no_regular_file_is_never_opened(tmp_path):
    raw = write_raw_set(tmp_path / "raw", count=2)
    for name in ("pipe.jpg", "table.csv", "more.zip"):
        os.mkfifo(raw / "A" / name)
    (raw / "B" / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(raw / "C" / "socket.bmp"))
        listing = find_images([raw])
        assert len(list(containers.files_below(raw))) == 6
    assert len(listing.images) == 6
    assert listing.strays == [
        "raw/A/more.zip",
        "raw/A/pipe.jpg",
        "raw/A/table.csv",
        "raw/B/zero.png",
        "raw/C/socket.bmp",
    ]


def test_a_zip_made_by_windows_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "asl.zip", "w") as archive:
        archive.writestr("asl\\empty\\", b"")
        for label in "AB":
            archive.writestr(f"asl\\{label}\\1.jpg", encoded(picture(ord(label))))
    images = find_images([tmp_path / "asl.zip"]).images
    assert [i.path for i in images] == ["asl.zip/asl/A/1.jpg", "asl.zip/asl/B/1.jpg"]
    assert images[1].read() == encoded(picture(ord("B")))


@pytest.mark.parametrize("character", "\n\r\t\x0b\x0c\x1c\x85\u2028\u2029")
def test_a_class_name_with_a_line_break_is_refused(tmp_path, character):
    raw = write_raw_set(tmp_path / "raw", classes=["A", f"B{character}C"], count=1)
    with pytest.raises(InputError, match="control character") as error:
        find_images([raw])
    assert str(error.value).isprintable()


def test_names_end_with_a_line_feed_alone(tmp_path):
    odd = ["a\x0bb", "c\x85d", "e\u2028f", "g\rh", ""]
    packed.write_classes(tmp_path, odd)
    assert packed.read_classes(tmp_path) == odd


def test_of_a_file_larger_than_any_image_only_the_start_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "MAX_FILE", 1000)
    for name, packing in (("raw.zip", "zip"), ("raw.tar", "tar")):
        write(tmp_path / "raw" / "A" / "1.jpg", bytes(5000))
        shutil.make_archive(str(tmp_path / "raw"), packing, tmp_path / "raw")
        (image,) = find_images([tmp_path / name]).images
        assert len(image.read()) == 1001
    assert len(find_images([tmp_path / "raw"]).images[0].read()) == 1001
