#!/usr/bin/env python3
"""The usual Python loop: OpenCV reads and resizes, ai-edge-litert infers, numpy takes the argmax, a JSON line per frame.

One pass over the clip. CPU time is the process's (all threads), after loading and one warm-up inference.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from common import CLIP, Bytes, arguments, decoded, jpegs, quantiser, report, summary, versions
from memory import pss_mib


def by_video_capture(clip: Path) -> Iterator[Bytes]:
    capture = cv2.VideoCapture(str(clip))
    while True:
        more, picture = capture.read()
        if not more:
            return
        yield np.asarray(picture, np.uint8)


def by_imdecode(clip: Path) -> Iterator[Bytes]:
    for jpeg in jpegs(clip):
        yield decoded(jpeg)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--reader", choices=["capture", "imdecode"], default="capture", help="VideoCapture or imdecode")
    parser.add_argument("--lines", type=Path, default=Path("/dev/null"), help="where the JSON lines go")
    args = parser.parse_args()
    cv2.setNumThreads(1)

    interpreter = Interpreter(model_path=str(args.model), num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    quantise = quantiser(source)
    _, height, width, _ = source["shape"]
    class_count = int(target["shape"][3])
    interpreter.invoke()

    read = by_video_capture if args.reader == "capture" else by_imdecode
    frames, invoke_cpu, frame_ms = 0, 0.0, []
    with args.lines.open("w") as lines:
        cpu_start, start = time.process_time(), time.perf_counter()
        before = start
        for picture in read(args.clip):
            rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            small = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
            interpreter.set_tensor(source["index"], quantise(small)[None])
            invoke_start = time.process_time()
            interpreter.invoke()
            invoke_cpu += time.process_time() - invoke_start
            logits = interpreter.get_tensor(target["index"])[0].astype(np.float32)
            full = cv2.resize(logits, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
            classes = full.argmax(axis=2)
            areas = np.bincount(classes.ravel(), minlength=class_count) / classes.size
            lines.write(json.dumps({"seq": frames, "time": time.time(), "area": areas.tolist()}) + "\n")
            frames += 1
            now = time.perf_counter()
            frame_ms.append((now - before) * 1e3)
            before = now
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu_start
        # With the last frame's arrays, before they are let go.
        memory = pss_mib("self")
    if not frames:
        raise SystemExit(f"{args.clip}: no frames")
    report(
        {
            "peer": f"opencv ({args.reader}) + ai-edge-litert + numpy loop",
            "frames": frames,
            "frames_per_s": round(frames / wall, 3),
            "frame": summary(frame_ms),
            "cpu_ms_per_frame": round(cpu / frames * 1e3, 4),
            "cpu_ms_per_frame_outside_invoke": round((cpu - invoke_cpu) / frames * 1e3, 4),
            "pss_mib": round(memory, 1),
            "versions": versions("opencv-python-headless", "numpy", "ai-edge-litert"),
        },
        args.json,
    )


if __name__ == "__main__":
    main()
