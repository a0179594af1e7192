"""Compares the ids that mcp-prune derives for config servers with those of a real LiteLLM.

Run by a Python that has litellm installed: conformance.py MCP_PRUNE_BINARY (built with the feature
`embedded`). Exits with 1 and says what differs, where something does.
"""

import asyncio
import json
import os
import pathlib
import subprocess
import sys
import tempfile

# The proxy reads its prices from the network unless it is told not to.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["MCP_PRUNE_TEST_URL"] = "http://127.0.0.1:1/environment"
os.environ["MCP_PRUNE_TEST_NAME"] = "envmapped"

import yaml
from litellm.proxy.proxy_server import ProxyConfig

try:
    from litellm.proxy.mcp_server.mcp_server_manager import MCPServerManager
except ImportError:
    # Where it was up to 1.108.
    from litellm.proxy._experimental.mcp_server.mcp_server_manager import MCPServerManager

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = ROOT / "fixtures/config/conformance.yaml"
UNKNOWN = "0" * 32


def litellm_ids():
    """The ids by server name, as LiteLLM derives them from the file."""
    config = yaml.safe_load(CONFIG.read_text())
    config = ProxyConfig()._check_for_os_environ_vars(config)
    manager = MCPServerManager()
    loading = manager.load_servers_from_config(
        config["mcp_servers"], config["litellm_settings"]["mcp_aliases"]
    )
    asyncio.run(asyncio.wait_for(loading, timeout=120))
    return {server.server_name: id for id, server in manager.config_mcp_servers.items()}


def found_by_mcp_prune(binary, references):
    """The references that a scan with the file has something to say about."""
    array = ", ".join(f"'{reference}'" for reference in references)
    script = (ROOT / "fixtures/schema.sql").read_text() + (
        'INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")\n'
        f"VALUES ('p-1', ARRAY[{array}]);\n"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        scan = [binary, "scan", "--format", "json", "--db-url", f"embedded:{file.name}"]
        ran = subprocess.run(
            [*scan, "--litellm-config", str(CONFIG)], stdout=subprocess.PIPE, timeout=120
        )
    return {(f["kind"], f["reference"]) for f in json.loads(ran.stdout)["findings"]}


def without_servers(binary):
    """How many servers mcp-prune finds where LiteLLM finds none: in a section that Python takes for empty."""
    found = {}
    for empty in ["", "[]", "{}", "false", "''", "0", "~"]:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(f"model_list: []\nmcp_servers: {empty}\n")
            file.flush()
            assert not yaml.safe_load(pathlib.Path(file.name).read_text())["mcp_servers"]
            ids = [binary, "ids", "--format", "json", "--litellm-config", file.name]
            ran = subprocess.run(ids, stdout=subprocess.PIPE, timeout=120)
        found[empty] = len(json.loads(ran.stdout)["servers"])
    return found


def main():
    ids = litellm_ids()
    named = yaml.safe_load(CONFIG.read_text())["mcp_servers"].keys()
    if ids.keys() != named:
        sys.exit(f"LiteLLM loaded {sorted(ids)}, not {sorted(named)}")
    found = found_by_mcp_prune(sys.argv[1], [*ids.values(), UNKNOWN])
    if found != {("stale", UNKNOWN)}:
        sys.exit(f"LiteLLM derives {ids}, of which mcp-prune says {found}")
    empty = without_servers(sys.argv[1])
    if any(empty.values()):
        sys.exit(f"of sections without servers mcp-prune finds {empty}")
    print(f"{len(ids) + len(empty)} passed, 0 failed")


main()
