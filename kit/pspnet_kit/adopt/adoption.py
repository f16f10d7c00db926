"""From a foreign file to a model with its card: the steps of `kit adopt` in their order, without writing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.pictures import printable
from ..errors import KitError
from ..export.edgetpu import check
from ..export.manifest import Manifest, Pixels, Training
from ..export.tflite_reader import Graph, Operator, graph_of, unpack
from .card import Card
from .compare import WARN_BELOW, Answers, Run, answers, generated, quantisation, scratch
from .cut import compact, cut, pack
from .ends import RESIZES, Ends, find_ends, refuse_shape
from .fold import fold
from .names import found_classes, read_classes
from .original import Original, read
from .pixels import Found, find_pixels
from .retarget import retarget


@dataclass(frozen=True)
class Adoption:
    """A model that was made, and what there is to say of it."""

    content: bytes
    card: Card
    warnings: Sequence[str]


def adopt(
    path: Path,
    *,
    size: tuple[int, int] | None = None,
    classes: str = "",
    pictures: Sequence[np.ndarray] = (),
    pixels: Pixels | None = None,
    output: str = "",
    keep_resize: bool = False,
    name: str = "",
    licence: str = "",
    source: str = "",
) -> Adoption:
    """Makes a model for pspnetd of the file at `path`; the arguments are the command's.

    Raises:
        KitError: when the file is none that can be adopted, or the result is not the original's network.
    """
    original = read(path)
    graph = original.graph()
    ends = find_ends(graph, path, output, keep_resize)
    if classes:
        named, names_told = read_classes(classes, ends.classes), ""
    else:
        named, names_told = found_classes(original.content, ends.classes)
    source_tensor = original.model().subgraphs[0].tensors[ends.input.index]
    found = find_pixels(ends.input.dtype == "INT8", *quantisation(source_tensor), pixels)
    file = printable(path.name)
    description = f"{file}, changed for pspnetd; original SHA-256 {original.sha256}"
    work = _Work(original, graph, ends, found, description)
    checks, warnings, notes = work.make(size, pictures, keep_resize)
    (warnings if found.is_guess else notes).append(found.told)
    notes += [*([names_told] if names_told else []), work.edge_tpu()]
    if not licence:
        warnings.append("no licence is known; --licence says it")
    changes = work.changes or ["nothing but the form of the file"]
    told = f"Adopted from {file} (SHA-256 {original.sha256}); changed: {'; '.join(changes)}"
    training = Training(data=f"not trained here; original: {source or file}")
    manifest = Manifest(name or file, "", licence, told, named, training, pixels=found.pixels)
    origin = f"{file}, from {source}" if source else file
    card = Card(manifest, origin, original.sha256, work.told(), changes, checks, notes)
    return Adoption(work.content, card, warnings)


class _Work:
    """One network on its way."""

    def __init__(self, original: Original, graph: Graph, ends: Ends, found: Found, description: str) -> None:
        self.original, self.graph, self.ends, self.found = original, graph, ends, found
        self.path = original.path
        self.model = original.model()
        cut(self.model, graph, ends, description)
        self.changes = _cuts(ends, graph)
        if gone := fold(self.model, self.path):
            self.changes.append(f"sizes computed from shapes became constants, {gone} operator{'s' * (gone > 1)} less")
        self.content = pack(self.model, self.path)
        self.size = (ends.input.shape[1], ends.input.shape[2])

    def make(
        self, size: tuple[int, int] | None, pictures: Sequence[np.ndarray], keep_resize: bool
    ) -> tuple[list[str], list[str], list[str]]:
        """Compares, changes the size and compares again. Gives checks, warnings and notes."""
        shown = list(pictures) or generated()
        known = answers(self.original, self.ends, self.found.pixel_map, shown)
        checks, warnings, notes = self._compared(known, shown, bool(pictures)), list[str](), self._resizes()
        if size is not None and size != self.size:
            before = self.size
            changed, stays = retarget(self.model, size, self.path)
            compact(self.model)
            self.content, self.size = pack(self.model, self.path), size
            self.changes += [f"input of {_by(size)} instead of {_by(before)}, height x width", *changed]
            notes += stays
            graph = self.result()
            refuse_shape(graph.inputs[0].shape, graph.outputs[0].shape, self.path)
            again = known.compare(self._run(), shown, self.scale, self.path)
            if pictures:
                checks.append(f"at {_by(size)} against the original at {_by(before)}: {again}")
                if again.pixels < WARN_BELOW:
                    warnings.append(
                        f"only {100 * again.pixels:.1f} % of the pixels have the original's class at {_by(size)}; "
                        "look at the pictures, or take a size nearer to the original's"
                    )
            else:
                checks.append(f"at {_by(size)} it runs")
        if not pictures:
            warnings.append("classes were not compared: --pictures DIR names pictures to compare them on")
        return checks, warnings, notes

    def _compared(self, known: Answers, shown: Sequence[np.ndarray], are_real: bool) -> list[str]:
        agreement = known.compare(self._run(), shown, self.scale, self.path)
        if not agreement.equal_logits:
            raise KitError(f"{self.path}: after the cut its logits are not those of the original; it can't be adopted")
        kind = "pictures" if are_real else "generated pictures"
        checks = [f"after the cut its logits are bit for bit the original's, on {len(shown)} {kind}"]
        return [*checks, f"at {_by(self.size)}: {agreement}"] if are_real else checks

    @property
    def scale(self) -> float:
        main = self.model.subgraphs[0]
        return quantisation(main.tensors[int(main.outputs[0])])[0]

    def _run(self) -> Run:
        return Run(self.content, self.size, self.found.pixel_map)

    def result(self) -> Graph:
        return graph_of(unpack(self.content, self.path), self.path)

    def told(self) -> str:
        """Both ends in words."""
        (source,), (output,) = (self.result().inputs, self.result().outputs)
        return f"input {source}, a picture in R G B; output {output}, logits"

    def edge_tpu(self) -> str:
        """What the Edge TPU's compiler would make of it."""
        with scratch() as folder:
            try:
                (folder / "model.tflite").write_bytes(self.content)
            except OSError as error:
                raise KitError(f"{folder}: can't be written: {error.strerror or error}") from error
            verdict = check(folder / "model.tflite")
        count, left = len(verdict.placements), len(verdict.left)
        unsure = f", {len(verdict.unsure)} of them not surely" if verdict.unsure else ""
        return f"by its documented rules an Edge TPU takes {count - left} of its {count} operators{unsure}"

    def _resizes(self) -> list[str]:
        """What to know of resizes that follow other rules than pspnetd's own."""
        notes = []
        if gone := [_rule(each) for each in self.ends.after if each.name in RESIZES and _rule(each)]:
            notes.append(
                f"the resize that was cut had {gone[-1]}; pspnetd's upsampling has half-pixel centres, so edges move "
                "by up to half a cell of the logits, unless --keep-resize leaves it in"
            )
        legacy = [each for each in self.result().operators if each.name in RESIZES and _rule(each)]
        if legacy:
            rules = ", ".join(f"{count} with {rule}" for rule, count in Counter(map(_rule, legacy)).items())
            notes.append(f"it has resizes inside that were left as they are: {rules}")
        return notes


def _rule(operator: Operator) -> str:
    """Where a resize takes its samples from, when that is not at half-pixel centres."""
    if operator.option("halfPixelCenters"):
        return ""
    return "corners on corners (align_corners)" if operator.option("alignCorners") else "half_pixel_centers=False"


def _cuts(ends: Ends, graph: Graph) -> list[str]:
    changes = []
    if ends.before:
        changes.append(f"cut off before the picture: {', '.join(each.name for each in ends.before)}")
    if ends.after:
        changes.append(f"cut off behind the logits: {', '.join(each.name for each in ends.after)}")
    if others := len(graph.outputs) - 1:
        changes.append(f"cut off: {others} other output{'s' if others > 1 else ''}, with what only they need")
    return changes


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
