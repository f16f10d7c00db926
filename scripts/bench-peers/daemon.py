"""Times pspnetd from outside: its `bench` report, a run over a clip, a run at a camera's own rate.

Knows the program's command line and the names of its JSON fields (the constants below), nothing of the peers.
Standard library only, so that it runs outside the virtual environment.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from memory import family, pss_mib

# Where `pspnetd bench --json` keeps each figure.
BENCH_FIELDS = {
    "preprocess_ms": ("stages", "preprocess", "median_ms"),
    "infer_ms": ("stages", "infer", "median_ms"),
    "decode_ms": ("stages", "decode", "median_ms"),
    "pipeline_per_s": ("pipeline", "frames_per_s"),
}
# Where a JSON line keeps a stage's time in ms.
LINE_LATENCY = "latency_ms"
# The thread that runs the model, as /proc/PID/task/TID/comm names it (15 bytes at most).
INFER_THREAD = "infer"

# Sampling /proc costs CPU time on the machine that is being timed, so it happens this seldom.
SAMPLE_EVERY_S = 0.1


class Missing(Exception):
    """Something to measure isn't there; the text says what."""


def lookup(figures: Any, path: tuple[str, ...]) -> float:
    for key in path:
        if not isinstance(figures, dict) or key not in figures:
            raise Missing(f"no field {'.'.join(path)}")
        figures = figures[key]
    if figures is None:
        raise Missing(f"{'.'.join(path)} was not measured")
    return float(figures)


@dataclass
class Sample:
    """The process at one moment."""

    frames: int
    infer_cpu_s: float | None
    # All threads, those that have ended as well.
    process_cpu_s: float
    pss_mib: float


@dataclass
class Run:
    """One run of the daemon over a clip."""

    start_to_first_mask_ms: float
    frames: int
    # From the first line to the last, so that start-up doesn't count.
    frames_per_s: float
    # From the first sample to the last, without start-up; None where the thread that runs the model was not seen twice.
    cpu_ms_per_frame_outside_infer: float | None
    # The whole process from start to exit.
    cpu_ms_per_frame: float
    # The highest of all samples.
    pss_mib: float
    lines: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def figures(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "lines"}


def cpu_clock(pid: int) -> int:
    """The clock that counts a process's CPU time, in nanoseconds and with that of threads that have ended."""
    clock = ctypes.c_int()
    if error := ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise OSError(error, os.strerror(error))
    return clock.value


def sample(pid: int, clock: int, frames: int, names: dict[str, str]) -> Sample | None:
    """CPU time and memory; None once the process is gone. `names` remembers the threads' names."""
    infer = None
    try:
        process = time.clock_gettime(clock)
        for task in os.listdir(f"/proc/{pid}/task"):
            base = f"/proc/{pid}/task/{task}"
            if task not in names:
                names[task] = Path(f"{base}/comm").read_text().strip()
            if names[task] == INFER_THREAD:
                infer = (infer or 0.0) + int(Path(f"{base}/schedstat").read_text().split()[0]) / 1e9
        return Sample(frames, infer, process, pss_mib(*family(pid)))
    except (FileNotFoundError, ProcessLookupError):
        return None


def outside_infer_ms(samples: list[Sample]) -> float | None:
    """CPU time per frame of all threads but the one that runs the model, while that one was there.

    Other threads may start and end in between: the program writes its first line before it has started all of them, and the
    capture thread ends before the last frame is published.
    """
    seen = [s for s in samples if s.infer_cpu_s is not None]
    if not seen or seen[0].frames == seen[-1].frames:
        return None
    outside = [s.process_cpu_s - (s.infer_cpu_s or 0.0) for s in (seen[0], seen[-1])]
    return (outside[1] - outside[0]) / (seen[-1].frames - seen[0].frames) * 1e3


