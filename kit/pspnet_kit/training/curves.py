"""What a run leaves for eyes: history.jsonl, curves.png, and TensorBoard's events where that is installed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from ..files import write_whole


class Curves:
    """One line per epoch. Losing the plot (no matplotlib) loses no figures."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out / "history.jsonl"
        self.entries: list[dict[str, Any]] = []
        if self.path.exists():
            self.entries = [json.loads(line) for line in self.path.read_text().splitlines() if line.endswith("}")]
        self._board: Any = None

    def add(self, entry: dict[str, Any]) -> None:
        """Appends an epoch and draws anew."""
        self.entries.append(entry)
        self._write()
        self._draw()
        self._tensorboard(entry)

    def cut(self, epochs: int) -> None:
        """Forgets what a killed run recorded beyond its checkpoint."""
        self.entries = [entry for entry in self.entries if entry["epoch"] <= epochs]
        self._write()

    def _write(self) -> None:
        write_whole(self.path, "".join(json.dumps(entry) + "\n" for entry in self.entries).encode())

    def _draw(self) -> None:
        try:
            import matplotlib
        except ImportError:
            return
        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, left = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
        left.plot([e["epoch"] for e in self.entries], [e["loss"] for e in self.entries], color="#0072b2")
        left.set(xlabel="epoch", ylabel="loss (blue)")
        judged = [e for e in self.entries if "miou" in e]
        if judged:
            right = left.twinx()
            right.plot([e["epoch"] for e in judged], [e["miou"] for e in judged], color="#d55e00", marker="o")
            right.set(ylabel="mIoU in per cent (orange)")
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=120)
        pyplot.close(figure)
        write_whole(self.out / "curves.png", drawn.getvalue())

    def _tensorboard(self, entry: dict[str, Any]) -> None:
        if self._board is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self._board = False
                return
            self._board = SummaryWriter(str(self.out / "tensorboard"))
        if self._board:
            for name, value in entry.items():
                if name != "epoch":
                    self._board.add_scalar(name, value, entry["epoch"])
            self._board.flush()
