"""The ids that mcp-prune derives for the servers of a config.yaml, held against those of LiteLLM itself."""

import asyncio
import inspect
import json
import os
import pathlib
import subprocess
import tempfile

os.environ["MCP_PRUNE_TEST_URL"] = "http://127.0.0.1:1/environment"
os.environ["MCP_PRUNE_TEST_NAME"] = "envmapped"

import schema as schemas
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CONFIG = ROOT / "fixtures/config/conformance.yaml"
UNKNOWN = "0" * 32


def litellm_ids(release):
    """The ids by server name, as LiteLLM derives them from the file, and the entries that this release does not load."""
    from litellm.proxy.proxy_server import ProxyConfig

    try:
        from litellm.proxy.mcp_server.mcp_server_manager import MCPServerManager
    except ImportError:
        # Where it was up to 1.108.
        from litellm.proxy._experimental.mcp_server.mcp_server_manager import MCPServerManager

    config = ProxyConfig()._check_for_os_environ_vars(yaml.safe_load(CONFIG.read_text()))

    async def loaded(servers):
        manager = MCPServerManager()
        arguments = [servers]
        if "mcp_aliases" in inspect.signature(manager.load_servers_from_config).parameters:
            # From 1.74.8 on.
            arguments.append(config["litellm_settings"]["mcp_aliases"])
        loading = manager.load_servers_from_config(*arguments)
        if inspect.isawaitable(loading):
            await asyncio.wait_for(loading, timeout=120)
        return {getattr(server, "server_name", None) or server.name: id for id, server in manager.config_mcp_servers.items()}

    servers, refused = dict(config["mcp_servers"]), []
    for name, entry in config["mcp_servers"].items():
        # Before 1.74, LiteLLM does not start with an entry whose URL is no text, or of another transport.
        is_old = isinstance(entry.get("url"), str) and entry.get("transport", "http") in ("http", "sse")
        if release < (1, 74) and not is_old:
            refused.append(name)
            del servers[name]
    return asyncio.run(loaded(servers)), refused


def found_by_mcp_prune(binary, url, schema, references):
    """The references that a scan with the file has something to say about."""
    array = ", ".join(map(schemas.quoted, references))
    schemas.psql(url, schema, "--command", 'INSERT INTO "LiteLLM_ObjectPermissionTable" '
                 f"(\"object_permission_id\", \"mcp_servers\") VALUES ('p-1', ARRAY[{array}])")
    scan = [binary, "scan", "--format", "json", "--db-url", url, "--schema", schema, "--litellm-config", CONFIG]
    ran = subprocess.run(scan, capture_output=True, text=True, timeout=120)
    if ran.returncode != 2:
        raise SystemExit(f"scan ended with {ran.returncode}: {ran.stderr}")
    return {(finding["kind"], finding["reference"]) for finding in json.loads(ran.stdout)["findings"]}


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


def check(arguments, prisma):
    """Returns how many ids were compared, and how many differ."""
    schema = "public"
    tables = schemas.create(arguments.url, schema, prisma, arguments.migrations)
    ids, refused = litellm_ids(tuple(int(part) for part in arguments.release.split(".")[:2]))
    named = yaml.safe_load(CONFIG.read_text())["mcp_servers"].keys() - set(refused)
    if ids.keys() != named:
        raise SystemExit(f"LiteLLM loaded {sorted(ids)}, not {sorted(named)}")
    found = found_by_mcp_prune(arguments.binary, arguments.url, schema, [*ids.values(), UNKNOWN])
    different = found ^ {("stale", UNKNOWN)}
    for difference in sorted(different):
        print(f"LiteLLM derives {ids}, and mcp-prune says {difference}")
    empty = {section: servers for section, servers in without_servers(arguments.binary).items() if servers}
    if empty:
        print(f"of sections without servers mcp-prune finds {empty}")
    return {"ids": len(ids), "tables": tables, "different": len(different) + len(empty)}
