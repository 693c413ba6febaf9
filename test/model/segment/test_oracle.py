"""The oracle segmenter, the segmentation it gives, and its folder of label images."""

import cv2
import numpy as np
import pytest
import torch
import yaml

from gnesf_model.labels import UNKNOWN, LabelSpace
from gnesf_model.segment import (
    LabelFolder,
    OracleSegmenter,
    Segmentation,
    Segmenter,
    argmax_labels,
    build_segmenter,
    grid_size,
)

STAMP = 1_700_000_000_123_456_789
SCANNET20 = LabelSpace.load("scannet20")


def rgb(height, width):
    return np.zeros((height, width, 3), np.uint8)


def oracle(image, own=SCANNET20, labels=None):
    return OracleSegmenter({STAMP: image}.__getitem__, own, labels)


def folder(path, image, classes="labels: scannet20\n", name=f"{STAMP}.png"):
    path.mkdir(exist_ok=True)
    cv2.imwrite(str(path / name), image)
    if classes is not None:
        (path / "classes.yaml").write_text(classes, encoding="utf-8")
    return path


def test_fractions_of_the_block():
    image = np.full((8, 8), 5, np.uint8)
    image[0:4, 0:3] = 2
    image[4:8, 4:8] = UNKNOWN
    result = oracle(image)(rgb(8, 8), STAMP)
    assert result.probabilities.shape == (20, 2, 2)
    assert result.probabilities[2, 0, 0] == 0.75 and result.probabilities[5, 0, 0] == 0.25
    assert result.probabilities[:, 1, 1].sum() == 0
    labels, confidence = argmax_labels(result)
    np.testing.assert_array_equal(labels, [[2, 5], [5, UNKNOWN]])
    np.testing.assert_array_equal(confidence, [[0.75, 1], [1, 1]])
    assert labels.dtype == np.uint8 and confidence.dtype == np.float32


def test_size_which_is_no_multiple_of_four():
    image = np.zeros((5, 9), np.uint8)
    image[4, 8] = 7
    result = oracle(image)(rgb(5, 9), STAMP)
    assert tuple(result.probabilities.shape[1:]) == grid_size(5, 9) == (2, 3)
    assert result.probabilities[7, 1, 2] == 1.0, "the one pixel of the corner block"
    torch.testing.assert_close(result.probabilities.sum(dim=0), torch.ones(2, 3))


def test_dynamic_mass_survives_a_mapping_which_cannot_name_it():
    coco = LabelSpace.load("coco_panoptic")
    image = np.full((4, 8), coco.index("couch"), np.uint8)
    image[:, 4:6] = coco.index("person")
    result = oracle(image, coco, SCANNET20)(rgb(4, 8), STAMP)
    assert result.labels == SCANNET20
    np.testing.assert_allclose(result.dynamic, [[0.0, 0.5]])
    np.testing.assert_allclose(result.probabilities[SCANNET20.index("sofa")], [[1.0, 0.5]])
    np.testing.assert_allclose(result.probabilities.sum(dim=0), [[1.0, 0.5]])


@pytest.mark.parametrize(
    ("image", "stamp", "message"),
    [
        (np.zeros((8, 8), np.uint8), None, "stamp_ns is None"),
        (np.zeros((8, 8), np.uint8), 1, "no labels for stamp_ns 1"),
        (np.zeros((8, 9), np.uint8), STAMP, r"\(8, 9\) uint8; expected \(8, 8\)"),
        (np.zeros((8, 8), np.uint16), STAMP, "uint16"),
        (np.full((8, 8), 20, np.uint8), STAMP, "contain 20; expected 0..19"),
    ],
)
def test_what_the_oracle_cannot_know_is_an_error(image, stamp, message):
    with pytest.raises(ValueError, match=message):
        oracle(image)(rgb(8, 8), stamp)


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8), None]
)
def test_what_is_no_rgb_image_is_refused(image):
    with pytest.raises(ValueError, match="expected an array"):
        oracle(np.zeros((8, 8), np.uint8))(image, STAMP)


