#!/usr/bin/env python3
"""Says which operators of a TFLite model the Edge TPU compiler maps. Needs ai-edge-litert, flatbuffers and numpy."""

import sys

from pspnet_kit.export.edgetpu import main

if __name__ == "__main__":
    sys.exit(main())
