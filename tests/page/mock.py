#!/usr/bin/env python3
"""A daemon's answers for looking at src/http/page.html without a daemon: one scenario per way it can be.

Usage: mock.py [PORT] [SCENARIO] [FOLDER]   (default: 8099 running, pictures drawn here)

FOLDER: frames f*.jpg and overlays o*.jpg for the stream. GET /mock/SCENARIO changes the scenario while it runs.
"""

import base64
import glob
import hashlib
import json
import math
import pathlib
import re
import struct
import sys
import time
import zlib
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "src/http/page.html"
SCENARIOS = (
    "running",
    "waiting",
    "paused",
    "unready",
    "pictures-off",
    "many",
    "hostile",
    "unknown",
    "throttled",
    "tpu",
)
STREET = [
    ("sky", "#009ffb"),
    ("building", "#786970"),
    ("pole", "#d7ffac"),
    ("road", "#191e2c"),
    ("pavement", "#b9ade0"),
    ("tree", "#347e3d"),
    ("sign", "#ffe312"),
    ("fence", "#451f00"),
    ("car", "#1e35a4"),
    ("pedestrian", "#f86f1a"),
    ("bicyclist", "#ffa1ae"),
]
SHARES = [0.002, 0.158, 0.009, 0.265, 0.007, 0.50, 0.014, 0.004, 0.004, 0.031, 0.006]
GROUPS = {
    "sky": [0],
    "structure": [1, 2, 6, 7],
    "road": [3],
    "pavement": [4],
    "vegetation": [5],
    "vehicle": [8],
    "person": [9, 10],
}
HOSTILE = '<img src=x onerror="alert(1)">\u202e</script><script>alert(2)</script>'
START = time.time() - 86400 * 3 - 7000