def test_segmentation_is_checked_where_it_is_made():
    Segmentation(torch.zeros(20, 2, 3), torch.zeros(2, 3), SCANNET20)
    with pytest.raises(ValueError, match="probabilities are"):
        Segmentation(torch.zeros(19, 2, 3), torch.zeros(2, 3), SCANNET20)
    with pytest.raises(ValueError, match="probabilities are"):
        Segmentation(torch.zeros(20, 2, 3).half(), torch.zeros(2, 3), SCANNET20)
    with pytest.raises(ValueError, match="dynamic is"):
        Segmentation(torch.zeros(20, 2, 3), torch.zeros(3, 2), SCANNET20)


def test_folder_by_stamp(tmp_path):
    image = np.full((12, 16), 3, np.uint8)
    path = folder(tmp_path / "labels", image)
    cv2.imwrite(str(path / "000042.png"), image + 1)
    cv2.imwrite(str(path / "overview.png"), image)
    segmenter = build_segmenter(f"oracle:{path}", device="cpu")
    assert isinstance(segmenter, Segmenter) and segmenter.labels == SCANNET20
    assert (argmax_labels(segmenter(rgb(12, 16), STAMP))[0] == 3).all()
    assert (argmax_labels(segmenter(rgb(12, 16), 42))[0] == 4).all()
    with pytest.raises(ValueError, match=f"stamp_ns 7: .*2 label images, stamps 42 to {STAMP}"):
        segmenter(rgb(12, 16), 7)


def test_folder_given_apart_and_space_given_apart(tmp_path):
    path = folder(tmp_path / "labels", np.full((4, 4), 4, np.uint8), classes=None)
    with pytest.raises(OSError, match=r"classes\.yaml does not exist"):
        build_segmenter("oracle", labels_dir=path)
    segmenter = build_segmenter("oracle", labels_dir=path, segmenter_labels="nyu40", device="cpu")
    assert argmax_labels(segmenter(rgb(4, 4), STAMP))[0][0, 0] == SCANNET20.index("chair")


def test_folder_with_its_own_classes(tmp_path):
    classes = [
        {"name": "pallet", "color": [1, 2, 3], "kind": "furniture"},
        {"name": "forklift", "color": [4, 5, 6], "kind": "dynamic"},
    ]
    text = yaml.safe_dump({"name": "depot", "classes": classes})
    path = folder(tmp_path / "labels", np.ones((4, 4), np.uint8), text)
    result = build_segmenter(f"oracle:{path}", labels="native", device="cpu")(rgb(4, 4), STAMP)
    assert result.labels.names == ("pallet", "forklift") and result.dynamic[0, 0] == 1
    with pytest.raises(ValueError, match="no mapping from label space 'depot' to 'scannet20'"):
        build_segmenter(f"oracle:{path}")


def test_wrong_folders(tmp_path):
    with pytest.raises(OSError, match="does not exist"):
        LabelFolder(tmp_path / "none")
    (tmp_path / "classes.yaml").write_text("labels: scannet20", encoding="utf-8")
    with pytest.raises(OSError, match="holds no label image"):
        LabelFolder(tmp_path)
    folder(tmp_path, np.zeros((4, 4), np.uint8), name="7.png")
    folder(tmp_path, np.zeros((4, 4), np.uint8), name="007.png")
    with pytest.raises(ValueError, match="same stamp"):
        LabelFolder(tmp_path)
    (tmp_path / "007.png").unlink()
    (tmp_path / "7.png").write_bytes(b"not a picture")
    with pytest.raises(OSError, match=r"cannot read the label image .*7\.png"):
        LabelFolder(tmp_path)(7)
    with pytest.raises(ValueError, match="segmenter.model names no network"):
        build_segmenter("oracle")
