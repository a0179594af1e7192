"""The decisions of the access model, besides its rules, and what each is mutated to.

A place is text that stands in its file exactly once, however it is indented. What is between « and » is
mutated, and the rest tells it apart. Each mutation is an expression, or a statement where the place is one.
What decides the explanation of an answer alone, and not the answer, is left out.
"""

import re

ACCESS = "src/litellm/access/"
WHOLE = (
    "has_toolset_routes",
    "has_sessions",
    "serves",
    "aliases do not resolve",
    "names do not resolve",
    "no server is open",
    "every server is open",
)


class Mutation:
    def __init__(self, number, file, name):
        self.number, self.file, self.name = number, file, name

    def is_whole(self):
        """Whether it shows in what is read and listed, and not in the answer to one caller."""
        return self.file.startswith("src/db/") or self.name.split(":")[0] in WHOLE


def write(file, source, first):
    """Writes every mutation of a file into its text, each behind a switch; returns the text and the mutations."""
    spans, mutations = [], []
    for place, changes in FILES[file].items():
        before, mutated, after = re.fullmatch(r"(.*?)«(.*)»(.*)", place).groups() if "«" in place else ("", place, "")
        pattern = r"\s*".join(f"({spaced(part)})" for part in (before, mutated, after))
        found = list(re.finditer(pattern, source))
        if len(found) != 1:
            raise SystemExit(f"{file}: {len(found)} places like {place!r}; mend tests/conformance/mutations.py")
        text = ""
        for name, new in changes.items():
            mutations.append(Mutation(first + len(mutations), file, name))
            text += f"if crate::mutation::is_on({mutations[-1].number}) {{ {new} }} else "
        text += f"{{ {found[0].group(2)} }}"
        start, end = found[0].span(2)
        spans.append((start, end, text if mutated.endswith(";") else f"({text})"))
    for start, end, text in sorted(spans, reverse=True):
        source = source[:start] + text + source[end:]
    return source, mutations


def spaced(text):
    """A pattern for text with any spaces and lines between its words."""
    return r"\s+".join(re.escape(word) for word in text.split())


