#!/usr/bin/env python3
"""OpenCV and numpy: the model's logits of a frame of the clip to a 640x480 class map, on one thread.

`resize_argmax` is what everybody writes: cv2.resize of the float32 logits, numpy's argmax over the classes.
`running_max` is the fastest we know with the same result: one plane at a time, OpenCV keeps the best so far.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from common import CLIP, arguments, decoded, jpegs, quantiser, report, timed, versions


def logits_of_first_frame(model: Path, clip: Path) -> np.ndarray:
    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    detail = interpreter.get_input_details()[0]
    _, height, width, _ = detail["shape"]
    bgr = decoded(next(jpegs(clip)))
    small = np.asarray(cv2.resize(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), (width, height)), np.uint8)
    interpreter.set_tensor(detail["index"], quantiser(detail)(small)[None])
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]


def resize_argmax(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(logits.astype(np.float32), size, interpolation=cv2.INTER_LINEAR).argmax(axis=2)


class RunningMax:
    """Keeps its buffers between frames."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        shape = size[::-1]
        self.plane, self.best = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self.better, self.ids = np.empty(shape, np.uint8), np.empty(shape, np.uint8)

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        planes = np.ascontiguousarray(logits.transpose(2, 0, 1), dtype=np.float32)
        cv2.resize(planes[0], self.size, dst=self.best, interpolation=cv2.INTER_LINEAR)
        self.ids.fill(0)
        for class_id in range(1, len(planes)):
            cv2.resize(planes[class_id], self.size, dst=self.plane, interpolation=cv2.INTER_LINEAR)
            cv2.compare(self.plane, self.best, cv2.CMP_GT, dst=self.better)
            cv2.max(self.plane, self.best, dst=self.best)
            # Ids only grow, so a maximum puts the new id where the mask is set.
            np.bitwise_and(self.better, np.uint8(class_id), out=self.better)
            cv2.max(self.ids, self.better, dst=self.ids)
        return self.ids


def main() -> None:
    parser = arguments(__doc__ or "", repetitions=200)
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--size", default="640x480", help="the class map's size (default 640x480)")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    width, height = (int(n) for n in args.size.split("x"))

    logits = logits_of_first_frame(args.model, args.clip)
    running_max = RunningMax((width, height))
    same = resize_argmax(logits, (width, height)) == running_max(logits)
    if not same.all():
        raise SystemExit("the two ways disagree: one of them is no fair peer")
    report(
        {
            "peer": "opencv+numpy decode",
            "from": list(logits.shape),
            "to": [height, width],
            "resize_argmax": timed(lambda: resize_argmax(logits, (width, height)), args.repetitions),
            "running_max": timed(lambda: running_max(logits), args.repetitions),
            "versions": versions("opencv-python-headless", "numpy"),
        },
        args.json,
    )


if __name__ == "__main__":
    main()
