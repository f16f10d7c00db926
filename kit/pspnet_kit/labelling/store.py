"""Writes a labelled pool as a data set of the kit, picture by picture, so that a killed run goes on where it was.

`images/NAME.jpg`, `labels/NAME.png` (train ids, 255 = void), `soft/NAME.png` (see Dataset.read_soft) and, last of all,
`dataset.toml`. The picture is the last file of its three: what has one is done.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data import VOID, ClassInfo
from ..data.dataset_toml import FILE
from ..errors import KitError
from ..files import check_folder, read_text, write_whole

SETTINGS = "label.json"
"""How the labels were made: a run with other settings does not go on with them."""
QUALITY = 92
FOLDERS = ("images", "labels", "soft")


class Store:
    """A data set being written.

    Raises:
        KitError: when the folder can't be written, or holds labels that were made otherwise.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], classes: Sequence[ClassInfo]) -> None:
        self.out, self.classes = out, classes
        check_folder(out)
        text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
        known = out / SETTINGS
        if known.is_file():
            if read_text(known) != text:
                raise KitError(f"{out}: holds labels that were made with other settings ({known}); name another folder")
        elif out.is_dir() and any(out.iterdir()):
            raise KitError(f"{out}: is not empty and holds no labels of kit label; name another folder with --out")
        else:
            write_whole(known, text.encode("utf-8"))

    def has(self, name: str) -> bool:
        """Whether the picture `name` is there with its labels."""
        return self._path("images", name).is_file()

    def names(self) -> set[str]:
        """Of all pictures that are there with their labels."""
        return {path.stem for path in (self.out / "images").glob("*.jpg")}

    def put(self, name: str, image: NDArray[np.uint8], label: NDArray[np.uint8], groups: NDArray[np.float32]) -> None:
        """Writes picture, train ids `[h, w]` and the probabilities of groups `[h', w', groups]`.

        Raises:
            KitError: when one can't be written; then the picture counts as not done.
        """
        soft = np.rint(groups.transpose(2, 0, 1) * 255).astype(np.uint8).reshape(-1, groups.shape[1])
        write_whole(self._path("soft", name), _encoded(soft, "PNG"))
        write_whole(self._path("labels", name), _encoded(label, "PNG"))
        write_whole(self._path("images", name), _encoded(image, "JPEG", quality=QUALITY))

    def finish(self, name: str, licence: str, citation: str = "") -> None:
        """Writes dataset.toml.

        Raises:
            KitError: when it can't be written.
        """
        write_whole(self.out / FILE, self._toml(name, licence, citation).encode("utf-8"))

    def _path(self, folder: str, name: str) -> Path:
        return self.out / folder / (name + (".jpg" if folder == "images" else ".png"))

    def _toml(self, name: str, licence: str, citation: str) -> str:
        lines = [f"name = {_quoted(name)}", f"licence = {_quoted(licence)}"]
        lines += [f"citation = {_quoted(citation)}"] if citation else []
        lines += ['labels = "index"', f"void = [{VOID}]", "", "[splits.train]"]
        lines += [f'{folder} = "{folder}"' for folder in FOLDERS]
        for info in self.classes:
            lines += ["", "[[classes]]", f"name = {_quoted(info.name)}", f"color = {_quoted(info.color)}"]
            lines += [f"group = {_quoted(info.group)}"] if info.group else []
        return "\n".join(lines) + "\n"


def _encoded(pixels: NDArray[np.uint8], kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def _quoted(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
