"""Compares the answers of `mcp-prune access` with those of LiteLLM's own code, over random worlds.

Run by a Python that has LiteLLM, psycopg and PyYAML: compare.py --binary FILE --url URL --release VERSION.
Exits with 1, and says whose access differs, where somebody's does.
"""

import argparse
import asyncio
import collections
import json
import logging
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import answers
import litellm
import yaml
from database import SCHEMA, Database
from world import World

logging.disable(logging.CRITICAL)


def product(arguments, world):
    """The callers of mcp-prune, each with its answer."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        yaml.safe_dump(world.config_file(), config)
        config.flush()
        command = [arguments.binary, "access", "--every-caller", "--format", "ndjson", "--db-url", arguments.url,
                   "--schema", SCHEMA, "--litellm-config", config.name, "--litellm-version", arguments.release]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if ran.returncode:
        sys.exit(f"mcp-prune failed with {ran.returncode}: {ran.stderr}{ran.stdout[-500:]}")
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    return [line for line in lines if line["type"] == "caller"]


async def compare(arguments):
    prisma = pathlib.Path(litellm.__file__).parent / "proxy/schema.prisma"
    database = Database(arguments.url, prisma.read_text())
    answers.connect(database)
    compared, different, granted, started = 0, 0, 0, time.monotonic()
    shapes = collections.Counter()
    for number in range(arguments.first, arguments.first + arguments.worlds):
        if time.monotonic() - started > arguments.seconds:
            print(f"stopped at world {number}: {arguments.seconds} seconds are over")
            break
        # Until 1.81.13 it hangs on what is cached how a row with a NULL element is read.
        release = [int(part) for part in arguments.release.split(".")]
        world = World(random.Random(f"{arguments.seed}-{number}"), null_elements=release >= [1, 81, 14])
        database.fill(world.rows)
        callers = product(arguments, world)
        tokens = {token[:8]: token for token in world.tokens}
        async with answers.World(world) as proxy:
            for caller in callers:
                caller["token"] = caller["key"] and tokens[caller["key"]["id"]]
                ours = {s["id"]: s["tools"] if s["tools"] is None else sorted(s["tools"]) for s in caller["servers"]}
                theirs = await proxy.of(caller)
                compared += 1
                granted += bool(theirs)
                if ours != theirs:
                    different += 1
                    shapes[shape(caller, ours, theirs)] += 1
                    if different <= arguments.show:
                        show(number, world, caller, ours, theirs)
    print(f"{arguments.release}: {compared} callers compared, {granted} with access, {different} different")
    for (kind, levels), count in shapes.most_common(12 if arguments.show else 0):
        print(f"   {count} times {kind}: {levels}")
    return different


def shape(caller, ours, theirs):
    """How the answers differ, and which levels the caller has."""
    levels = [k for k in ("team", "organization", "user", "agent", "end_user", "toolset", "on_behalf_of") if caller[k]]
    if ours.keys() == theirs.keys():
        kind = "other tools"
    else:
        kind = "LiteLLM grants more" if theirs.keys() - ours.keys() else "mcp-prune grants more"
    return kind, " ".join([caller["via"], *levels])


def show(number, world, caller, ours, theirs):
    names = {"servers", "complete", "type", "token"}
    print(f"world {number}: {json.dumps({k: v for k, v in caller.items() if v is not None and k not in names})}")
    for id in sorted(ours.keys() | theirs.keys()):
        if ours.get(id, "-") != theirs.get(id, "-"):
            print(f"   {id}: mcp-prune {ours.get(id, '-')}, LiteLLM {theirs.get(id, '-')}")
    if world.draw is not None:
        ids = {caller.get(kind) for kind in ("team", "organization", "user", "agent", "end_user", "token")}
        ids |= set((caller["on_behalf_of"] or {}).values())
        links = set()
        for table, rows in world.rows.items():
            for row in rows:
                if next(iter(row.values())) in ids:
                    links.add(row.get("object_permission_id"))
                    print("   ", table, {k: v for k, v in row.items() if v not in (None, [], "x")})
        for row in world.rows["LiteLLM_ObjectPermissionTable"]:
            if row["object_permission_id"] in links:
                print("   ", row)
        print("   ", {name for name, on in world.settings.items() if on})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--release", required=True)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--worlds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--show", type=int, default=5)
    sys.exit(1 if asyncio.run(compare(parser.parse_args())) else 0)


main()
