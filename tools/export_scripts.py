"""Write ``scripts/`` from the notebooks' cells tagged ``export``.

    python -m tools.export_scripts          # write
    python -m tools.export_scripts --check  # say what would change, exit 1 if anything would

A notebook names its script in its metadata, ``{"vcr1": {"script": "train_grpo"}}``. The
tagged cells are written in order, and the call of ``main()`` is added at the end: in the
notebook that call would run the whole script.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

FOOTER = 'if __name__ == "__main__":\n    main()\n'


def export(notebook: Path) -> tuple[str, str] | None:
    """Return a notebook's script as (name, text), or ``None`` if it has none."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    name = content["metadata"].get("vcr1", {}).get("script")
    if name is None:
        return None
    cells = [
        "".join(cell["source"]).strip()
        for cell in content["cells"]
        if "export" in cell["metadata"].get("tags", [])
    ]
    return f"{name}.py", "\n\n\n".join([*cells, FOOTER])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = []
    for notebook in sorted(Path("notebooks").glob("*.ipynb")):
        exported = export(notebook)
        if exported is None:
            continue
        path = Path("scripts") / exported[0]
        if not path.exists() or path.read_text(encoding="utf-8") != exported[1]:
            stale.append(path)
            if not check:
                path.write_text(exported[1], encoding="utf-8")
    if check and stale:
        names = ", ".join(map(str, stale))
        sys.exit(f"{names}: differs from its notebook; run python -m tools.export_scripts")


if __name__ == "__main__":
    main()
