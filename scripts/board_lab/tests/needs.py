"""What a test needs and a machine may lack: the only way in which a test of the lab leaves itself out (docs/testing.md)."""

import os
import sys
import unittest


def needs(test: unittest.TestCase, is_there: object, what: str) -> None:
    """Leaves `test` out unless `is_there`; fails where MISSING_TOOLS=fail. `what` is missing and how to get it."""
    if is_there:
        return
    if os.environ.get("MISSING_TOOLS") == "fail":
        test.fail(f"{what} (MISSING_TOOLS=fail: no test may be left out)")
    print(f"skipped: {test.id()}: {what}", file=sys.stderr)
    test.skipTest(what)
