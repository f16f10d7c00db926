#!/usr/bin/env python3
"""Says which operators of a TFLite model the Edge TPU compiler maps. Needs ai-edge-litert, flatbuffers and numpy."""

import sys

try:
    from pspnet_kit.export.edgetpu import main
except ModuleNotFoundError as error:
    print(
        f"check_edgetpu.py: {error}: run kit/setup, or pip install ai-edge-litert flatbuffers numpy; "
        "`pspnetd model inspect MODEL.tflite` judges by the same rules and needs neither",
        file=sys.stderr,
    )
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
