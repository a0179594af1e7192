"""Compares the answers of `mcp-prune access` with those of LiteLLM's own code, over random worlds; and those of
LiteLLM from before a repair with those after it."""

import collections
import json
import subprocess
import tempfile
import time

import answers
import yaml
from database import Database
from product import identity, product, world_of

# The repairs that promise to change nobody's access, one a world in turn.
POLICIES = ("hold", "deny", "unchanged")


async def compare(arguments, prisma):
    schema = "public"
    database = Database(arguments.url, prisma, schema, arguments.migrations)
    answers.connect(database)
    different, granted, started, changed = 0, 0, time.monotonic(), 0
    compared, repaired, edits = 0, 0, 0
    shapes, where = collections.Counter(), collections.Counter()
    for number in range(arguments.first, arguments.first + arguments.worlds):
        world = world_of(arguments.release, arguments.seed, number)
        database.fill(world.rows)
        told = product(arguments.binary, arguments.url, schema, arguments.release, world)
        asked = {identity(caller): caller for caller in world.callers(answers.KNOWS)}
        for who in asked.keys() ^ told.keys():
            different += 1
            where[number] += 1
            print(f"world {number}: {'mcp-prune lists no' if who in asked else 'LiteLLM knows no'} caller {who}")
        before = await answers.of_all(world, {who: caller for who, caller in asked.items() if who in told})
        for who, theirs in before.items():
            caller = told[who]
            ours = {s["id"]: s["tools"] if s["tools"] is None else sorted(s["tools"]) for s in caller["servers"]}
            compared += 1
            granted += bool(theirs)
            if ours != theirs or not caller["complete"]:
                different += 1
                shapes[shape(caller, ours, theirs)] += 1
                where[number] += 1
                if different <= arguments.show:
                    show(number, world, caller, ours, theirs)
        policy = POLICIES[number % len(POLICIES)]
        edits += repair(arguments, schema, world, policy)
        database.cache = {}
        after = await answers.of_all(world, {who: asked[who] for who in before})
        repaired += len(after)
        for who, theirs in after.items():
            if theirs != before[who]:
                changed += 1
                if changed <= arguments.show:
                    print(f"world {number}: fix --on-empty {policy} changes whose access LiteLLM says it is:")
                    show(number, world, told[who], before[who], theirs, "before", "after")
    for (kind, levels), count in shapes.most_common(12 if arguments.show else 0):
        print(f"   {count} times {kind}: {levels}")
    if where:
        print("   in worlds " + ", ".join(f"{number} ({count})" for number, count in where.items()))
    access = {"worlds": arguments.worlds, "callers": compared, "granted": granted, "different": different}
    repairs = {"worlds": arguments.worlds, "rows": edits, "callers": repaired, "different": changed}
    return {"access": access, "repairs": repairs}


def repair(arguments, schema, world, policy):
    """Repairs the world; returns how many rows were written."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        yaml.safe_dump(world.config_file(), config)
        config.flush()
        command = [arguments.binary, "fix", "--yes", "--no-journal", "--on-empty", policy, "--exit-zero", "--format",
                   "json", "--db-url", arguments.url, "--schema", schema, "--litellm-config", config.name]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {ran.returncode}: {ran.stderr}")
    return len(json.loads(ran.stdout)["changes"])


def shape(caller, ours, theirs):
    """How the answers differ, and which levels the caller has."""
    levels = [k for k in ("team", "organization", "user", "agent", "end_user", "toolset", "on_behalf_of") if caller[k]]
    if ours.keys() == theirs.keys():
        kind = "other tools"
    else:
        kind = "LiteLLM grants more" if theirs.keys() - ours.keys() else "mcp-prune grants more"
    return kind, " ".join([caller["via"], *levels])


def show(number, world, caller, ours, theirs, our="mcp-prune", their="LiteLLM"):
    names = {"servers", "complete", "type", "token"}
    print(f"world {number}: {json.dumps({k: v for k, v in caller.items() if v is not None and k not in names})}")
    for id in sorted(ours.keys() | theirs.keys()):
        if ours.get(id, "-") != theirs.get(id, "-"):
            print(f"   {id}: {our} {ours.get(id, '-')}, {their} {theirs.get(id, '-')}")
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
