"""Asks LiteLLM's own authorisation code who reaches what, before and after a repair.

Run by a Python that has litellm 1.110 installed: authorisation.py MCP_PRUNE_BINARY (built with the
feature `embedded`). Draws keys with teams, organizations, users, agents and end users, has mcp-prune plan
their repair, and compares what `get_allowed_mcp_servers` answers. Only what loads a row from the
database is replaced. Exits with 1 and says whose access changed, where somebody's does.
"""

import asyncio
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

# The proxy reads its prices from the network unless it is told not to.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

from litellm.proxy import proxy_server
from litellm.proxy._types import (
    LiteLLM_ObjectPermissionTable,
    LiteLLM_TeamTable,
    UserAPIKeyAuth,
)
from litellm.proxy.auth import auth_checks
from litellm.proxy.mcp_server.auth.user_api_key_auth_mcp import MCPRequestHandler
from litellm.proxy.mcp_server.mcp_server_manager import global_mcp_server_manager as manager
from litellm.types.mcp_server.mcp_server_manager import MCPServer

ROOT = pathlib.Path(__file__).resolve().parent.parent
SEED, CALLERS = 20260102, 400
GONE = [f"{n:08d}-0000-4000-8000-000000000000" for n in range(3)]
SERVERS = {"id-1": ("one", "tag-1"), "id-2": ("two", "tag-2"), "id-3": ("three", "tag-2")}
# What they name; a permission row may also name the toolset "gone-set", which is not there.
TOOLSETS = {"set": ["id-2", GONE[0]], "dead-set": [GONE[2]]}
GROUPS = {"group": ["id-1", GONE[0]], "dead": [GONE[1]]}
LEVELS = ["key", "team", "organization", "user", "agent", "end_user"]


