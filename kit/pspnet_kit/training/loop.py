"""The training loop: the same on two CPU cores, on one GPU, and on many machines under torchrun.

Every epoch starts from its own seed, so a run that was killed goes on from its last checkpoint with the result that it
would have had.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .. import checkpoint
from ..data import open_dataset, origin
from ..data.augment import resize_input
from ..data.dataset import group_names
from ..data.samples import Batches, Sample
from ..errors import KitError
from ..files import check_folder
from ..model import PSPNet, build
from ..model.weights import load_imagenet
from ..quant.qat import QatNetwork, prepare_qat
from ..quant.ranges import RangeError
from ..recipe import BACKBONE, Recipe
from . import losses
from .cpu_kernels import accelerate
from .curves import Curves
from .device import Ranks, autocast
from .evaluate import mean_iou
from .schedule import Average, poly

log = logging.getLogger(__name__)
VERSION = 1
CALIBRATION = 32
"""Pictures that the first ranges of quantisation come from."""


class Trainer:
    """One run.

    The constructor prepares it and checks all that can be wrong before time is spent; `run` runs it.
    """

    def __init__(self, recipe: Recipe, out: Path, ranks: Ranks, resume: bool, fast: bool = True) -> None:
        self.recipe, self.out, self.ranks = recipe, out, ranks
        t = recipe.train
        self._check_places(resume)
        self.dataset = open_dataset(Path(recipe.data.root), recipe.data.layout)
        if strange := [c for c in recipe.augment.paste_classes if not 0 <= c < len(self.dataset.classes)]:
            raise KitError(
                f"augment.paste_classes: {strange[0]} is no class; "
                f"{recipe.data.root} has 0 to {len(self.dataset.classes) - 1}"
            )
        self.pictures = hashlib.sha256()
        """Of the names and sizes of all files that are read."""
        self.past: list[Any] = []
        """What made the checkpoint that the run starts from; that file may be gone when this one is written."""
        self.sources: list[dict[str, Any]] = []
        """The data that the weights learned from before this run, and the teacher's."""
        self.model = self._model()
        self.teacher = self._teacher()
        self._check_sizes()
        d = recipe.data
        self.judged = self._read(d.judge, d.judge_only, d.judge_without) if d.judge else []
        self.batches = Batches(
            self._read(d.train, d.train_only, d.train_without),
            t.size,
            t.batch,
            recipe.augment,
            t.seed,
            ranks.rank,
            ranks.ranks,
            self._read_soft() if recipe.distil.soft_weight else None,
        )
        self.weights = self._class_weights().to(ranks.device)
        self.groups = self._groups()
        self.epochs = sum(phase.epochs for phase in t.phases)
        self.model.to(ranks.device, memory_format=torch.channels_last)
        if self.model.architecture.auxiliary and not t.auxiliary:
            # Its classifier gets no gradient, which DistributedDataParallel would wait for.
            self.model.auxiliary.requires_grad_(False)
        self.network: nn.Module = prepare_qat(self.model, self._example()) if t.qat else self.model
        """What is trained: the model, or the model with an int8 file's roundings."""
        self.fast = fast and not t.qat and ranks.device.type == "cpu" and accelerate(self.model)
        self.average = Average(self.network, t.average)
        self.optimiser = self._optimiser()
        self.parallel = self.network
        if ranks.ranks > 1:
            if ranks.device.type == "cuda" and not t.qat:
                self.parallel = self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
            self.parallel = DistributedDataParallel(self.network)
        self.curves = Curves(out) if ranks.first else None
        self.done, self.best = 0, -1.0
        if (out / "last.pt").exists():
            self._restore(out / "last.pt")

    def run(self) -> None:
        """Trains all epochs that are left.

        Raises:
            KitError: when training diverges, or a file can't be written.
        """
        started, first = time.monotonic(), self.done
        for epoch in range(self.done, self.epochs):
            try:
                entry = self._entry(epoch)
            except RangeError as error:
                raise self._diverged(epoch, str(error)) from error
            self._record(entry)
            loss, seconds = entry["loss"], entry["seconds"]
            left = (time.monotonic() - started) / (self.done - first) * (self.epochs - self.done)
            if self.ranks.first:
                score = f"  mIoU {entry['miou']:.2f}" if "miou" in entry else ""
                told = (self.done, self.epochs, loss, score, seconds, left / 60)
                log.info("epoch %d/%d  loss %.4f%s  %.1f s, %.0f min left", *told)
        if self.ranks.first:
            checkpoint.save(self.out / "final.pt", self._finished())

    def _check_places(self, resume: bool) -> None:
        if not self.recipe.data.root:
            raise KitError("no data set is named: name its folder with --data, or as data.root in the recipe")
        if (self.out / "last.pt").exists() and not resume:
            raise KitError(
                f"{self.out}: holds a run already: go on with it by --resume, or name another folder with --out"
            )
        if self.ranks.first:
            check_folder(self.out)

    def _check_sizes(self) -> None:
        t, architecture = self.recipe.train, self.model.architecture
        architecture.check_size(*t.size)
        for phase in t.phases if t.qat else ():
            architecture.check_size(*phase.crop)
        if t.batch == 1 and 1 in architecture.bins and not t.qat:
            raise KitError("train.batch 1: the pyramid's bin of one cell needs two pictures or more for its BatchNorm")

    def _read(self, split: str, only: tuple[str, ...], without: tuple[str, ...]) -> list[Sample]:
        pairs = self.dataset.pairs(split, only=only, without=without)
        if not pairs:
            raise KitError(f"{self.recipe.data.root}: split {split} is empty with only={only} and without={without}")
        samples = [self.dataset.read(pair) for pair in pairs]
        self._note([file for pair in pairs for file in (pair.image, pair.label)])
        return samples

    def _read_soft(self) -> list[NDArray[np.uint8]]:
        """Soft targets, in the order of the training pictures."""
        d = self.recipe.data
        pairs = self.dataset.pairs(d.train, d.train_only, d.train_without)
        soft = [self.dataset.read_soft(pair) for pair in pairs]
        self._note([pair.soft for pair in pairs if pair.soft is not None])
        return soft

    def _note(self, files: Sequence[Path]) -> None:
        """Lets a resumed run see whether the data set has the same files."""
        for file in files:
            name = os.path.relpath(file, self.dataset.root)
            self.pictures.update(os.fsencode(f"{name}\0{file.stat().st_size}\0"))

    def _groups(self) -> tuple[Tensor, Tensor]:
        """The group of each class, and the weights of the groups by their share of the soft targets."""
        names = group_names(self.dataset.classes)
        group_of = torch.tensor([names.index(c.group or c.name) for c in self.dataset.classes])
        shares = torch.ones(len(names), dtype=torch.float64)
        if self.batches.soft:
            seen = torch.stack([torch.from_numpy(soft.mean((1, 2))) for soft in self.batches.soft]).sum(0)
            # Targets that are 0 everywhere teach nothing, whichever weights there are.
            shares = seen if seen.any() else shares
        weights = losses.class_weights(shares, self.recipe.train.class_power)
        return group_of.to(self.ranks.device), weights.to(self.ranks.device)

    def _teacher(self) -> PSPNet | None:
        path = self.recipe.distil.teacher
        if not path:
            return None
        teacher, meta = checkpoint.load_model(Path(path))
        self.sources.append(meta.get("data", {}))
        checkpoint.check_classes(Path(path), meta, [c.name for c in self.dataset.classes])
        if self.recipe.distil.structural not in losses.STRUCTURAL:
            raise KitError(f"distil.structural: expected one of {', '.join(losses.STRUCTURAL)}")
        teacher = teacher.to(self.ranks.device, memory_format=torch.channels_last)
        return teacher.requires_grad_(False)

    def _model(self) -> PSPNet:
        torch.manual_seed(self.recipe.train.seed)
        start, classes = self.recipe.weights, len(self.dataset.classes)
        backbone_only = start.startswith(BACKBONE)
        if start in ("imagenet", "none") or backbone_only:
            if not self.recipe.model:
                raise KitError("the recipe has no [model], and no --from names a checkpoint that has one")
            model = build(self.recipe.architecture(classes))
            if start == "imagenet":
                load_imagenet(model)
            if backbone_only:
                self._inherit(checkpoint.load_backbone(model, Path(start.removeprefix(BACKBONE))))
            return model
        model, meta = checkpoint.load_model(Path(start))
        self._inherit(meta)
        if self.recipe.model and (wanted := self.recipe.architecture(classes)) != model.architecture:
            theirs, own = model.architecture.as_dict(), wanted.as_dict()
            key = next((key for key in own if key != "classes" and own[key] != theirs[key]), None)
            if key:
                raise KitError(f"{start}: its {key} is {theirs[key]}, the recipe's [model] says {own[key]}")
        if [c["name"] for c in meta["classes"]] != [c.name for c in self.dataset.classes]:
            log.info("%s knows other classes: its classifiers start anew", start)
            model.renew_classifiers(classes)
        return model

    def _inherit(self, meta: dict[str, Any]) -> None:
        self.past = list(meta.get("history", []))
        self.sources.append(meta.get("data", {}))

    def _example(self) -> Tensor:
        """Some training pictures as they are, for the first ranges of quantisation."""
        step = -(-len(self.batches.samples) // CALIBRATION)
        pictures = [resize_input(image, *self.recipe.train.size) for image, _ in self.batches.samples[::step]]
        return torch.stack(pictures).to(self.ranks.device, memory_format=torch.channels_last)

    def _class_weights(self) -> Tensor:
        counts = torch.zeros(len(self.dataset.classes), dtype=torch.float64)
        for _, label in self.batches.samples:
            counts += torch.from_numpy(np.bincount(label.ravel(), minlength=256)[: len(counts)])
        if not counts.sum():
            raise KitError(f"{self.recipe.data.root}: the training labels hold nothing but void")
        return losses.class_weights(counts, self.recipe.train.class_power)

    def _optimiser(self) -> torch.optim.Optimizer:
        t = self.recipe.train
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            if not parameter.requires_grad:
                continue
            old = "backbone." in name and self.recipe.weights != "none"
            groups.setdefault((old, parameter.ndim > 1), []).append(parameter)
        options = [
            {
                "params": parameters,
                "base": t.rate * (t.backbone_rate if old else 1.0),
                "lr": 0.0,
                "weight_decay": t.decay if matrix else 0.0,
            }
            for (old, matrix), parameters in groups.items()
        ]
        if t.optimiser == "adamw":
            return torch.optim.AdamW(options, lr=t.rate)
        return torch.optim.SGD(options, lr=t.rate, momentum=0.9)

    def _crop(self, epoch: int) -> tuple[int, int]:
        for phase in self.recipe.train.phases:
            if epoch < phase.epochs:
                return phase.crop
            epoch -= phase.epochs
        return self.recipe.train.phases[-1].crop

    def _entry(self, epoch: int) -> dict[str, Any]:
        """Trains one epoch, and judges after it where that is due: what the history says of it."""
        loss, seconds = self._epoch(epoch)
        # What BatchNorm saw may be infinite though the loss is not.
        for name, value in self.network.state_dict().items():
            if not torch.isfinite(value).all():
                raise self._diverged(epoch, f"{name} has infinities or NaN")
        self.done = epoch + 1
        entry: dict[str, Any] = {"epoch": self.done, "loss": loss, "rate": self._rate(), "seconds": round(seconds, 2)}
        if self.judged and (self.done == self.epochs or self.done % self.recipe.train.judge_every == 0):
            entry["miou"] = self._judge()
        return entry

    def _epoch(self, epoch: int) -> tuple[float, float]:
        started, total = time.monotonic(), 0.0
        torch.manual_seed((self.recipe.train.seed * 100_003 + epoch) * 1009 + self.ranks.rank)
        self.parallel.train()
        for step, (images, *targets) in enumerate(self._progress(epoch)):
            self._set_rate(epoch * len(self.batches) + step)
            images = images.to(self.ranks.device, memory_format=torch.channels_last, non_blocking=True)
            loss = self._loss(images, *(target.to(self.ranks.device, non_blocking=True) for target in targets))
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            # Before the step, which would put them into every weight.
            value = float(loss.detach())
            for what, number in (("loss", value), ("norm of the gradients", float(norm))):
                if not np.isfinite(number):
                    raise self._diverged(epoch, f"the {what} is {number}")
            self.optimiser.step()
            self.average.update(self.network)
            total += value
        return total / len(self.batches), time.monotonic() - started

    def _diverged(self, epoch: int, what: str) -> KitError:
        last = self.out / "last.pt"
        before = f"; {last} is the state before" if last.is_file() else ""
        return KitError(f"epoch {epoch + 1}: {what}; training diverges: take a smaller train.rate{before}")

    def _progress(self, epoch: int) -> Iterator[tuple[Tensor, ...]]:
        batches = self.batches.epoch(epoch, self._crop(epoch))
        if not self.ranks.first:
            return batches
        from tqdm import tqdm

        name = f"epoch {epoch + 1}/{self.epochs}"
        return iter(tqdm(batches, name, len(self.batches), leave=False, mininterval=1, disable=None))

    def _loss(self, images: Tensor, labels: Tensor, soft_targets: Tensor | None = None) -> Tensor:
        t, d = self.recipe.train, self.recipe.distil
        if t.label_stride > 1:
            labels = labels[:, t.label_stride // 2 :: t.label_stride, t.label_stride // 2 :: t.label_stride]
        with autocast(self.ranks.device, self.fast):
            outputs = self.parallel(images)
        logits, auxiliary = outputs if isinstance(outputs, tuple) else (outputs, None)
        loss = d.label_weight * losses.segmentation(logits, labels, self.weights)
        if soft_targets is not None:
            loss = loss + d.soft_weight * losses.group_targets(logits, soft_targets, *self.groups, d.soft_confidence)
        if self.teacher is not None:
            with torch.no_grad(), autocast(self.ranks.device, True):
                soft = self.teacher(self._for_teacher(images)).float()
            student = logits.float()
            size = tuple(student.shape[-2:])
            if tuple(soft.shape[-2:]) != size:
                soft = losses.upsample(soft, size)
            loss = d.alpha * loss + (1 - d.alpha) * losses.soft_targets(student, soft, d.temperature)
            if d.structural_weight:
                loss = loss + d.structural_weight * losses.STRUCTURAL[d.structural](student, soft, d.temperature)
        if auxiliary is not None and t.auxiliary:
            loss = loss + t.auxiliary * losses.segmentation(auxiliary, labels, self.weights)
        return loss

    def _for_teacher(self, images: Tensor) -> Tensor:
        height = self.recipe.distil.teacher_size[0]
        if not height or height == self.recipe.train.size[0]:
            return images
        factors = [t / s for t, s in zip(self.recipe.distil.teacher_size, self.recipe.train.size, strict=True)]
        size = [round(side * factor / 16) * 16 for side, factor in zip(images.shape[-2:], factors, strict=True)]
        return F.interpolate(images, size=size, mode="bilinear", align_corners=False)

    def _set_rate(self, step: int) -> None:
        steps = self.epochs * len(self.batches)
        factor = poly(step, steps, min(self.recipe.train.warmup, steps // 4))
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * factor

    def _rate(self) -> float:
        return max(group["lr"] for group in self.optimiser.param_groups)

    def _judge(self) -> float:
        score = mean_iou(self.average.model, self.judged, self.recipe.train.size, self.ranks)
        if self.ranks.first and score > self.best:
            self.best = score
            checkpoint.save(self.out / "best.pt", self._finished(score))
        return score

    def _record(self, entry: dict[str, Any]) -> None:
        if not self.ranks.first or self.curves is None:
            return
        # First the figures: what they have beyond the checkpoint is cut when a killed run goes on.
        self.curves.add(entry)
        checkpoint.save(
            self.out / "last.pt",
            {
                "version": VERSION,
                "run": self._identity(),
                "pictures": self.pictures.hexdigest(),
                "done": self.done,
                "best": self.best,
                "network": self.network.state_dict(),
                "average": self.average.model.state_dict(),
                "updates": self.average.updates,
                "optimiser": self.optimiser.state_dict(),
            },
        )

    def _restore(self, path: Path) -> None:
        state = checkpoint.read(path)
        if state.get("version") != VERSION or state.get("run") != self._identity():
            raise KitError(
                f"{path}: belongs to another recipe or another number of processes; name another folder with --out"
            )
        if "pictures" not in state:
            log.info("%s notes no files of the data set: that they are the same is taken for granted", path)
        elif state["pictures"] != self.pictures.hexdigest():
            raise KitError(
                f"{path}: the pictures and labels in {self.recipe.data.root} are not those that the run began with; "
                "name another folder with --out"
            )
        self.network.load_state_dict(state["network"])
        self.average.model.load_state_dict(state["average"])
        self.average.updates = state["updates"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.done, self.best = state["done"], state["best"]
        if self.curves is not None:
            self.curves.cut(self.done)

    def _identity(self) -> str:
        """What a resumed run must share with the one before, to have the same result."""
        return json.dumps({**self.recipe.as_dict(), "ranks": self.ranks.ranks}, sort_keys=True)

    def _finished(self, score: float | None = None) -> dict[str, Any]:
        t = self.recipe.train
        averaged = self.average.model
        model = averaged.model if isinstance(averaged, QatNetwork) else averaged
        return {
            "architecture": self.model.architecture.as_dict(),
            "model": {name: value.contiguous() for name, value in model.state_dict().items()},
            **({"ranges": averaged.ranges()} if isinstance(averaged, QatNetwork) else {}),
            "classes": [dataclasses.asdict(c) for c in self.dataset.classes],
            "input": {"height": t.size[0], "width": t.size[1]},
            "history": [*self.past, {"command": "train", "recipe": self.recipe.as_dict(), "epochs": self.done}],
            "metrics": {} if score is None else {"miou": score},
            "data": origin.join([self.dataset.origin(), *self.sources]),
        }
