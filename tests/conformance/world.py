"""Random worlds: rows of every level, drawn to be as nasty as real ones get."""

import hashlib
import json
import uuid

from database import JSON_NULL

ROW = "LiteLLM_ObjectPermissionTable"
GONE = [f"{n:08d}-0000-4000-8000-000000000000" for n in range(3)]
SENTINELS = ["no-mcp-servers", "all-proxy-mcpservers", "all-team-mcpservers"]
TOOLS = ["read", "write", "list", "*"]
TAGS = ["tag-1", "tag-2", "tag-of-nobody"]
ROLES = ["internal_user", "internal_user", "internal_user", "internal_user_viewer", "proxy_admin",
         "proxy_admin_viewer", "team", None]
SETTINGS = {
    "require_key_mcp_access_defined": "general_settings",
    "require_end_user_mcp_access_defined": "general_settings",
    "mcp_allow_all_keys_respects_mcp_scope": "general_settings",
    "personal_key_model_access_from_teams": "litellm_settings",
}


class World:
    def __init__(self, draw, null_elements=True):
        self.null_elements = null_elements
        self.draw, self.rows, self.config = draw, {}, {}
        self.ids, self.names = [], []
        self.add_servers()
        self.add_toolsets()
        self.groups = [f"group-{n}" for n in range(3)]
        self.organizations = [f"org-{n}" for n in range(2)]
        self.teams = [f"team-{n}" for n in range(4)]
        self.users = [f"user-{n}" for n in range(5)]
        self.agents = [f"agent-{n}" for n in range(2)]
        self.end_users = [f"end-{n}" for n in range(3)]
        self.shared = []
        for id in self.organizations:
            self.add("LiteLLM_OrganizationTable", organization_id=id, organization_alias=id, budget_id="b",
                     object_permission_id=self.permission(0.6), created_by="x", updated_by="x")
        of_teams = {team: [user for user in self.users if self.chance(0.5)] for team in self.teams}
        for id in self.teams:
            self.add("LiteLLM_TeamTable", team_id=id, organization_id=self.one(self.organizations, 0.4),
                     object_permission_id=self.permission(0.8), access_group_ids=self.some_groups(0.35),
                     blocked=self.chance(0.1), members=[], admins=[],
                     members_with_roles=[{"user_id": user, "role": "user"} for user in of_teams[id] if self.chance(0.85)])
        for id in self.users:
            self.add("LiteLLM_UserTable", user_id=id, user_role=draw.choice(ROLES), object_permission_id=self.permission(0.5),
                     organization_id=self.one(self.organizations, 0.3),
                     teams=[team for team in self.teams if id in of_teams[team]]
                     + [team for team in ("team-gone", "litellm-dashboard") if self.chance(0.1)])
        for id in self.agents:
            self.add("LiteLLM_AgentsTable", agent_id=id, agent_name=id, object_permission_id=self.permission(0.8, of_agent=True),
                     access_group_ids=self.some_groups(0.4), created_by="x", updated_by="x", agent_card_params={})
        for id in self.end_users:
            self.add("LiteLLM_EndUserTable", user_id=id, object_permission_id=self.permission(0.8))
        self.tokens = []
        for number in range(10):
            token = hashlib.sha256(f"key-{number}".encode()).hexdigest()
            self.tokens.append(token)
            team = self.one([*self.teams, *self.draw.choice([[], [], ["litellm-dashboard"], ["team-gone"]])], 0.6)
            self.add("LiteLLM_VerificationToken", token=token, key_alias=f"key-{number}", key_name="sk-...",
                     team_id=team, user_id=self.one([*self.users, "user-gone"], 0.6),
                     agent_id=self.one([*self.agents, "agent-gone"], 0.35),
                     organization_id=self.one(self.organizations, 0.2),
                     object_permission_id=self.permission(0.75), access_group_ids=self.some_groups(0.3))
        for id in self.groups[:-1]:
            tools = self.tools() if self.chance(0.6) else self.draw.choice([None, JSON_NULL])
            if self.chance(0.06):
                tools = self.malformed()
            self.add("LiteLLM_AccessGroupTable", access_group_id=id, access_group_name=id,
                     access_mcp_server_ids=self.references(3), mcp_tool_permissions=tools,
                     assigned_team_ids=[t for t in self.teams if self.chance(0.3)],
                     assigned_key_ids=[t for t in self.tokens if self.chance(0.3)])
            if self.chance(0.05):
                self.rows["LiteLLM_AccessGroupTable"][-1]["access_mcp_server_ids"].append(None)
        self.settings = {name: self.chance(0.3) for name in SETTINGS}

    def chance(self, probability):
        return self.draw.random() < probability

    def one(self, of, probability):
        return self.draw.choice(of) if self.chance(probability) else None

    def add(self, table, **row):
        self.rows.setdefault(table, []).append(row)

    def add_servers(self):
        for number in range(5):
            id = str(uuid.UUID(int=self.draw.getrandbits(128), version=4))
            # One name may be of several servers, and one id may be another server's alias.
            alias = self.draw.choice([f"alias-{number}", "shared", None, *(self.ids[:1] if self.chance(0.2) else [])])
            name = self.draw.choice([f"name-{number}", "shared"])
            status = self.draw.choice(["active", "active", "active", "approved", None, "pending_review", "rejected"])
            self.ids.append(id)
            self.names += [name, *([alias] if alias else [])]
            self.add("LiteLLM_MCPServerTable", server_id=id, server_name=name, alias=alias, approval_status=status,
                     transport="http", url="http://127.0.0.1:1/mcp", mcp_info={}, allow_all_keys=self.chance(0.15),
                     mcp_access_groups=[tag for tag in TAGS[:2] if self.chance(0.3)],
                     submitted_by=self.one(["user-0", "user-1"], 0.3), auth_type="none")
        if self.chance(0.6):
            self.config["configured"] = {
                "url": "http://127.0.0.1:1/config", "transport": "http", "access_groups": ["tag-1"],
                "allow_all_keys": self.chance(0.2), **({"alias": "conf"} if self.chance(0.5) else {}),
            }
            # A name may be of a row and of a configured server, and grants may name its derived id.
            alias = self.config["configured"].get("alias", "")
            derived = f"configured|http://127.0.0.1:1/config|http||{alias}"
            self.names += ["configured", "conf", hashlib.sha256(derived.encode()).hexdigest()[:32]]
        if self.chance(0.3):
            self.config["shared"] = {"url": "http://127.0.0.1:1/shared", "transport": "sse"}

    def add_toolsets(self):
        self.toolsets = ["set-0", "set-1", "set-2"]
        for id in self.toolsets:
            tools = [{"server_id": self.draw.choice([*self.ids, GONE[0], "name-0"]), "tool_name": self.draw.choice(TOOLS[:3])}
                     for _ in range(self.draw.randint(0, 3))]
            if self.chance(0.1):
                tools = json.dumps(tools)
            self.add("LiteLLM_MCPToolsetTable", toolset_id=id, toolset_name=id, tools=tools, created_by="x", updated_by="x")

    def references(self, most):
        pool = [*self.ids, *self.ids, *self.names, *GONE]
        if self.chance(0.15):
            pool = GONE
        found = [self.draw.choice(pool) for _ in range(self.draw.randint(0, most))]
        if self.chance(0.06):
            found.append(self.draw.choice(SENTINELS))
        return found

    def tools(self):
        return {reference: [t for t in TOOLS if self.chance(0.35)] for reference in self.references(2)}

    def malformed(self):
        return self.draw.choice(["{}", [], {"x": "read"}, {"x": [1]}, 7, {"x": None}])

    def some_groups(self, probability):
        return [group for group in self.groups if self.chance(0.5)] if self.chance(probability) else []

    def permission(self, probability, of_agent=False):
        """A link to a permission row: a new one, one that others have too, one that is gone, or none.

        An agent's has no NULL element: one of them keeps LiteLLM from loading any agent at all.
        """
        if not self.chance(probability):
            return None
        if self.shared and not of_agent and self.chance(0.12):
            return self.draw.choice(self.shared)
        id = f"p-{len(self.shared)}"
        self.shared.append(id)
        if self.chance(0.06):
            return id
        tools = self.tools() if self.chance(0.5) else {}
        if self.chance(0.06):
            tools = self.malformed()
        row = {
            "mcp_servers": self.references(3) if self.chance(0.75) else [],
            "mcp_tool_permissions": tools or self.draw.choice([None, JSON_NULL, {}]),
            "mcp_access_groups": [self.draw.choice(TAGS)] if self.chance(0.25) else [],
            "mcp_toolsets": [self.draw.choice([*self.toolsets, "set-gone"])] if self.chance(0.25) else [],
        }
        if self.chance(0.03):
            row["mcp_servers"] = None
        if self.chance(0.03) and self.null_elements and not of_agent:
            row[self.draw.choice(["mcp_servers", "mcp_access_groups", "mcp_toolsets"])] = [None]
        self.add(ROW, object_permission_id=id, **row)
        return id

    def callers(self, knows):
        """Everybody who may ask a LiteLLM that `knows` these kinds of callers, as `access` should list them."""
        def caller(via, **known):
            fields = ("token", "team", "organization", "user", "end_user", "toolset", "on_behalf_of")
            return {"via": via, **dict.fromkeys(fields), **known}

        by_id = {user["user_id"]: user for user in self.rows["LiteLLM_UserTable"]}
        humans = [{"user": id, "team": team} for id, user in by_id.items() for team in [None, *user["teams"]]]
        toolsets = self.toolsets if knows["toolsets"] else []
        for key in self.rows["LiteLLM_VerificationToken"]:
            known = {"token": key["token"], "user": key["user_id"]}
            yield caller("key", **known)
            for id in self.end_users if knows["end_users"] else []:
                yield caller("key", **known, end_user=id)
            for human in humans if knows["humans"] and key["agent_id"] else []:
                yield caller("key", **known, on_behalf_of=human)
            for id in toolsets:
                yield caller("key", **known, toolset=id)
        for user in self.users if knows["sessions"] else []:
            for id in [None, *toolsets]:
                yield caller("session", user=user, toolset=id)
        for team in self.rows["LiteLLM_TeamTable"]:
            for user in [None, *self.users]:
                yield caller("keyless", team=team["team_id"], organization=team["organization_id"], user=user)

    def config_file(self):
        config = {"general_settings": {}, "litellm_settings": {}, "mcp_servers": self.config}
        for name, on in self.settings.items():
            config[SETTINGS[name]][name] = on
        return config
