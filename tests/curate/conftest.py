"""Lets the tests of this folder share how an exchange is made."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
