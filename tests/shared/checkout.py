"""Makes `benchmarks` and `compatibility` importable: folders of the checkout that are not part of the package.

The checkout is not on the path, where it would hide the package that is tested; the two folders are found by name.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

for name in ("benchmarks", "compatibility"):
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(ROOT / name)]
    sys.modules.setdefault(name, module_from_spec(spec))