FILES = {
    ACCESS + "mod.rs": {
        "key.organization.as_ref().or(of_team)": {
            "a key has no organization but its own": "key.organization.as_ref()",
            "the organization of a team goes before the key's": "of_team.or(key.organization.as_ref())",
        },
        "who.administers = «self.administers(who.user)»": {"a caller without a key has no role": "false"},
        "who.organization = «row.and_then(|team| team.organization.as_ref())»": {
            "a caller without a key has no organization": "None",
        },
        "&& «who.team.is_some_and(TeamId::is_of_dashboard)»": {
            "a session of the dashboard is any key on the route of a toolset": "false",
            "every key acts as its user on the route of a toolset": "true",
        },
        "&& «!who.administers» && !self.opts_out(&who)": {
            "a session of the dashboard acts as its user though it administers": "true",
        },
        "&& «!self.opts_out(&who)»": {"a session of the dashboard forgets the deny marker of its key": "true"},
        "self.check_toolset(&who, toolset)": {"the route of a toolset takes no grant": "Ok::<(), Denial>(())"},
        "if «self.opts_out(who)» { return Access::denied(Level::Own": {"the deny marker leaves open servers": "false"},
        "self.sees_all(who, Entrance::OfKey)": {"administrators see what anybody sees": "false"},
        "&& «!bound_by_team» && !bound_by_row": {"teams bind no administrator": "true"},
        "&& «!bound_by_row»": {"rows of their own bind no administrator": "true"},
        "matches!(self.limit_of_user(who.user), Ok(None))": {"the row of the user binds no administrator": "true"},
        "self.settings.scope_limits_open_servers": {
            "the scope limits open servers whatever the setting says": "true",
            "the scope limits no open server": "false",
        },
        "&& «who.token.is_some()» && scope": {"the scope limits open servers without a key too": "true"},
        "scope != AccessScope::Unscoped": {"what nothing limits has a scope": "true"},
        "&submitted - self.registry.open()": {"a scope that is unresolved leaves submitted servers": "submitted.clone()"},
        "open.extend(submitted);": {"no user may use what they submitted": ""},
        "self.registry.get(id).is_some()": {"servers may be used that are not served": "true"},
        "if «who.toolset.is_some()» || !self.rules.servers_may_be_open()": {
            "open servers are open on the routes of toolsets": "false",
        },
        "if «who.toolset.is_some()» || has_a_row": {"submitted servers may be used on the routes of toolsets": "false"},
        "|| «has_a_row» ||": {"a key with a row may use submitted servers": "false"},
        "toolset.is_some() && «self.session_opts_out(user)»": {
            "the deny marker leaves sessions the routes of toolsets": "false",
        },
        "if «self.opts_out(who)» { return Err": {"the deny marker leaves the routes of toolsets": "false"},
        "if «who.administers && !bound_by_team» {": {
            "administrators need a grant on the route of a toolset": "false",
            "teams bind no administrator on the route of a toolset": "who.administers",
        },
        "LinkedPermission::Malformed => «return false»,": {"a key with an unreadable row inherits toolsets": "()"},
        "row.restricts()": {
            "a key inherits toolsets whatever its row names": "false",
            "a key with an empty row inherits no toolset": "true",
        },
        "if «self.settings.keys_must_declare» && !who.is_source": {"a key that must declare inherits toolsets": "false"},
        "keys_must_declare && «!who.is_source»": {"sessions must declare toolsets": "true"},
        "let team = «who.real_team().and_then(|team| self.rows.teams.get(team))»; let row": {
            "nobody inherits the toolsets of a team": "None::<&rows::AccessTeam>",
        },
        "row.tags.clone()": {"tags do not count on the route of a toolset": "Vec::new()"},
    },
    ACCESS + "model.rs": {
        "self.registry.expand(&permission.servers, self.rules)": {
            "rows do not grant by their servers": "ServerIds::new()",
            "references in rows are not resolved": "permission.servers.iter().cloned().map(crate::litellm::ids::ServerId).collect()",
        },
        "self.registry.tagged(&permission.tags, self.rules)": {"tags grant nothing": "ServerIds::new()"},
        "if «keys_grant» {": {
            "the toolsets of end users count":
                "{ if of == RowOf::EndUser { servers.extend(self.toolset_tools(permission, of)?.into_keys()); } keys_grant }",
        },
        "servers.extend(tools.into_keys());": {"the toolsets of keys do not grant": ""},
        "if «tools.is_empty()» { return Err": {"a toolset that is gone sets no limit": "false"},
        "if «team.blocked»": {"blocked teams grant": "false"},
        "servers.extend(group.servers.iter().cloned().map(ServerId));": {
            "names in the groups of teams are resolved":
                "servers.extend(self.registry.expand(&group.servers, self.rules));",
            "the groups of teams grant nothing": "",
        },
        "let Some(permission) = self.rows.permission(team.permission.as_ref()).read() else { return «Ok(servers)»": {
            "the groups of a team without a row grant nothing": "Ok(ServerIds::new())",
        },
        "permission.servers.iter().any(|s| s == ALL_SERVERS)": {"all servers is no word": "false"},
        "if «!only_tags» ||": {
            "a team grants by its groups alone": "false",
        },
        "LinkedPermission::Gone | LinkedPermission::Malformed if «self.rules.unreadable_rows_deny()»": {
            "rows that are gone set no limit":
                "self.rules.unreadable_rows_deny() && self.rows.permission(link) == LinkedPermission::Malformed",
            "malformed rows set no limit":
                "self.rules.unreadable_rows_deny() && self.rows.permission(link) == LinkedPermission::Gone",
        },
        "LinkedPermission::Malformed => «Ok(None)»,": {"malformed rows of end users deny": "self.linked(link)"},
        "who.is_source && link.is_some() && row.is_none()": {
            "unreadable organizations do not deny a session": "false",
            "unreadable organizations deny a key": "link.is_some() && row.is_none()",
        },
        "agent.access_groups.is_empty()": {"an agent without groups has none to limit it to": "false"},
        "self.registry.expand(servers, self.rules)": {
            "names in the groups of agents are not resolved": "servers.cloned().map(crate::litellm::ids::ServerId).collect()",
        },
    },
    ACCESS + "servers.rs": {
        "denied(«AccessScope::Unresolved», level, denial)": {"a level that denies is a scope": "AccessScope::Scoped"},
        "self.registry.expand(servers, self.rules)": {
            "names in the groups of keys are not resolved": "servers.cloned().map(crate::litellm::ids::ServerId).collect()",
        },
        "!(«own.is_empty()» && team.is_empty()": {"a key's own row does not limit": "true"},
        "&& «team.is_empty()» && groups.is_empty()": {"a team does not limit": "true"},
        "&& «groups.is_empty()») || self": {"the groups of a key do not limit": "true"},
        "servers.extend(groups.iter().cloned());": {"the groups of keys grant nothing": ""},
        "scoped = «left.limited» ||": {"levels that limit are no scope": "false"},
        "|| «by_organization» ||": {"an organization is no scope": "false"},
        "|| «who.permission.read().is_some()»;": {"a row of its own is no scope": "false"},
        "if «servers.is_empty()» && self.settings.end_users_must_declare": {
            "end users that declare must do so again": "true",
        },
        "servers.is_empty() && «self.settings.end_users_must_declare»": {
            "end users never have to declare": "false",
            "end users always have to declare": "true",
        },
        "let limit = Some(servers).filter(|servers| «!servers.is_empty()»); left.limit(Level::EndUser": {
            "an end user that names nothing denies": "true",
        },
        "(true, Some(groups)) => «Some(groups)»": {"the groups alone of an agent set no limit": "None"},
        "(true, None) => «None»": {"an agent that names nothing denies": "Some(ServerIds::new())"},
        "(false, None) => «Some(servers)»": {"the row alone of an agent sets no limit": "None"},
        "Some(&servers & &groups)": {
            "the groups of an agent give way to its row": "Some(servers)",
            "the row of an agent gives way to its groups": "Some(groups)",
        },
        "let limit = Some(team).filter(|servers| «!servers.is_empty()»)": {
            "the human's team that grants nothing denies": "true",
            "the human's team sets no limit": "false",
        },
        "self.limit_of_user(human.user.as_ref())": {"the human's own row sets no limit": "Ok::<Option<ServerIds>, Denial>(None)"},
        "filter(|_| «!who.is_source»)": {"the row of a user limits what a session has through teams": "true"},
        "self.limit_of_user(Some(user))": {"users set no limit": "Ok::<Option<ServerIds>, Denial>(None)"},
        "«self.settings.keys_must_declare» && self.rules": {
            "keys never have to declare": "false",
            "keys always have to declare": "true",
        },
        "&& «!who.is_source»;": {"sessions have to declare": "true"},
        "(_, true) => «own»": {"a key of no team has nothing": "ServerIds::new()"},
        "(true, false) => «team.clone()»": {"no key inherits from its team": "ServerIds::new()"},
        "&own & team": {
            "a team leaves a key all of its own": "own",
            "a key's own row leaves it all of its team's": "team.clone()",
            "a team adds to a key's own": "&own | team",
        },
        "let mut rows = «who.permission.read()».into_iter()": {
            "toolsets that a key declares do not limit": "None::<&super::rows::Permission>",
        },
        ".chain(«team»);": {"toolsets that a team declares do not limit": "None::<&super::rows::Permission>"},
        "if «servers.is_empty()» { left.limit(Level::Organization": {"an organization that names nothing denies": "false"},
        "if «left.limited» || who.is_source": {"an organization adds to what is limited": "false"},
        "left.limited || «who.is_source»": {"an organization grants to sessions": "false"},
        "left.servers.clone_from(&servers);": {"an organization never grants": ""},
        "self.servers.retain(|server| «limit.contains(server)»)": {"no level limits": "true"},
        "self.limited = true;": {"a level that limits does not keep an organization from granting": ""},
    },
    ACCESS + "sources.rs": {
        "organization: «team.organization.as_ref().or(own.organization)»": {
            "a session has its user's organization in every team": "own.organization",
            "a team without an organization has no organization in a session": "team.organization.as_ref()",
        },
        "organization: «row.organization.as_ref()»": {"a session has no organization of its user": "None"},
        "administers: «row.administers»": {"no session administers": "false"},
        "team.members.contains(user)": {
            "a session has the teams that its user names": "true",
            "a session has no team": "false",
        },
        "permission: «LinkedPermission::None», team: Some(id)": {
            "a session has its user's row in every team": "own.permission",
        },
        "if «!who.administers» && !sources": {"a session that administers needs a grant of a toolset": "true"},
        "«!sources.iter().any(holds)»": {
            "a session needs no grant of a toolset": "false",
            "a session inherits no toolset": "!holds(&own)",
        },
        "granted.servers.retain(|server| «scope.contains_key(server)»)": {
            "a session on the route of a toolset keeps its other servers": "true",
        },
        "own.permission = LinkedPermission::Read(&pinned);": {
            "the route of a toolset leaves a session its own row": "",
        },
        "if «toolset.is_none()» { open.extend": {"submitted servers are open to sessions on the routes of toolsets": "true"},
        "open.extend(self.registry.submitted_by(user).cloned());": {
            "a session has no more tools of servers that it submitted": "",
        },
        "«granted.servers.contains(&server)» || is_open": {"no source of a session limits tools": "true"},
        "|| «is_open» && source.team.is_none()": {"the own row of a session limits no tool of open servers": "false"},
        "is_open && «source.team.is_none()»": {"teams limit the tools of open servers in sessions": "true"},
        "narrowed_to(tools, scope.as_ref(), &server)": {
            "a session on the route of a toolset keeps its tools": "{ _ = narrowed_to; tools }",
        },
        "self.settings.personal_keys_inherit": {
            "no personal key inherits from teams": "false",
            "every personal key inherits from teams": "true",
        },
        "&& «who.team.is_none()»;": {"keys of a team inherit from the others of their user": "true"},
        "return «Some(Vec::new())»;": {"a personal key of a user that is gone is like any": "None"},
        "if «row.is_proxy_admin»": {"administrators inherit from teams with personal keys": "false"},
        "if «!team.blocked» &&": {"personal keys inherit from blocked teams": "true"},
        "«!of_another» &&": {"personal keys inherit from teams of other organizations": "true"},
        "&& «is_readable» {": {"personal keys inherit from teams with unreadable rows": "true"},
        "organization: «who.organization.or(of_team)»": {
            "a personal key has no organization of a team": "who.organization",
            "a personal key has the organization of the team alone": "of_team",
        },
        "if «unscoped» {": {
            "personal keys are always scoped": "false",
            "personal keys are never scoped": "true",
        },
        "denied(«AccessScope::Unresolved», Level::Human": {"a human that denies is a scope": "AccessScope::Scoped"},
        "self.check_human(human)": {"humans deny personal keys nothing": "Ok::<(), Denial>(())"},
        "self.granted_by_team(human.team.as_ref())?;": {"the team of a human denies personal keys nothing": ""},
        "self.limit_of_user(human.user.as_ref())?;": {"the row of a human denies personal keys nothing": ""},
        "if «!groups.unwrap_or_default().iter().all(is_readable)»": {
            "personal keys inherit beside unreadable groups": "false",
        },
        "if «granting.is_empty()»": {"personal keys have no tools of open servers": "false"},
        "let granted = self.granted_by_source(source, &mut Trace::none()); «granted.servers.contains(server)»": {
            "every team of a personal key grants tools": "true",
        },
        "all.extend(«tools?»);": {"a source that allows every tool adds none": "tools.unwrap_or_default()"},
        "Some(scope) => «both(tools, Some(scope.get(server).cloned().unwrap_or_default()))»": {
            "the tools of a toolset take the place of a session's": "scope.get(server).cloned()",
        },
    },
    ACCESS + "tools.rs": {
        "if «self.is_gone(who.team)»": {"a team that is gone lifts no limit of tools": "false"},
        "filter(|_| «who.is_source»)": {"a team that is gone takes a key's tools": "true"},
        "[«who.permission», of_team].contains": {"malformed rows of keys lift no limit of tools": "LinkedPermission::None"},
        "[who.permission, «of_team»].contains": {"malformed rows of teams lift no limit of tools": "LinkedPermission::None"},
        "both(team, own)": {
            "teams limit no tools": "{ _ = team; own }",
            "a key's own tools give way to its team's": "team.or(own)",
        },
        "match (team.filter(|team| «!team.is_empty()»), own)": {"a team's list without tools denied early": "true"},
        "if «!own.is_empty()» =>": {"a key's list without tools denied early": "true"},
        "Some(&team & &own)": {
            "the team's tools counted alone": "Some(team)",
            "the key's tools counted alone": "Some(own)",
        },
        "if «who.end_user.is_some()» && self": {"end users limit no tools": "false"},
        "if «!who.is_source» {": {
            "the row of a user limits tools that a session has through teams": "true",
            "users limit no tools": "false",
        },
        "if «self.is_gone(human.team.as_ref())»": {"a human's team that is gone denies no tools": "false"},
        "self.tools_of_team(human.team.as_ref(), server)?": {"a human's team limits no tools": "None"},
        "self.tools_of_user(human.user.as_ref(), server)?": {"a human's own row limits no tools": "None"},
        "self.tools_of_agent(agent, server)?": {"agents limit no tools": "None"},
        "if «who.organization.is_some()» &&": {"organizations limit no tools": "false"},
        "return «self.union([direct, toolsets])»; } let groups": {"toolsets of keys limited no tools early": "self.union([direct])"},
        "«named.any(|reference| self.registry.means(reference, server, self.rules))» || self": {
            "groups limit tools of servers that a key's row names": "false",
        },
        "|| «self.registry.tagged(&row.tags, self.rules).contains(server)»": {
            "groups limit tools of servers that a key's tags mean": "false",
        },
        "|| «direct.is_some()» ||": {"groups limit servers of which a key's row names tools": "false"},
        "|| «toolsets.is_some()» ||": {"groups limit servers of which a key's toolsets name tools": "false"},
        "|| «groups.owns_server» {": {"groups that a key owns limit like others": "false"},
        "self.union([direct, toolsets, «groups.owned»])": {"groups that a key owns add no tools": "None"},
        "self.union([direct, «toolsets», groups.owned])": {"toolsets add no tools to a key's own": "None"},
        "«groups.attached» }": {"groups attached to a key limit no tools": "None"},
        "if «who.access_groups.iter().any(unreadable)»": {"unreadable groups of a key do not count": "false"},
        "who.team.is_some_and(|team| group.teams.contains(team))": {"groups assigned to a team are not its keys'": "false"},
        "who.token.is_some_and(|token| group.keys.contains(token))": {"groups assigned to a key are not its own": "false"},
        "«named.any(|reference| self.registry.means(reference, server, self.rules))» } /// Unites": {
            "names in groups are not resolved for tools": "named.any(|id| *id == server.0)",
        },
        "filter(|group| «self.grants(group, server)»)": {"groups limit tools of servers that they do not grant": "true"},
        "let tools = «self.registry.tools_on(server, &group.tools, self.rules)?»;": {
            "a group without a list adds no tool":
                "self.registry.tools_on(server, &group.tools, self.rules).unwrap_or_default()",
        },
        "if «tools.contains(ALL_TOOLS)»": {"the word for every tool is none in groups": "false"},
        "self.union([«direct», toolsets, groups])": {"the row of a team limits no tools": "None"},
        "self.union([direct, «toolsets», groups])": {"the toolsets of a team limit no tools": "None"},
        "self.union([direct, toolsets, «groups»])": {"the groups of a team limit no tools": "None"},
        "if «team.access_groups.iter().any(unreadable)»": {"unreadable groups of a team do not count": "false"},
        "self.tools_above(RowOf::User, self.of_user(user)?, server)": {"the row of a user limits no tools": "Ok(None)"},
        "if «named.iter().any(unreadable)»": {"unreadable groups of an agent do not count": "false"},
        "Ok(«both(own, self.tools_of_groups(&groups, server))»)": {
            "the groups of an agent limit no tools": "own",
            "the row of an agent limits no tools": "self.tools_of_groups(&groups, server)",
        },
        "Ok(self.union([«direct», toolsets]))": {"rows above the key limit no tools": "None"},
        "Ok(self.union([direct, «toolsets»]))": {"toolsets above the key limit no tools": "None"},
        "direct.is_some_and(|tools| tools.contains(ALL_TOOLS))": {"the word for every tool is none": "false"},
        "Some(&one & &other)": {"levels add tools": "Some(&one | &other)", "the first level's tools count alone": "Some(one)"},
    },
    ACCESS + "registry.rs": {
        "[«&server.alias», &server.name]": {"aliases do not resolve": "&None"},
        "[&server.alias, «&server.name»]": {"names do not resolve": "&None"},
        "«!self.servers.contains_key(reference)»": {"a name goes before an id": "true"},
        "Some(named) => «ids.extend(named.iter().cloned())»,": {
            "a shared name means one server": "ids.extend(named.first().cloned())",
        },
        "None => «_ = ids.insert(ServerId(reference.clone()))»,": {"stale references set no limit": "()"},
        "named.extend(names.iter().cloned());": {
            "the last name of a server says its tools": "{ named.clear(); named.extend(names.iter().cloned()); }",
        },
        "Some(named) => «named.contains(server)»,": {"a shared name means the tools of one server": "named.first() == Some(server)"},
        "None => «server.as_str() == reference»,": {"ids mean no tools": "false"},
        "if «server.allow_all_keys»": {"no server is open": "false", "every server is open": "true"},
        "«self.by_submitter.get(user)».into_iter()": {
            "servers are nobody's": "None::<&ServerIds>",
            "servers are everybody's": "self.by_submitter.values().next()",
        },
        "«self.by_tag.get(tag)»": {"no tag means a served server": "None::<&ServerIds>"},
    },
    ACCESS + "rows.rs": {
        "!(«self.servers.is_empty()» && self.toolsets": {"servers do not keep a row from inheriting toolsets": "true"},
        "&& «self.toolsets.is_empty()»": {"toolsets do not keep a row from inheriting toolsets": "true"},
        "&& «self.tools.is_empty()»": {"tools do not keep a row from inheriting toolsets": "true"},
        "&& «self.tags.is_empty()»)": {"tags do not keep a row from inheriting toolsets": "true"},
        "granted.extend(names.iter().cloned());": {
            "the last toolset of a server says its tools": "{ granted.clear(); granted.extend(names.iter().cloned()); }",
        },
    },
    "src/db/access_rows.rs": {
        "ADMINISTRATORS.contains(&role.as_str())": {"who may only look does not administer": 'role == "proxy_admin"'},
        "let texts = «texts.unwrap_or_default()».into_iter();": {
            "elements that are NULL do not count":
                "texts.unwrap_or_default().into_iter().filter(Option::is_some).collect::<Vec<_>>()",
        },
        "return «value.is_null().then(NamedTools::new)»;": {
            "tools that are no object are none": "Some(NamedTools::new())",
            "tools that are null are malformed": "None",
        },
        "if let Some(text) = «tools.as_str()»": {"toolsets that are stored as text grant nothing": "None::<&str>"},
    },
    "src/db/access_registry.rs": {
        "submitted.filter(|_| is_active)": {"servers that are no longer active are their submitter's": "submitted"},
        "allow_all_keys: «server.allow_all_keys»": {"no configured server is open": "false"},
        "tags: «server.tags.iter().cloned().map(Tag).collect()»": {"configured servers carry no tag": "Vec::new()"},
        "«alias.cloned()»": {"configured servers have no alias": "None"},
    },
}