def stamp(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")


def classes(scenario):
    if scenario == "many":
        return [
            (
                f"class {i}, with a rather long name" if i % 7 == 0 else f"thing-{i}",
                f"#{(i * 2654435 + 4660) & 0xffffff:06x}",
            )
            for i in range(150)
        ]
    if scenario == "hostile":
        return [(HOSTILE, "#009ffb"), ("a" * 200, "red;background:url(http://example.org)")] + STREET[2:]
    return STREET


def shares(scenario, now):
    count = len(classes(scenario))
    base = SHARES if count == 11 else [1 / (i + 3) ** 2 if i % 4 == 0 else 0 for i in range(count)]
    wave = [
        max(0, b * (1 + 0.35 * math.sin(now / (17 + 5 * i) + i) + 0.1 * math.sin(now * 1.3 + i)))
        for i, b in enumerate(base)
    ]
    total = sum(wave)
    return [value / total for value in wave]


def figures(now):
    return {
        "fps": 21.2 + 0.6 * math.sin(now / 7),
        "p50": 47.1 + 2 * math.sin(now / 11),
        "p99": 55 + 4 * abs(math.sin(now / 5)),
        "watts": 4.1 + 0.3 * math.sin(now / 13),
        "soc": 52 + 3 * math.sin(now / 90),
    }


def state(scenario):
    now = time.time()
    f = figures(now)
    names = classes(scenario)
    running = scenario not in ("waiting", "paused", "unready")
    areas = [{"name": name, "share": share} for (name, _), share in zip(names, shares(scenario, now))]
    part = shares(scenario, now)
    groups = [{"name": g, "share": sum(part[i] for i in ids)} for g, ids in GROUPS.items()] if len(names) == 11 else []
    stages = [
        ("sensor", 6.2),
        ("convert", 3.4),
        ("queue", 0.4),
        ("infer", 33.9),
        ("decode", 2.1),
        ("publish", 0.3),
        ("end_to_end", f["p50"]),
    ]
    board = {
        "rails": [
            {
                "name": "vdd_in",
                "source": "hwmon ina219",
                "counted": True,
                "volts": 5.102,
                "amps": f["watts"] / 5.102,
                "watts": f["watts"],
                "joules": 183412.0,
            },
            {
                "name": "vdd_usb",
                "source": "hwmon ina219",
                "counted": False,
                "volts": 5.08,
                "amps": 0.412,
                "watts": 2.09,
                "joules": 63412.0,
            },
        ],
        "watts": f["watts"],
        "joules": 183412.0,
        "temperatures": [
            {"name": "soc", "celsius": f["soc"], "fault": None},
            {"name": "apex_0", "celsius": 48.3, "fault": None},
        ],
        "cpu_hertz": 1500000000,
        "throttle": {
            "now": dict.fromkeys(("under_voltage", "frequency_capped", "throttled", "soft_temperature_limit"), False),
            "has_occurred": {
                "under_voltage": True,
                "frequency_capped": False,
                "throttled": False,
                "soft_temperature_limit": False,
            },
        },
        "process": {"cpu_seconds": now * 1.7 % 1e6, "resident_bytes": 40_100_000 + int(now) % 7 * 4096},
    }
    texts = [
        ("info", "pspnetd 0.1.0, model street-fast 1.1.0: 11 classes, 256x192"),
        ("info", "camera: HD Webcam C270: 640x480 YUYV at 30 fps"),
        ("info", "http: listening on http://127.0.0.1:8088/"),
        ("warn", "throttled now=none has_occurred=under_voltage"),
        (
            "error",
            "jsonl: /var/log/masks.jsonl: No space left on device (os error 28): 41 lines lost; make room, it goes on by itself",
        ),
    ]
    texts += [("info", f"snapshot: /var/lib/pspnetd/overlay-20261122T2159{i:02}.864Z.png") for i in range(20)]
    if scenario == "hostile":
        texts += [("error", HOSTILE * 3), ("<b>", "x" * 400)]
    answer = {
        "program": {"version": "0.1.0", "pid": 4711, "started": stamp(START), "uptime_seconds": now - START},
        "time": stamp(now),
        "ready": running,
        "reasons": [],
        "model": {
            "name": "street-fast",
            "classes": [{"id": i, "name": n, "color": c} for i, (n, c) in enumerate(names)],
        },
        "camera": {"state": "running", "text": "HD Webcam C270, /dev/video0, 640x480 YUYV", "opens": 1},
        "engine": {
            "kind": "cpu",
            "workers": 0,
            "up": 0,
            "reason": None,
            "faults": 0,
            "starts": 0,
            "fallback_frames": 0,
        },
        "fps": f["fps"],
        "frames": {
            "frames_in": int((now - START) * 29.97),
            "skipped": 12,
            "corrupt": 0,
            "replaced": 2710234,
            "inferred": 5413200,
            "failed": 0,
            "published": 5413200,
        },
        "latency": [
            {"stage": s, "n": 106, "p50_ms": v, "p90_ms": v * 1.04, "p99_ms": v * 1.15, "max_ms": v * 1.3}
            for s, v in stages
        ],
        "result": {
            "sequence": int(now * 21),
            "time": stamp(now - 0.05),
            "age_seconds": 0.03,
            "width": 256,
            "height": 192,
            "confidence": 0.861,
            "classes": areas,
            "groups": groups,
        },
        "board": board,
        "joules_per_frame": f["watts"] / f["fps"],
        "sinks": [
            {"name": "jsonl", "dropped": 41},
            {"name": "snapshot", "dropped": 0},
            {"name": "latency_log", "dropped": 0},
        ],
        "events": [
            {"number": 3 * i, "time": stamp(now // 60 * 60 - 40 * (len(texts) - i)), "level": level, "text": text}
            for i, (level, text) in enumerate(texts)
        ],
    }
    if scenario == "waiting":
        answer["camera"] = {
            "state": "waiting",
            "text": "no camera at /dev/video0: plug it in, or name another in camera.source (pspnetd devices lists them)",
            "opens": 2,
        }
        answer["reasons"] = ["no camera at /dev/video0"]
        answer["result"]["age_seconds"] = 61.2
        answer["fps"] = 0.0
    if scenario == "paused":
        answer["camera"] = {
            "state": "paused",
            "text": "closed by the button on pin 17; press it again to go on",
            "opens": 2,
        }
        answer["reasons"] = ["paused by the button on pin 17"]
    if scenario == "unready":
        answer["reasons"] = ["no result for 12 s", "the engine is being made anew: cannot allocate memory"]
    if scenario == "unknown":
        answer.update(
            fps=None,
            board=None,
            joules_per_frame=None,
            result=None,
            sinks=[],
            events=[],
            ready=False,
            reasons=["no result yet"],
        )
        answer["latency"] = [
            {"stage": s, "n": 0, "p50_ms": None, "p90_ms": None, "p99_ms": None, "max_ms": None} for s, _ in stages
        ]
        answer["camera"] = {"state": "opening", "text": "", "opens": 0}
    if scenario == "throttled":
        board["throttle"]["now"].update(under_voltage=True, throttled=True)
        board["temperatures"][1].update(celsius=None, fault="-89.7 °C is impossible: the card does not answer")
        board["rails"][0].update(volts=None, amps=None, watts=None)
        board["watts"] = None
    if scenario == "tpu":
        answer["engine"] = {
            "kind": "edgetpu",
            "workers": 2,
            "up": 1,
            "reason": "no Edge TPU at usb:1: plug it in, or set engine.workers = 1",
            "faults": 3,
            "starts": 4,
            "fallback_frames": 41,
        }
    return answer


def past(scenario):
    now = time.time()
    times = [now - 2 * (300 - i) for i in range(300)] if scenario != "unknown" else []
    hole = lambda t, v: None if now - 300 < t < now - 270 else v
    names = [name for name, _ in classes(scenario)]
    values = [shares(scenario, t) for t in times]
    return {
        "times": times,
        "classes": [{"name": n, "values": [hole(t, v[i]) for t, v in zip(times, values)]} for i, n in enumerate(names)],
        "fps": [hole(t, figures(t)["fps"]) for t in times],
        "end_to_end_p50_ms": [hole(t, figures(t)["p50"]) for t in times],
        "end_to_end_p99_ms": [hole(t, figures(t)["p99"]) for t in times],
        "watts": [figures(t)["watts"] for t in times],
        "soc_celsius": [figures(t)["soc"] for t in times],
    }


def mask(now):
    """A palette PNG: sky above, trees, road below, a car that moves."""
    width, height = 256, 192
    rows = bytearray()
    for y in range(height):
        row = bytearray([0 if y < 50 else 5 if y < 110 else 3]) * width
        if 100 < y < 130:
            x = int(now * 20) % (width - 40)
            row[x : x + 40] = b"\x08" * 40
        rows += b"\0" + row
    palette = b"".join(bytes.fromhex(c[1:]) for _, c in STREET)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", palette)
        + chunk(b"IDAT", zlib.compress(bytes(rows)))
        + chunk(b"IEND", b"")
    )


def policy(page):
    """As page.rs makes it."""
    digest = lambda name: base64.b64encode(
        hashlib.sha256(re.search(rb"<%s[^>]*>(.*?)</%s>" % (name, name), page, re.S)[1]).digest()
    ).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest(b'script')}'; style-src 'sha256-{digest(b'style')}'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    )


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    scenario = "running"
    folder = None

    def log_message(self, *args):
        pass

    def answer(self, kind, data, status=200, **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        scenario = Handler.scenario
        if path.startswith("/mock/") and path[6:] in SCENARIOS:
            Handler.scenario = path[6:]
            self.answer("text/plain", b"changed\n")
        elif path == "/":
            page = PAGE.read_bytes()
            self.answer("text/html; charset=utf-8", page, Content_Security_Policy=policy(page))
        elif path == "/api/v1/state":
            self.answer("application/json", json.dumps(state(scenario)).encode())
        elif path == "/api/v1/history":
            self.answer("application/json", json.dumps(past(scenario)).encode())
        elif path == "/api/v1/mask.png":
            self.answer("image/png", mask(time.time()))
        elif path == "/stream.mjpg":
            if scenario == "pictures-off":
                problem = {
                    "title": "Not Found",
                    "status": 404,
                    "detail": "pictures are not served: http.pictures is false",
                }
                return self.answer("application/problem+json", json.dumps(problem).encode(), 404)
            self.stream(query)
        else:
            self.answer("text/plain", b"not found\n", 404)

    def stream(self, query):
        names = sorted(glob.glob(f"{self.folder}/{'f' if 'frame' in query else 'o'}*.jpg"))
        pictures = [pathlib.Path(name).read_bytes() for name in names]
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            for number in range(10**9):
                while Handler.scenario in ("waiting", "paused", "unready", "unknown"):
                    time.sleep(0.1)
                data = pictures[number // 5 % len(pictures)]
                self.wfile.write(
                    b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data) + data + b"\r\n"
                )
                time.sleep(0.1)
        except OSError:
            self.close_connection = True


def main():
    arguments = sys.argv[1:] + ["8099", "running", "/tmp/pg/frames"][len(sys.argv) - 1 :]
    Handler.scenario, Handler.folder = arguments[1], arguments[2]
    ThreadingHTTPServer(("127.0.0.1", int(arguments[0])), Handler).serve_forever()


if __name__ == "__main__":
    main()
