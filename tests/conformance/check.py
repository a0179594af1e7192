"""Holds mcp-prune against one release of LiteLLM, and writes what was compared into a file.

Run by a Python that has LiteLLM, psycopg and PyYAML: check.py --binary FILE --url URL --release VERSION --result FILE.
Exits with 1, and says what differs, where something does.
"""

import argparse
import asyncio
import json
import logging
import os
import pathlib
import sys
import time

# The proxy reads its prices from the network unless it is told not to.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
import schema as schemas

logging.disable(logging.CRITICAL)

# Up to 1.79, LiteLLM gives every server to whom nothing is left, which `access` says and does not compute.
COMPUTES_ACCESS = (1, 80)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True, type=lambda file: str(pathlib.Path(file).resolve()))
    parser.add_argument("--url", required=True)
    parser.add_argument("--release", required=True)
    parser.add_argument("--migrations", type=lambda folder: pathlib.Path(folder) if folder else None)
    parser.add_argument("--result", required=True, type=pathlib.Path)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--worlds", type=int, default=60)
    parser.add_argument("--show", type=int, default=5)
    arguments = parser.parse_args()
    started = time.monotonic()
    # A database for each release: LiteLLM's migrations ask for a constraint by its name, whatever schema it is in.
    database = f"litellm_{arguments.release}"
    for statement in (f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)', f'CREATE DATABASE "{database}"'):
        schemas.psql(arguments.url, "public", "--command", statement)
    arguments.url = arguments.url.rpartition("/")[0] + "/" + database
    prisma = (pathlib.Path(litellm.__file__).parent / "proxy/schema.prisma").read_text()

    import ids
    import invalidation

    result = {"release": arguments.release, "ids": ids.check(arguments, prisma)}
    if tuple(int(part) for part in arguments.release.split(".")[:2]) >= COMPUTES_ACCESS:
        import compare

        result |= asyncio.run(compare.compare(arguments, prisma))
        result["messages"] = invalidation.check(arguments)
    print(f"{arguments.release}: {told(result)} ({time.monotonic() - started:.0f} s)", flush=True)
    differs = any(part["different"] for part in result.values() if isinstance(part, dict) and "different" in part)
    arguments.result.write_text(json.dumps(result))
    sys.exit(1 if differs else 0)


def told(result):
    parts = [f"{result['ids']['ids']} ids, {result['ids']['different']} different"]
    if access := result.get("access"):
        parts.append("{worlds} worlds, {callers} callers compared, {granted} with access, {different} different".format(**access))
        parts.append("{rows} rows repaired, access of {different} callers changed".format(**result["repairs"]))
    parts.append(f"tables of {result['ids']['tables']}")
    if messages := result.get("messages"):
        parts.append(f"{messages['entries']} cached entries forgotten or kept as told")
    return "; ".join(parts)


main()