def bench(binary: Path, model: Path, camera: str) -> dict[str, Any]:
    """`pspnetd bench --json`: its whole report, with the figures we use under the names of BENCH_FIELDS."""
    command = [str(binary), "bench", "--model", str(model), "--camera", camera, "--seconds", "3", "--threads", "1"]
    command.append("--json")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
    report = json.loads(done.stdout)
    found: dict[str, Any] = {"report": report}
    for name, path in BENCH_FIELDS.items():
        try:
            found[name] = lookup(report, path)
        except Missing as missing:
            found[f"{name}_missing"] = str(missing)
    return found


def run(binary: Path, model: Path, camera: str, settings: list[str], seconds: float | None = None) -> Run:
    """Runs the daemon until its source ends, or for `seconds` from the first line, and reads its JSON lines."""
    command = [str(binary), "run", "--model", str(model), "--camera", camera]
    for setting in ["model.threads=1", "publish.jsonl.path=-", *settings]:
        command += ["--set", setting]
    times: list[float] = []
    texts: list[bytes] = []
    samples: list[Sample] = []
    names: dict[str, str] = {}
    with tempfile.TemporaryFile() as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        clock = cpu_clock(process.pid)
        sampled, stopped = 0.0, False
        for text in process.stdout:
            now = time.perf_counter()
            times.append(now)
            texts.append(text)
            if now - sampled >= SAMPLE_EVERY_S:
                taken = sample(process.pid, clock, len(times), names)
                samples += [taken] if taken else []
                sampled = now
            if seconds and not stopped and now - times[0] > seconds:
                process.send_signal(signal.SIGTERM)
                stopped = True
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or len(times) < 2:
            log.seek(0)
            tail = log.read().decode(errors="replace").strip()[-500:]
            raise Missing(f"{' '.join(command)}: exit {process.returncode}, {len(times)} lines: {tail}")
    if not samples:
        raise Missing(f"{' '.join(command)}: ended before a sample could be taken")
    return Run(
        start_to_first_mask_ms=(times[0] - start) * 1e3,
        frames=len(times),
        frames_per_s=(len(times) - 1) / (times[-1] - times[0]),
        cpu_ms_per_frame_outside_infer=outside_infer_ms(samples),
        cpu_ms_per_frame=(usage.ru_utime + usage.ru_stime) / len(times) * 1e3,
        pss_mib=max(s.pss_mib for s in samples),
        lines=[json.loads(text) for text in texts],
    )


def replay(binary: Path, model: Path, clip: Path) -> Run:
    """The clip once, as fast as the pipeline goes."""
    return run(binary, model, f"replay:{clip}", ["camera.rate=max", "camera.loop=false"])


def latency_at_30_fps(binary: Path, model: Path, seconds: float) -> dict[str, float]:
    """End-to-end p99 of a 30 fps pattern beside the median of convert + infer + decode of the same frames."""
    lines = run(binary, model, "pattern:640x480", ["camera.rate=30"], seconds).lines[30:]
    if len(lines) < 100:
        raise Missing(f"{len(lines)} frames after the first second; 100 are needed for a p99")

    def stage(line: dict[str, Any], name: str) -> float:
        return lookup(line, (LINE_LATENCY, name))

    work = median(sum(stage(line, name) for name in ("convert", "infer", "decode")) for line in lines)
    end_to_end = p99([stage(line, "end_to_end") for line in lines])
    after_wake_up = p99([stage(line, "end_to_end") - stage(line, "sensor") for line in lines])
    return {
        "frames": len(lines),
        "work_median_ms": work,
        "end_to_end_p99_ms": end_to_end,
        "p99_over_work_ms": end_to_end - work,
        "p99_over_work_after_wake_up_ms": after_wake_up - work,
        "timer_p99_ms": timer_lateness_p99_ms(len(lines) // 3),
    }


def p99(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def timer_lateness_p99_ms(times: int) -> float:
    """How late this machine wakes a process that sleeps until the next 30th of a second: no program can be earlier."""
    start, late = time.monotonic(), []
    for i in range(1, times + 1):
        due = start + i / 30
        time.sleep(max(0.0, due - time.monotonic()))
        late.append((time.monotonic() - due) * 1e3)
    return p99(late)
