#!/usr/bin/env python3
"""OpenCV and numpy: a 640x480 YUYV frame of the clip into the model's input tensor, on one thread."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from common import CLIP, Bytes, arguments, decoded, jpegs, quantiser, report, timed, versions


def main() -> None:
    parser = arguments(__doc__ or "", repetitions=500)
    parser.add_argument("--clip", type=Path, default=CLIP)
    args = parser.parse_args()
    cv2.setNumThreads(1)

    detail = Interpreter(model_path=str(args.model), num_threads=1).get_input_details()[0]
    _, height, width, _ = (int(n) for n in detail["shape"])
    bgr = decoded(next(jpegs(args.clip)))
    yuyv = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_YUYV)
    # Buffers are made once, as a careful user would.
    rgb = np.empty_like(bgr)
    small = np.empty((height, width, 3), np.uint8)
    by_model = quantiser(detail)

    def resized() -> Bytes:
        cv2.cvtColor(yuyv, cv2.COLOR_YUV2RGB_YUYV, dst=rgb)
        cv2.resize(rgb, (width, height), dst=small, interpolation=cv2.INTER_LINEAR)
        return small

    report(
        {
            "peer": "opencv+numpy preprocess",
            "from": list(yuyv.shape),
            "to": [height, width, 3],
            # No last step, the step to int8 where it is a plain byte operation, and the step this model's scale asks for.
            "bytes": timed(resized, args.repetitions),
            "int8": timed(lambda: np.bitwise_xor(resized(), 128, out=small).view(np.int8), args.repetitions),
            "model": timed(lambda: by_model(resized()), args.repetitions),
            "versions": versions("opencv-python-headless", "numpy"),
        },
        args.json,
    )


if __name__ == "__main__":
    main()
