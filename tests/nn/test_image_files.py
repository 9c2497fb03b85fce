"""Images from files: pixels, folders of classes, what is left out and what is refused."""

from pathlib import Path
from typing import Any

import numpy
import pytest

from blockfuse import gluon, image, np
from blockfuse.gluon.data.vision import ImageFolderDataset, transforms
from blockfuse.ir.errors import UsageError
from blockfuse.nn.data.vision import images

pillow = pytest.importorskip("PIL.Image")
PIXELS = numpy.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype="uint8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        pillow.fromarray(PIXELS + label).save(tmp_path / name / "b.png")
    pillow.fromarray(PIXELS).save(tmp_path / "cat" / "a.PNG")
    numpy.save(tmp_path / "dog" / "c.npy", PIXELS)
    return tmp_path


def test_an_image_is_its_pixels(folder: Path) -> None:
    found = image.imread(folder / "cat" / "b.png")
    assert found.dtype == "uint8"
    numpy.testing.assert_array_equal(found, PIXELS)
    grey = image.imread(str(folder / "cat" / "b.png"), flag=0)
    numpy.testing.assert_array_equal(grey[..., 0], pillow.fromarray(PIXELS).convert("L"))
    numpy.testing.assert_array_equal(
        image.imresize(found, 10, 2), transforms.Resize((10, 2))(np.array(PIXELS)).asnumpy()
    )


def test_a_folder_of_folders_is_a_dataset(folder: Path) -> None:
    dataset = ImageFolderDataset(folder)
    assert dataset.synsets == ["cat", "dog"]
    names = [(Path(path).name, label) for path, label in dataset.items]
    assert names == [("a.PNG", 0), ("b.png", 0), ("b.png", 1), ("c.npy", 1)]
    for (pixels, label), wanted in zip(dataset, (PIXELS, PIXELS, PIXELS + 1, PIXELS), strict=True):
        numpy.testing.assert_array_equal(pixels, wanted)
        assert label in (0, 1)
    batches = gluon.data.DataLoader(dataset.transform_first(transforms.ToTensor()), 4)
    ((X, y),) = batches
    assert (X.shape, y.tolist()) == ((4, 3, 4, 5), [0, 0, 1, 1])
    grey = ImageFolderDataset(folder, flag=0, transform=lambda pixels, label: (pixels.shape, -label))
    assert grey[2] == ((4, 5, 1), -1)


def test_what_is_no_image_is_left_out_with_a_warning(folder: Path) -> None:
    (folder / "notes.txt").write_text("")
    with pytest.warns(UserWarning, match=r"notes.txt is no folder of a class"):
        assert len(ImageFolderDataset(folder)) == 4
    (folder / "notes.txt").rename(folder / "dog" / "notes.txt")
    with pytest.warns(UserWarning, match=r"notes.txt is no image"):
        assert len(ImageFolderDataset(folder)) == 4


def test_what_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="there is no such folder"):
        ImageFolderDataset(tmp_path / "none")
    with pytest.raises(UsageError, match=r"have no images: expected .*/CLASS/NAME"):
        ImageFolderDataset(tmp_path)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UsageError, match="is no image that Pillow can read"):
        image.imread(tmp_path / "text.png")
    with pytest.raises(UsageError, match="1 for colours or 0 for grey"):
        image.imread(tmp_path / "text.png", flag=2)

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(images, "import_module", missing)
    with pytest.raises(UsageError, match=r"pip install blockfuse\[images\]"):
        image.imread(tmp_path / "text.png")
