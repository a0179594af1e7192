"""Writes what was compared into the table of docs/compatibility.md: table.py RESULT...

Each RESULT is what check.py wrote of one release. Rows of other releases stay as they are.
"""

import json
import pathlib
import re
import sys

PAGE = pathlib.Path(__file__).resolve().parent.parent.parent / "docs/compatibility.md"
BEGIN, END = "<!-- tests/conformance/run writes this table -->\n", "<!-- the end of the table -->\n"
HEADER = ["LiteLLM", "tables of", "ids", "databases", "callers", "of them with access", "differences", "rows repaired",
          "access changed", "cached entries"]


def row(result):
    access, repairs = result.get("access"), result.get("repairs")
    messages = result.get("messages")
    different = result["ids"]["different"] + (access["different"] if access else 0)
    return [result["release"], result["ids"]["tables"], result["ids"]["ids"],
            *([access["worlds"], access["callers"], access["granted"]] if access else ["-"] * 3), different,
            *([repairs["rows"], repairs["different"]] if repairs else ["-"] * 2),
            messages["entries"] if messages else "-"]


def line(cells):
    return "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells) + " |\n"


def main():
    before, rest = PAGE.read_text().split(BEGIN)
    table, after = rest.split(END)
    lines = {found.group(1): found.group(0) for found in re.finditer(r"^\| (\d[\d.]*) \|.*\n", table, re.M)}
    for file in sys.argv[1:]:
        result = json.loads(pathlib.Path(file).read_text())
        lines[result["release"]] = line(row(result))
    releases = sorted(lines, key=lambda release: [int(part) for part in release.split(".")])
    table = line(HEADER) + "|---" * len(HEADER) + "|\n" + "".join(lines[release] for release in releases)
    PAGE.write_text(before + BEGIN + "\n" + table + "\n" + END + after)


main()
