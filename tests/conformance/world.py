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
# Where each setting stands, and how often it is on: the first two deny so much that they hide the others.
SETTINGS = {
    "require_key_mcp_access_defined": ("general_settings", 0.2),
    "require_end_user_mcp_access_defined": ("general_settings", 0.2),
    "mcp_allow_all_keys_respects_mcp_scope": ("general_settings", 0.4),
    "personal_key_model_access_from_teams": ("litellm_settings", 0.6),
}


class World:
    def __init__(self, draw, null_elements=True, groups_limit_tools=True):
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
        for number in range(12):
            token = hashlib.sha256(f"key-{number}".encode()).hexdigest()
            self.tokens.append(token)
            team = self.one([*self.teams, *self.teams, "litellm-dashboard", "team-gone"], 0.6)
            self.add("LiteLLM_VerificationToken", token=token, key_alias=f"key-{number}", key_name="sk-...",
                     team_id=team, user_id=self.one([*self.users, "user-gone"], 0.6),
                     agent_id=self.one([*self.agents, *self.agents, "agent-gone"], 0.4),
                     organization_id=self.one(self.organizations, 0.2),
                     object_permission_id=self.permission(0.75), access_group_ids=self.some_groups(0.45))
        for id in self.groups[:-1]:
            servers = self.references(3)
            tools = self.tools(of=servers) if self.chance(0.7) else self.draw.choice([None, JSON_NULL])
            if self.chance(0.12):
                tools = self.malformed()
            self.add("LiteLLM_AccessGroupTable", access_group_id=id, access_group_name=id,
                     access_mcp_server_ids=servers, mcp_tool_permissions=tools,
                     assigned_team_ids=[t for t in self.teams if self.chance(0.4)],
                     assigned_key_ids=[t for t in self.tokens if self.chance(0.3)])
            if self.chance(0.06):
                self.rows["LiteLLM_AccessGroupTable"][-1]["access_mcp_server_ids"].append(None)
        self.settings = {name: self.chance(often) for name, (_, often) in SETTINGS.items()}
        for scene in (self.dashboard, self.unresolved, self.submitted, self.personal, self.inheriting, self.agent,
                      self.tools_of_team, self.tagged, self.words):
            if self.chance(0.4):
                scene()
        if groups_limit_tools and self.chance(0.3):
            self.owned_groups()

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
                     transport="http", url="http://127.0.0.1:1/mcp", mcp_info={}, allow_all_keys=self.chance(0.2),
                     mcp_access_groups=[tag for tag in TAGS[:2] if self.chance(0.3)],
                     submitted_by=self.one(["user-0", "user-1"], 0.4), auth_type="none")
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
            tools = [{"server_id": self.draw.choice([*self.ids, *self.ids[:2], GONE[0], "name-0"]), "tool_name": self.draw.choice(TOOLS[:3])}
                     for _ in range(self.draw.randint(0, 3))]
            if self.chance(0.1):
                tools = json.dumps(tools)
            self.add("LiteLLM_MCPToolsetTable", toolset_id=id, toolset_name=id, tools=tools, created_by="x", updated_by="x")

    def references(self, most):
        pool = [*self.ids, *self.ids, *self.names, *GONE]
        if self.chance(0.15):
            pool = GONE
        found = [self.draw.choice(pool) for _ in range(self.draw.randint(0, most))]
        if self.chance(0.1):
            found.append(self.draw.choice(SENTINELS))
        if self.chance(0.04):
            # What is nearly a name, and is none.
            found.append(self.draw.choice(["", " alias-0", "NAME-0", "alias-0 "]))
        return found

    def tools(self, of=None):
        references = self.draw.sample(of, min(len(of), 2)) if of else self.references(2)
        if self.chance(0.3):
            # One server by its id and by its name.
            server = self.draw.choice(self.rows["LiteLLM_MCPServerTable"])
            references += [server["server_id"], server["alias"] or server["server_name"]]
        return {reference: [] if self.chance(0.15) else [t for t in TOOLS if self.chance(0.35)] for reference in references}

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
        # Most rows name things of several kinds, and a third those of one alone.
        only = self.draw.choice([None, None, "servers", "tools", "tags", "toolsets"]) if self.chance(0.5) else None
        names = {kind: self.chance(often) if only is None else kind == only
                 for kind, often in {"servers": 0.75, "tools": 0.5, "tags": 0.25, "toolsets": 0.3}.items()}
        tools = self.tools() if names["tools"] else {}
        if self.chance(0.08):
            tools = self.malformed()
        row = {
            "mcp_servers": self.references(3) if names["servers"] else [],
            "mcp_tool_permissions": tools or self.draw.choice([None, JSON_NULL, {}]),
            "mcp_access_groups": [self.draw.choice(TAGS)] if names["tags"] else [],
            "mcp_toolsets": self.draw.sample([*self.toolsets, "set-gone"], self.draw.randint(1, 2)) if names["toolsets"] else [],
        }
        if self.chance(0.03):
            row["mcp_servers"] = None
        if self.chance(0.05) and self.null_elements and not of_agent:
            row[self.draw.choice(["mcp_servers", "mcp_access_groups", "mcp_toolsets"])] = [None]
        self.add(ROW, object_permission_id=id, **row)
        return id

    # What chance alone brings together too seldom: each scene arranges a few rows, and leaves the rest to chance.

    def row(self, table, number):
        return self.rows[f"LiteLLM_{table}"][number]

    def own_row(self, owner, **names):
        """Links an owner to a permission row of its own, which names these."""
        id = f"p-{len(self.shared)}"
        self.shared.append(id)
        owner["object_permission_id"] = id
        row = {"mcp_servers": [], "mcp_tool_permissions": None, "mcp_access_groups": [], "mcp_toolsets": []}
        self.add(ROW, object_permission_id=id, **{**row, **names})

    def open_set(self, server, tools):
        """A toolset with tools of one server, which is served."""
        server["approval_status"] = "active"
        tools = [{"server_id": server["server_id"], "tool_name": tool} for tool in tools]
        self.row("MCPToolsetTable", 0)["tools"] = tools
        return ["set-0"]

    def dashboard(self):
        """A session of the dashboard, on the route of a toolset of its user's; its key may hold the deny marker."""
        key, user = self.row("VerificationToken", 0), self.row("UserTable", 0)
        key.update(team_id="litellm-dashboard", user_id="user-0")
        user["user_role"] = self.draw.choice(["internal_user", "internal_user", "proxy_admin"])
        toolsets = self.open_set(self.row("MCPServerTable", 0), ["read", "write"])
        self.own_row(user, mcp_servers=self.references(2), mcp_toolsets=toolsets)
        self.own_row(key, mcp_servers=self.draw.choice([["no-mcp-servers"], self.references(2)]), mcp_toolsets=toolsets)

    def unresolved(self):
        """A key without a row, whose user submitted servers and whose team cannot be resolved."""
        key = self.row("VerificationToken", 1)
        key.update(team_id="team-0", user_id="user-1", object_permission_id=None)
        self.own_row(self.row("TeamTable", 0), mcp_toolsets=["set-gone"])
        self.row("UserTable", 1).update(user_role="internal_user", object_permission_id=None)
        self.settings["mcp_allow_all_keys_respects_mcp_scope"] = self.chance(0.8)
        for number in range(3):
            server = self.row("MCPServerTable", number)
            server.update(approval_status="active", submitted_by=self.one(["user-1"], 0.7), allow_all_keys=self.chance(0.5))

    def submitted(self):
        """A session of a user who submitted a server, of which a team grants a part of the toolset's tools."""
        user, team, server = self.row("UserTable", 0), self.row("TeamTable", 1), self.row("MCPServerTable", 0)
        user.update(user_role=self.draw.choice(["internal_user", "proxy_admin"]), teams=["team-1"])
        server["submitted_by"] = self.one(["user-0"], 0.8)
        toolsets = self.open_set(server, ["read", "write"])
        servers = self.draw.choice([self.ids[1:2], self.ids[1:2], ["no-mcp-servers"]])
        self.own_row(user, mcp_servers=servers, mcp_toolsets=self.draw.choice([[], toolsets]))
        self.own_row(team, mcp_tool_permissions={server["server_id"]: ["read"]},
                     mcp_toolsets=self.draw.choice([[], [], toolsets]))
        team.update(blocked=False, organization_id=None, members_with_roles=[{"user_id": "user-0", "role": "user"}])

    def personal(self):
        """Keys of no team, whose user has teams of several kinds, and a human behind them."""
        user, human = self.row("UserTable", 2), self.row("UserTable", 3)
        user.update(user_role="internal_user", object_permission_id=None,
                    teams=self.draw.sample(self.teams, self.draw.randint(1, 2)))
        self.settings.update(personal_key_model_access_from_teams=True, require_key_mcp_access_defined=self.chance(0.1),
                             require_end_user_mcp_access_defined=False)
        if self.chance(0.4):
            human["object_permission_id"] = "p-gone"
        else:
            self.own_row(human, mcp_servers=self.draw.sample(self.ids, 2))
        self.row("MCPServerTable", 4).update(approval_status="active", submitted_by="user-2", allow_all_keys=self.chance(0.7))
        human["teams"] = self.draw.sample(self.teams, 2)
        for number in (10, 11):
            key = self.row("VerificationToken", number)
            key.update(team_id=None, user_id=self.draw.choice(["user-2", "user-2", "user-2", "user-gone"]),
                       organization_id=self.one(self.organizations, 0.3),
                       agent_id=self.one(["agent-0", "agent-gone", "agent-gone"], 0.7))
            if self.chance(0.6):
                key["object_permission_id"] = None
            else:
                self.own_row(key, mcp_servers=self.draw.sample(self.ids, 2))
        self.settings["mcp_allow_all_keys_respects_mcp_scope"] = self.chance(0.6)
        team = next(team for team in self.rows["LiteLLM_TeamTable"] if team["team_id"] == user["teams"][0])
        team["blocked"] = self.chance(0.1)
        match self.draw.choice(["open", "gone", "limited", "limited"]):
            case "open":
                # Nothing limits the team, so that nothing limits the key.
                team.update(object_permission_id=None, access_group_ids=[], organization_id=None)
                self.row("MCPServerTable", 3).update(approval_status="active", allow_all_keys=True)
            case "gone":
                team.update(object_permission_id="p-gone", access_group_ids=[])
            case "limited":
                self.own_row(team, mcp_servers=self.draw.sample(self.ids, 3))
                team["access_group_ids"] = self.some_groups(0.2)

    def agent(self):
        """The key of an agent that leaves a server no tool, or whose groups cannot all be read."""
        key, agent, server = self.row("VerificationToken", 4), self.row("AgentsTable", 1), self.row("MCPServerTable", 2)
        id, server["approval_status"] = server["server_id"], "active"
        key.update(agent_id="agent-1", team_id=None, organization_id=None, user_id=None)
        self.own_row(key, mcp_servers=[id])
        self.own_row(agent, mcp_servers=[id], mcp_tool_permissions={id: self.draw.choice([[], ["read"]])})
        agent["access_group_ids"] = self.draw.choice([[], ["group-0"], ["group-0", "group-1"]])
        for group, tools in zip(self.rows["LiteLLM_AccessGroupTable"], ({id: ["read", "list"]}, {"x": None}), strict=True):
            group.update(access_mcp_server_ids=[id], mcp_tool_permissions=tools)

    def tools_of_team(self):
        """A key and its team, each with tools of one server, or without any, or malformed."""
        key, team, server = self.row("VerificationToken", 5), self.row("TeamTable", 3), self.row("MCPServerTable", 3)
        id, server["approval_status"] = server["server_id"], "active"
        key.update(team_id="team-3", agent_id=None, organization_id=None, user_id=None)
        team.update(blocked=False, organization_id=None)
        for owner in (key, team):
            tools = self.draw.choice([{id: []}, {id: ["read"]}, {id: ["read", "write"]}, {"x": [1]}])
            self.own_row(owner, mcp_servers=[id], mcp_tool_permissions=tools)

    def tagged(self):
        """A key that means a server by its tag, beside a group that names tools of it."""
        key, group, server = self.row("VerificationToken", 6), self.row("AccessGroupTable", 0), self.row("MCPServerTable", 4)
        id = server["server_id"]
        server.update(approval_status="active", mcp_access_groups=["tag-1"])
        key.update(access_group_ids=["group-0"], team_id="team-0", agent_id=None, organization_id=None, user_id=None)
        self.own_row(key, mcp_access_groups=["tag-1"])
        self.own_row(self.row("TeamTable", 0))
        group.update(access_mcp_server_ids=[id], mcp_tool_permissions={id: ["read"]},
                     assigned_team_ids=self.draw.choice([[], [], ["team-0"]]),
                     assigned_key_ids=self.draw.choice([[], [], [key["token"]]]))

    def owned_groups(self):
        """A key with two groups of one server, one of which is its own."""
        key, id = self.row("VerificationToken", 6), self.row("MCPServerTable", 4)["server_id"]
        self.row("MCPServerTable", 4)["approval_status"] = "active"
        key.update(access_group_ids=["group-0", "group-1"], team_id=None, agent_id=None, organization_id=None,
                   user_id=None, object_permission_id=None)
        for group, tool, tokens in zip(self.rows["LiteLLM_AccessGroupTable"], ("read", "write"), ([key["token"]], []), strict=True):
            group.update(access_mcp_server_ids=[id], mcp_tool_permissions={id: [tool]}, assigned_team_ids=[],
                         assigned_key_ids=tokens)

    def words(self):
        """A team with every server, an end user that declares, and a key that declares a toolset that is gone."""
        key, team = self.row("VerificationToken", 7), self.row("TeamTable", 1)
        key.update(team_id="team-1", agent_id=None, organization_id=None, user_id=None, object_permission_id=None)
        self.own_row(team, mcp_servers=["all-proxy-mcpservers", *self.references(1)])
        team.update(blocked=False, organization_id=None)
        self.own_row(self.row("EndUserTable", 0), mcp_servers=self.draw.sample(self.ids, 3))
        self.settings.update(require_key_mcp_access_defined=False, require_end_user_mcp_access_defined=self.chance(0.5))
        key = self.row("VerificationToken", 8)
        key.update(team_id=None, agent_id=None, organization_id="org-0", user_id=None, access_group_ids=[])
        self.own_row(key, mcp_toolsets=self.draw.choice([["set-gone"], []]))
        self.own_row(self.row("OrganizationTable", 0), mcp_servers=self.draw.sample(self.ids, 3))

    def inheriting(self):
        """A key whose row names one kind of thing alone, and whose team grants a toolset."""
        key, server = self.row("VerificationToken", 3), self.row("MCPServerTable", 1)
        toolsets = self.open_set(server, ["read"])
        key.update(team_id="team-2", agent_id=None, user_id=None, organization_id=None)
        self.settings["require_key_mcp_access_defined"] = self.chance(0.3)
        self.own_row(self.row("TeamTable", 2), mcp_servers=[server["server_id"]], mcp_toolsets=toolsets)
        self.own_row(key, **self.draw.choice([
            {}, {"mcp_access_groups": ["tag-1"]}, {"mcp_tool_permissions": {server["server_id"]: ["read"]}},
            {"mcp_toolsets": ["set-1"]}, {"mcp_servers": [server["server_id"]]}]))

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
            config[SETTINGS[name][0]][name] = on
        return config
