"""Where a bag is written, by its name: a folder, or one .mcap file."""

from __future__ import annotations

import shutil
from pathlib import Path

MCAP_SUFFIX = ".mcap"


class BagTarget:
    """The folder that rosbags writes into, and what becomes of it.

    rosbags makes a folder with metadata.yaml, always, and in it an .mcap file that says everything that metadata.yaml
    does. A name that ends in .mcap gets that file alone: it is written in a folder beside the name, and moved.

    Args:
        path: of the bag.

    Attributes:
        path: of the bag.
        folder: to write into; one that does not exist, in one that does.

    Raises:
        FileExistsError: `path` is there already, or what a killed process left of it.
        OSError: the folder of `path` cannot be made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        if self.path.exists():
            raise FileExistsError(f"{self.path} exists already: give the bag another name, or remove it")
        self.folder = part_of(self.path)
        if self.folder.exists():
            raise FileExistsError(
                f"{self.folder} exists already, where {self.path.name} is written until it is whole: another process "
                "writes it, or one was killed. Give the bag another name, or remove that folder"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def finish(self) -> None:
        """Give a file its name; to be called when the writer is closed.

        Raises:
            OSError: it cannot be moved; it stays where it was written.
        """
        if self.folder == self.path:
            return
        (written,) = self.folder.glob(f"*{MCAP_SUFFIX}")
        written.rename(self.path)
        shutil.rmtree(self.folder)

    def discard(self) -> None:
        """Remove what was written of a file; a folder stays, as far as it came."""
        if self.folder != self.path:
            shutil.rmtree(self.folder, ignore_errors=True)


def part_of(path: Path) -> Path:
    """The folder that a bag of this name is written into."""
    return path.with_name(f"{path.name}.part") if path.suffix == MCAP_SUFFIX else path
