"""What is left out where nobody asks for it: the image takes minutes, and a machine that may run containers."""

from __future__ import annotations

import os

TEST_IMAGE = "ONWARD_TEST_IMAGE"

collect_ignore = [] if os.environ.get(TEST_IMAGE) == "1" else ["test_image.py"]
