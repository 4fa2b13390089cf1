"""Lets the tests of this folder share how held-out answers are stored."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
