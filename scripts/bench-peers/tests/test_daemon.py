"""The CPU time of a run: threads may start and end meanwhile, and the other figures do not depend on it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import daemon
from daemon import Missing, Sample

# Works on one frame for each line that it reads. A thread called infer burns 8 ms of CPU time, the main thread 1 ms.
# "late" starts another thread, "early" one that burns 20 ms and ends.
FRAMES = """
import queue, sys, threading, time

def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

def infer():
    with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w") as name:
        name.write("infer")
    while asked.get():
        burn(0.008)
        done.put(1)

asked, done = queue.Queue(), queue.Queue()
threading.Thread(target=infer).start()
for word in sys.stdin:
    if word == "late\\n":
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    if word == "early\\n":
        early = threading.Thread(target=burn, args=(0.02,))
        early.start()
        early.join()
    asked.put(1)
    done.get()
    burn(0.001)
    print(word, end="", flush=True)
asked.put(0)
"""
# Writes lines until SIGTERM and has no thread of the expected name.
NAMELESS = """
import signal, time

signal.signal(signal.SIGTERM, lambda *_: exit(0))
while True:
    print('{"latency_ms": {"end_to_end": 1}}', flush=True)
    time.sleep(0.01)
"""


def taken(frames: int, infer: float | None, process: float) -> Sample:
    return Sample(frames, infer, process, 10.0)


class OutsideInfer(unittest.TestCase):
    def test_is_what_the_process_took_less_the_model_s_thread(self) -> None:
        samples = [taken(1, 1.0, 3.0), taken(5, 1.2, 3.3), taken(11, 1.5, 3.6)]
        self.assertAlmostEqual(daemon.outside_infer_ms(samples) or 0, 10.0)

    def test_samples_without_the_model_s_thread_do_not_count(self) -> None:
        samples = [taken(1, None, 2.0), taken(2, 1.0, 3.0), taken(12, 1.5, 3.6), taken(13, None, 3.7)]
        self.assertAlmostEqual(daemon.outside_infer_ms(samples) or 0, 10.0)

    def test_one_moment_tells_nothing(self) -> None:
        for samples in ([], [taken(1, None, 2.0)], [taken(1, 1.0, 2.0)], [taken(1, 1.0, 2.0), taken(1, 1.0, 2.1)]):
            self.assertIsNone(daemon.outside_infer_ms(samples))


class ARunningProgram(unittest.TestCase):
    def outside(self, *words: str) -> float | None:
        """CPU time per frame outside the thread `infer`, of one frame for each word after a first one."""
        names: dict[str, str] = {}
        command = [sys.executable, "-c", FRAMES]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
            assert process.stdin is not None and process.stdout is not None
            clock = daemon.cpu_clock(process.pid)
            samples = []
            for frames, word in enumerate(("frame", *words), 1):
                print(word, file=process.stdin, flush=True)
                self.assertEqual(process.stdout.readline(), f"{word}\n")
                samples.append(daemon.sample(process.pid, clock, frames, names))
            process.stdin.close()
        self.assertNotIn(None, samples)
        return daemon.outside_infer_ms([each for each in samples if each])

    def test_the_model_s_thread_is_left_out(self) -> None:
        found = self.outside(*["frame"] * 20)
        self.assertTrue(found and 1 <= found < 8, found)

    def test_a_thread_that_starts_after_the_first_line_changes_nothing(self) -> None:
        found = self.outside("late", *["frame"] * 20)
        self.assertTrue(found and 1 <= found < 8, found)

    def test_a_thread_that_has_ended_counts(self) -> None:
        found = self.outside("frame", "early", *["frame"] * 8)
        # 20 ms in 10 frames.
        self.assertTrue(found and 3 <= found < 8, found)

    def test_without_the_model_s_thread_there_are_all_other_figures(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "pspnetd"
            program.write_text(f"#!{sys.executable}\n{NAMELESS}")
            program.chmod(0o755)
            run = daemon.run(program, Path("none.tflite"), "pattern:640x480", [], seconds=0.3)
        self.assertIsNone(run.cpu_ms_per_frame_outside_infer)
        self.assertTrue(run.frames > 1 and run.frames_per_s > 0 and run.pss_mib > 0)
        self.assertEqual(daemon.lookup(run.lines[0], ("latency_ms", "end_to_end")), 1.0)
        with self.assertRaisesRegex(Missing, "cpu_ms_per_frame_outside_infer was not measured"):
            daemon.lookup(run.figures(), ("cpu_ms_per_frame_outside_infer",))


if __name__ == "__main__":
    unittest.main()
