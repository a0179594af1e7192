"""Asks `mcp-prune access` about a world."""

import json
import os
import random
import subprocess
import sys
import tempfile

import yaml
from world import World


def ndjson(binary, url, schema, release, world, **environment):
    """What mcp-prune prints of every caller, and its messages."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        yaml.safe_dump(world.config_file(), config)
        config.flush()
        command = [binary, "access", "--every-caller", "--format", "ndjson", "--db-url", url,
                   "--schema", schema, "--litellm-config", config.name, "--litellm-version", release]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment})
    if ran.returncode:
        sys.exit(f"mcp-prune failed with {ran.returncode}: {ran.stderr}{ran.stdout[-500:]}")
    return ran.stdout, ran.stderr


def product(binary, url, schema, release, world, **environment):
    """What mcp-prune answers, by caller."""
    tokens = {token[:8]: token for token in world.tokens}
    answers = {}
    for line in map(json.loads, ndjson(binary, url, schema, release, world, **environment)[0].splitlines()):
        if line["type"] == "caller":
            line["token"] = line["key"] and tokens[line["key"]["id"]]
            answers[identity(line)] = line
    return answers


def identity(caller):
    """Who a caller is, whatever else is told of it."""
    team = caller["team"] if caller["via"] == "keyless" else None
    user = caller["user"] if caller["via"] != "key" else None
    human = caller["on_behalf_of"]
    return (caller["via"], caller["token"], team, user, caller["end_user"], caller["toolset"],
            human and (human["user"], human["team"]))


def world_of(release, seed, number):
    """The world of this number, as this release can answer for it."""
    # The scene of what the tools of groups do is for the releases that read them, from 1.108 on.
    # Until 1.81.13, what is cached decides how a row with a NULL element is read.
    numbers = [int(part) for part in release.split(".")]
    return World(random.Random(f"{seed}-{number}"), null_elements=numbers >= [1, 81, 14],
                 groups_limit_tools=numbers >= [1, 108, 0])