class World:
    """Permission rows by id, and callers: the row at each of their levels."""

    def __init__(self, draw):
        self.rows, self.callers = {}, []
        self.toolsets, self.groups = dict(TOOLSETS), dict(GROUPS)
        for number in range(CALLERS):
            levels = {}
            for level in LEVELS:
                if level == "key" or draw.random() < 0.45:
                    row = levels[level] = f"p-{number}-{level}"
                    self.rows[row] = self.draw_row(draw)
            if draw.random() < 0.05 and "team" in levels:
                del self.rows[levels["key"]]
                levels["key"] = levels["team"]
            groups = {of: draw.choice(["group", "dead"]) for of in ("key", "team") if draw.random() < 0.15}
            self.callers.append((number, levels, groups))

    @staticmethod
    def draw_row(draw):
        stale_only = draw.random() < 0.5
        pool = GONE if stale_only else [*GONE, "id-1", "two", "id-3", "all-proxy-mcpservers"]
        servers = draw.sample(pool, draw.randint(0, 2))
        keys = draw.sample(GONE if stale_only else [*GONE, "one", "id-2"], draw.randint(0, 1))
        return {
            "mcp_servers": servers,
            "mcp_tool_permissions": {key: ["tool"] for key in keys},
            "mcp_access_groups": draw.choice([[], [], [], ["tag-2"], ["no-such-tag"]]),
            "mcp_toolsets": draw.choice([[], [], [], [], [], ["set"], ["dead-set"], ["gone-set"]]),
        }

    def sql(self):
        def text(value):
            return "NULL" if value is None else "'" + value.replace("'", "''") + "'"

        def array(values):
            return "ARRAY[" + ", ".join(map(text, values)) + "]::text[]"

        lines = [(ROOT / "fixtures/schema.sql").read_text()]
        for id, (name, tag) in SERVERS.items():
            lines.append(
                'INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "server_name", "mcp_access_groups") '
                f"VALUES ('{id}', '{name}', ARRAY['{tag}']);"
            )
        for id, servers in self.toolsets.items():
            tools = json.dumps([{"server_id": server, "tool_name": "tool"} for server in servers])
            lines.append(f"INSERT INTO \"LiteLLM_MCPToolsetTable\" VALUES ('{id}', '{id}', '{tools}');")
        for id, servers in self.groups.items():
            lines.append(
                f"INSERT INTO \"LiteLLM_AccessGroupTable\" VALUES ('{id}', '{id}', {array(servers)});"
            )
        for id, row in self.rows.items():
            lines.append(
                'INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers", '
                '"mcp_tool_permissions", "mcp_access_groups", "mcp_toolsets") VALUES '
                f"('{id}', {array(row['mcp_servers'])}, '{json.dumps(row['mcp_tool_permissions'])}', "
                f"{array(row['mcp_access_groups'])}, {array(row['mcp_toolsets'])});"
            )
        for n, levels, groups in self.callers:
            named = {level: f"{level}-{n}" if level in levels else None for level in LEVELS}
            of = {level: text(levels.get(level)) for level in LEVELS}
            if named["organization"]:
                lines.append(
                    f"INSERT INTO \"LiteLLM_OrganizationTable\" VALUES ('organization-{n}', 'o', {of['organization']});"
                )
            if named["team"]:
                lines.append(
                    'INSERT INTO "LiteLLM_TeamTable" ("team_id", "object_permission_id", "access_group_ids") '
                    f"VALUES ('team-{n}', {of['team']}, {array([groups['team']] if 'team' in groups else [])});"
                )
            if named["user"]:
                lines.append(
                    'INSERT INTO "LiteLLM_UserTable" ("user_id", "object_permission_id", "user_role") '
                    f"VALUES ('user-{n}', {of['user']}, 'internal_user');"
                )
            if named["agent"]:
                lines.append(
                    f"INSERT INTO \"LiteLLM_AgentsTable\" VALUES ('agent-{n}', 'agent-{n}', '{{}}', {of['agent']});"
                )
            if named["end_user"]:
                lines.append(
                    f"INSERT INTO \"LiteLLM_EndUserTable\" VALUES ('end_user-{n}', NULL, {of['end_user']});"
                )
            lines.append(
                'INSERT INTO "LiteLLM_VerificationToken" ("token", "key_alias", "user_id", "team_id", "agent_id", '
                '"organization_id", "object_permission_id", "access_group_ids") VALUES '
                f"('{n:064x}', 'key-{n}', {text(named['user'])}, {text(named['team'])}, {text(named['agent'])}, "
                f"{text(named['organization'])}, {of['key']}, {array([groups['key']] if 'key' in groups else [])});"
            )
        return "\n".join(lines)

    def repaired(self, changes):
        other = object.__new__(World)
        other.callers = self.callers
        other.rows = {id: dict(row) for id, row in self.rows.items()}
        other.toolsets, other.groups = dict(self.toolsets), dict(self.groups)
        for change in changes:
            row, after = change["row"], change["after"]
            if change["table"] == "LiteLLM_AccessGroupTable":
                other.groups[row] = after["access_mcp_server_ids"]
            elif change["table"] == "LiteLLM_MCPToolsetTable":
                other.toolsets[row] = [tool["server_id"] for tool in after["tools"]]
            else:
                other.rows[row].update(after)
        return other

    def permission(self, levels, level):
        row = levels.get(level)
        if row is None:
            return None
        return LiteLLM_ObjectPermissionTable(object_permission_id=row, **self.rows[row])

    def reach(self):
        """The servers that each caller reaches."""
        reach = {}
        for n, levels, groups in self.callers:

            async def team(*_, **__):
                return LiteLLM_TeamTable(
                    team_id=f"team-{n}",
                    access_group_ids=[groups["team"]] if "team" in groups else [],
                    object_permission=self.permission(levels, "team"),
                )

            async def in_groups(access_group_ids, **_):
                return [server for id in access_group_ids for server in self.groups[id]]

            # As `resolve_toolset_tool_permissions` does with the rows that it has loaded.
            async def tools(toolset_ids, **_):
                named = [server for id in toolset_ids for server in self.toolsets.get(id, [])]
                return {server: ["tool"] for server in named}

            async def none(*_, **__):
                return None

            def loads(level):
                async def load(*_, **__):
                    return self.permission(levels, level)

                return staticmethod(load)

            manager.resolve_toolset_tool_permissions = tools
            auth_checks.get_team_object = team
            auth_checks.get_mcp_server_ids_from_access_groups = in_groups
            MCPRequestHandler._get_org_object_permission = loads("organization")
            MCPRequestHandler._get_agent_object_permission = loads("agent")
            MCPRequestHandler._get_user_object_permission = loads("user")
            MCPRequestHandler._get_end_user_object_permission = loads("end_user")
            MCPRequestHandler._get_agent_access_group_server_ceiling = staticmethod(none)

            def named(level):
                return f"{level}-{n}" if level in levels else None

            caller = UserAPIKeyAuth(
                api_key="key",
                user_id=named("user"),
                team_id=named("team"),
                org_id=named("organization"),
                agent_id=named("agent"),
                end_user_id=named("end_user"),
                access_group_ids=[groups["key"]] if "key" in groups else [],
                object_permission_id=levels["key"],
                object_permission=self.permission(levels, "key"),
            )
            allowed = asyncio.run(manager.get_allowed_mcp_servers(caller))
            reach[n] = sorted(set(allowed) & SERVERS.keys())
        return reach


