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
import sys
import time

import answers
import litellm
from database import Database
from product import identity, product, world_of

logging.disable(logging.CRITICAL)


async def compare(arguments):
    prisma = pathlib.Path(litellm.__file__).parent / "proxy/schema.prisma"
    schema = f"world_{arguments.release}"
    database = Database(arguments.url, prisma.read_text(), schema)
    answers.connect(database)
    compared, different, granted, started = 0, 0, 0, time.monotonic()
    shapes = collections.Counter()
    for number in range(arguments.first, arguments.first + arguments.worlds):
        world = world_of(arguments.release, arguments.seed, number)
        database.fill(world.rows)
        told = product(arguments.binary, arguments.url, schema, arguments.release, world)
        asked = {identity(caller): caller for caller in world.callers(answers.KNOWS)}
        for who in asked.keys() ^ told.keys():
            different += 1
            print(f"world {number}: {'mcp-prune lists no' if who in asked else 'LiteLLM knows no'} caller {who}")
        async with answers.World(world) as proxy:
            for who in [who for who in asked if who in told]:
                caller = told[who]
                ours = {s["id"]: s["tools"] if s["tools"] is None else sorted(s["tools"]) for s in caller["servers"]}
                theirs = await proxy.of(asked[who])
                compared += 1
                granted += bool(theirs)
                if ours != theirs or not caller["complete"]:
                    different += 1
                    shapes[shape(caller, ours, theirs)] += 1
                    if different <= arguments.show:
                        show(number, world, caller, ours, theirs)
    print(f"{arguments.release}: {arguments.worlds} worlds, {compared} callers compared, {granted} with access, "
          f"{different} different ({time.monotonic() - started:.0f} s)", flush=True)
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
    parser.add_argument("--show", type=int, default=5)
    sys.exit(1 if asyncio.run(compare(parser.parse_args())) else 0)


main()