def prepare_litellm():
    async def no_rows(*_, **__):
        return set()

    proxy_server.prisma_client = object()
    MCPRequestHandler._get_db_server_ids_for_access_groups = staticmethod(no_rows)
    for id, (name, tag) in SERVERS.items():
        manager.config_mcp_servers[id] = MCPServer(
            server_id=id, name=name, server_name=name, transport="http", access_groups=[tag]
        )


def planned(binary, world, *options):
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(world.sql())
        file.flush()
        fix = [binary, "fix", "--dry-run", "--format", "json", "--no-config-servers", *options]
        ran = subprocess.run(
            [*fix, "--db-url", f"embedded:{file.name}"], stdout=subprocess.PIPE, timeout=300
        )
    return json.loads(ran.stdout)


def understated(world, plan, before, after):
    """Keys whose only grants were stale, and that gain more than was announced for them."""
    announced = {
        change["row"]: set(owner["if_emptied"].get("servers", []))
        for change in plan["changes"]
        for owner in change["owners"]
        if owner["kind"] == "key" and "if_emptied" in owner
    }
    for n, levels, groups in world.callers:
        row = world.rows[levels["key"]]
        grants_otherwise = row["mcp_access_groups"] or row["mcp_toolsets"] or "key" in groups
        # A lifted ceiling is announced for who set it.
        if levels["key"] in announced and not grants_otherwise and levels.keys() <= {"key", "team", "organization"}:
            gained, said = set(after[n]) - set(before[n]), announced[levels["key"]]
            if gained - said:
                yield n, gained, said


def main():
    prepare_litellm()
    world = World(random.Random(SEED))
    before = world.reach()
    failed = 0
    policies = ["hold"], ["deny"], ["unchanged"], ["deny", "--accept-narrowing"], ["clear", "--accept-widening"]
    for policy in policies:
        plan = planned(sys.argv[1], world, "--on-empty", *policy)
        after = world.repaired(plan["changes"]).reach()
        wider = [n for n in before if set(after[n]) - set(before[n])]
        narrower = [n for n in before if set(before[n]) - set(after[n])]
        tables = {change["table"] for change in plan["changes"]}
        if len(tables) < 3:
            sys.exit(f"only {tables} are repaired in this world")
        marked = sum("deny" in change.get("on_empty", {}).values() for change in plan["changes"])
        print(
            f"{' '.join(policy)}: {len(plan['changes'])} rows changed, {marked} marked, {len(plan['held'])} held, of "
            f"{CALLERS} callers {len(wider)} gain and {len(narrower)} lose"
        )
        may_widen, may_narrow = policy[0] == "clear", "--accept-narrowing" in policy
        for n in (wider if not may_widen else []) + (narrower if not may_narrow and not may_widen else []):
            failed += 1
            print(f"  caller {n}: {before[n]} before, {after[n]} after; {world.callers[n]}")
            print("   ", {level: world.rows[row] for level, row in world.callers[n][1].items()})
        for n, gained, said in understated(world, plan, before, after) if may_widen else []:
            failed += 1
            print(f"  caller {n} gains {gained}, and {said} was announced; {world.callers[n]}")
        # A world in which a reckless repair changes nothing would prove nothing.
        if may_widen and not wider or policy == ["deny"] and not marked:
            sys.exit("this world does not tell a careful repair from a reckless one")
    if failed:
        sys.exit(f"{failed} callers' access changed")
    print("0 failed")


main()
