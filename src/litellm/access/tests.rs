//! The model, rule by rule: each test changes one thing of a world in which nothing limits.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::catch_unwind;

use super::caller::{AccessSettings, Caller, Human};
use super::registry::{Registry, ServedServer};
use super::rows::{AccessGroup, AccessRows, AccessTeam, Agent, Key, NamedTools, Permission, User};
use super::rules::{AccessRules, CHANGES};
use super::tools::Tools;
use super::trace::{Denial, Level};
use super::{Access, AccessModel};
use crate::litellm::ids::{KeyToken, ServerId, UserId};
use crate::litellm::release::Release;

type Version = (u16, u16, u16);

const NEWEST: Version = (1, 110, 2);
const GONE: &str = "00000000-0000-4000-8000-000000000000";

/// A key with every level above it, whose rows are all there and all empty.
struct World {
    rows: AccessRows,
    servers: BTreeMap<ServerId, ServedServer>,
    settings: AccessSettings,
    release: (u16, u16, u16),
    caller: Caller,
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "links of rows are optional")]
fn link<I: From<String>>(id: &str) -> Option<I> {
    Some(id.to_owned().into())
}

fn ids<I: From<String>>(ids: &[&str]) -> Vec<I> {
    ids.iter().map(|&id| id.to_owned().into()).collect()
}

fn named(alias: &str) -> ServedServer {
    ServedServer {
        alias: link(alias),
        ..ServedServer::default()
    }
}

impl World {
    fn new() -> Self {
        let key = Key {
            token: KeyToken("k".to_owned()),
            permission: link("p-key"),
            team: link("t"),
            organization: link("o"),
            user: link("u"),
            agent: link("a"),
            access_groups: Vec::new(),
            name: None,
        };
        let team = AccessTeam {
            permission: link("p-team"),
            members: [UserId("u".to_owned())].into(),
            ..AccessTeam::default()
        };
        let user = User {
            permission: link("p-user"),
            teams: ids(&["t"]),
            ..User::default()
        };
        let agent = Agent {
            permission: link("p-agent"),
            ..Agent::default()
        };
        let rows = ["key", "team", "organization", "user", "agent", "end_user"];
        let rows = rows.map(|level| (format!("p-{level}").into(), Some(Permission::default())));
        let rows = AccessRows {
            keys: [("k".to_owned().into(), key)].into(),
            permissions: rows.into(),
            teams: [("t".to_owned().into(), team)].into(),
            organizations: [("o".to_owned().into(), link("p-organization"))].into(),
            users: [("u".to_owned().into(), user)].into(),
            agents: [("a".to_owned().into(), agent)].into(),
            end_users: [("e".to_owned().into(), link("p-end_user"))].into(),
            ..AccessRows::default()
        };
        let servers = [("id-1", "one"), ("id-2", "two"), ("id-3", "three")];
        let servers = servers.map(|(id, alias)| (ServerId(id.to_owned()), named(alias)));
        let mut world = Self {
            rows,
            servers: servers.into(),
            settings: AccessSettings::default(),
            release: NEWEST,
            caller: Caller::Key {
                token: KeyToken("k".to_owned()),
                end_user: link("e"),
                on_behalf_of: None,
                toolset: None,
            },
        };
        world.names("key", &["id-1", "id-2"]);
        world
    }

    fn row(&mut self, level: &str) -> &mut Permission {
        let row = self.rows.permissions.get_mut(format!("p-{level}").as_str());
        row.unwrap().as_mut().unwrap()
    }

    fn names(&mut self, level: &str, servers: &[&str]) {
        self.row(level).servers = texts(servers);
    }

    fn key(&mut self) -> &mut Key {
        self.rows.keys.get_mut("k").unwrap()
    }

    fn team(&mut self) -> &mut AccessTeam {
        self.rows.teams.get_mut("t").unwrap()
    }

    fn group(&mut self, id: &str, servers: &[&str]) {
        let group = AccessGroup {
            servers: texts(servers),
            ..AccessGroup::default()
        };
        self.rows
            .access_groups
            .insert(id.to_owned().into(), Some(group));
    }

    fn toolset(&mut self, id: &str, server: &str, tool: &str) {
        let tools = [(ServerId(server.to_owned()), [tool.to_owned()].into())];
        self.rows
            .toolsets
            .insert(id.to_owned().into(), tools.into());
    }

    fn on_toolset(&mut self, id: &str) {
        if let Caller::Key { toolset, .. } = &mut self.caller {
            *toolset = link(id);
        }
    }

    fn access(&self) -> Access {
        let registry = Registry::new(self.servers.clone(), BTreeMap::new());
        let (major, minor, patch) = self.release;
        let model = AccessModel {
            rows: &self.rows,
            registry: &registry,
            rules: AccessRules::of(Release::new(major, minor, patch)),
            settings: self.settings,
        };
        model.access(&self.caller)
    }

    /// Returns the servers, as one text.
    fn servers(&self) -> String {
        let servers = self.access().servers.into_keys();
        servers.map(|id| id.0).collect::<Vec<_>>().join(" ")
    }

    fn servers_in(&mut self, release: (u16, u16, u16)) -> String {
        self.release = release;
        self.servers()
    }

    fn tools(&self, server: &str) -> Tools {
        self.access().servers.remove(server).unwrap()
    }
}

fn tools_of(tools: &[(&str, &[&str])]) -> NamedTools {
    let tools = tools.iter();
    tools
        .map(|(server, names)| ((*server).to_owned(), texts(names)))
        .collect()
}

#[expect(clippy::unnecessary_wraps, reason = "no list stands for every tool")]
fn some(names: &[&str]) -> Tools {
    Some(names.iter().map(|&name| name.to_owned()).collect())
}

/// The levels above a key, and the first release in which each limits, with the one before.
const LEVELS: [(&str, Version, Version); 5] = [
    ("team", (1, 80, 0), (1, 68, 2)),
    ("end_user", (1, 81, 14), (1, 81, 13)),
    ("agent", (1, 81, 16), (1, 81, 15)),
    ("organization", (1, 84, 0), (1, 83, 14)),
    ("user", (1, 96, 0), (1, 95, 0)),
];

#[test]
fn rows_that_name_nothing_set_no_limit() {
    assert_eq!(World::new().servers(), "id-1 id-2");
}

#[test]
fn each_level_limits_from_its_first_release_on() {
    for (level, first, before) in LEVELS {
        let mut world = World::new();
        world.names(level, &["id-2", "id-3"]);
        assert_eq!(world.servers(), "id-2", "{level}");
        assert_eq!(world.servers_in(first), "id-2", "{level}");
        if level != "team" {
            assert_eq!(world.servers_in(before), "id-1 id-2", "{level}");
        }
    }
}

#[test]
fn a_list_of_stale_entries_alone_denies_at_each_level() {
    for (level, ..) in LEVELS {
        let mut world = World::new();
        world.names(level, &[GONE]);
        let access = world.access();
        assert_eq!(access.servers.len(), 0, "{level}");
        let (denying, denial) = access.denied_by.unwrap();
        assert_eq!((denying.name(), denial), (level, Denial::LeavesNothing));
    }
    let mut world = World::new();
    world.names("key", &[GONE]);
    world.names("team", &["id-1"]);
    assert_eq!(world.servers(), "");
}

#[test]
fn before_1_72_no_row_counts_and_before_1_80_nothing_is_everything() {
    let mut world = World::new();
    assert_eq!(world.servers_in((1, 68, 2)), "id-1 id-2 id-3");
    world.names("key", &[GONE]);
    world.names("team", &["id-1"]);
    assert_eq!(world.servers_in((1, 79, 3)), "id-1 id-2 id-3");
    assert_eq!(world.servers_in((1, 80, 0)), "");
}

#[test]
fn a_key_that_names_nothing_inherits_unless_it_has_to_declare() {
    let mut world = World::new();
    world.names("key", &[]);
    world.names("team", &["id-3"]);
    assert_eq!(world.servers(), "id-3");
    world.settings.keys_must_declare = true;
    assert_eq!(world.servers(), "");
    assert_eq!(world.servers_in((1, 90, 0)), "id-3");
}

#[test]
fn an_organization_becomes_the_grant_where_nothing_below_it_limits() {
    let mut world = World::new();
    world.names("key", &[]);
    world.names("organization", &["id-3"]);
    assert_eq!(world.servers(), "id-3");
    // A declared toolset limits, be it there or not.
    world.row("key").toolsets = ids(&["gone"]);
    assert_eq!(world.servers(), "");
    assert_eq!(world.servers_in((1, 99, 0)), "id-3");
}

#[test]
fn names_resolve_from_1_83_14_and_a_shared_name_means_every_server() {
    let mut world = World::new();
    world.names("key", &["one"]);
    assert_eq!(world.servers(), "id-1");
    assert_eq!(world.servers_in((1, 83, 13)), "");
    world.servers.insert("id-4".to_owned().into(), named("one"));
    assert_eq!(world.servers_in(NEWEST), "id-1 id-4");
    // An id beats a name.
    world
        .servers
        .insert("one".to_owned().into(), named("other"));
    assert_eq!(world.servers(), "one");
    for not_a_name in ["One", " one", ""] {
        world.names("key", &[not_a_name]);
        assert_eq!(world.servers(), "", "{not_a_name:?}");
    }
}

#[test]
fn keys_of_tool_permissions_grant_from_1_82_1_and_on_agents_from_1_105() {
    let mut world = World::new();
    world.row("key").tools = tools_of(&[("id-3", &["read"])]);
    assert_eq!(world.servers(), "id-1 id-2 id-3");
    assert_eq!(world.servers_in((1, 82, 0)), "id-1 id-2");
    let mut world = World::new();
    world.row("agent").tools = tools_of(&[("id-1", &["read"])]);
    assert_eq!(world.servers(), "id-1");
    assert_eq!(world.servers_in((1, 104, 9)), "id-1 id-2");
}

#[test]
fn the_deny_marker_denies_a_key_even_open_servers() {
    let mut world = World::new();
    world.servers.get_mut("id-3").unwrap().allow_all_keys = true;
    assert_eq!(world.servers(), "id-1 id-2 id-3");
    world.names("key", &["no-mcp-servers", "id-1"]);
    let denied = world.access().denied_by;
    assert_eq!(denied, Some((Level::Own, Denial::DenyMarker)));
    let known = [(1, 86, 7), (1, 87, 5), (1, 88, 5), (1, 89, 4), (1, 91, 0)];
    for release in known {
        assert_eq!(world.servers_in(release), "", "{release:?}");
    }
    for release in [(1, 86, 6), (1, 87, 4), (1, 88, 4), (1, 89, 3), (1, 90, 9)] {
        assert_eq!(world.servers_in(release), "id-1 id-3", "{release:?}");
    }
    // As a key of the tools it is one until 1.105.
    let mut world = World::new();
    world.row("key").tools = tools_of(&[("no-mcp-servers", &[])]);
    assert_eq!(world.servers(), "id-1 id-2");
    assert_eq!(world.servers_in((1, 104, 9)), "");
}

#[test]
fn all_servers_is_a_word_for_teams_from_1_92_on() {
    let mut world = World::new();
    world.names("key", &[]);
    world.names("team", &["all-proxy-mcpservers"]);
    assert_eq!(world.servers(), "id-1 id-2 id-3");
    assert_eq!(world.servers_in((1, 91, 0)), "");
    let mut world = World::new();
    world.names("user", &["all-proxy-mcpservers"]);
    assert_eq!(world.servers(), "");
}

#[test]
fn access_groups_add_to_a_key_and_limit_a_team_and_an_agent() {
    let mut world = World::new();
    world.group("g", &["three"]);
    world.names("team", &["id-1"]);
    world.key().access_groups = ids(&["g", "gone"]);
    assert_eq!(world.servers(), "id-1 id-3");
    assert_eq!(world.servers_in((1, 87, 9)), "id-1");

    let mut world = World::new();
    world.group("g", &["id-1", "two"]);
    world.team().access_groups = ids(&["g"]);
    // Names of a team's group are not resolved.
    assert_eq!(world.servers(), "id-1");

    let mut world = World::new();
    world.group("g", &["two"]);
    world.rows.agents.get_mut("a").unwrap().access_groups = ids(&["g"]);
    assert_eq!(world.servers(), "id-2");
    assert_eq!(world.servers_in((1, 103, 11)), "id-1 id-2");
    world.group("g", &[]);
    assert_eq!(world.servers_in(NEWEST), "");
}

#[test]
fn a_row_that_cannot_be_read_denies_above_the_key_and_sets_no_limit_elsewhere() {
    for (level, malformed, gone) in [
        ("key", "", ""),
        ("team", "id-1 id-2", "id-1 id-2"),
        ("end_user", "id-1 id-2", ""),
        ("agent", "", ""),
        ("organization", "", ""),
        ("user", "", ""),
    ] {
        let mut world = World::new();
        world.names("team", &[]);
        world
            .rows
            .permissions
            .insert(format!("p-{level}").into(), None);
        assert_eq!(world.servers(), malformed, "{level}");
        // Until 1.95 it sets no limit.
        if level != "key" {
            assert_eq!(world.servers_in((1, 95, 0)), "id-1 id-2", "{level}");
        }
        world.rows.permissions.remove(format!("p-{level}").as_str());
        assert_eq!(world.servers_in(NEWEST), gone, "{level}");
    }
    // A key's row that cannot be read inherits.
    let mut world = World::new();
    world.names("team", &["id-3"]);
    world
        .rows
        .permissions
        .insert("p-key".to_owned().into(), None);
    assert_eq!(world.servers(), "id-3");
}

#[test]
fn toolsets_grant_a_key_and_limit_above_it_where_an_empty_one_denies() {
    let mut world = World::new();
    world.toolset("s", "id-3", "read");
    world.row("key").toolsets = ids(&["s"]);
    assert_eq!(world.servers(), "id-1 id-2 id-3");
    assert_eq!(world.tools("id-3"), some(&["read"]));
    assert_eq!(world.servers_in((1, 93, 0)), "id-1 id-2");
    for (level, ..) in LEVELS {
        let mut world = World::new();
        world.row(level).toolsets = ids(&["gone"]);
        let expected = if level == "end_user" { "id-1 id-2" } else { "" };
        assert_eq!(world.servers(), expected, "{level}");
        assert_eq!(world.servers_in((1, 99, 0)), "id-1 id-2", "{level}");
        // Those of agents count two releases later.
        let expected = if level == "agent" {
            "id-1 id-2"
        } else {
            expected
        };
        assert_eq!(world.servers_in((1, 101, 0)), expected, "{level}");
    }
}

#[test]
fn tags_without_servers_limit_from_1_106_on() {
    let mut world = World::new();
    world.servers.get_mut("id-1").unwrap().tags = ids(&["tag"]);
    world.row("team").tags = ids(&["tag"]);
    assert_eq!(world.servers(), "id-1");
    world.row("team").tags = ids(&["nobody's"]);
    assert_eq!(world.servers(), "");
    assert_eq!(world.servers_in((1, 105, 0)), "id-1 id-2");
}

#[test]
fn an_end_user_may_have_to_declare() {
    let mut world = World::new();
    world.settings.end_users_must_declare = true;
    assert_eq!(world.servers(), "");
    world.names("end_user", &["id-1"]);
    assert_eq!(world.servers(), "id-1");
}

#[test]
fn open_servers_are_everybodys_unless_the_scope_limits_them() {
    let mut world = World::new();
    world.servers.get_mut("id-3").unwrap().allow_all_keys = true;
    assert_eq!(world.servers(), "id-1 id-2 id-3");
    assert_eq!(world.servers_in((1, 80, 10)), "id-1 id-2");
    world.settings.scope_limits_open_servers = true;
    assert_eq!(world.servers_in(NEWEST), "id-1 id-2");
    assert_eq!(world.servers_in((1, 100, 0)), "id-1 id-2 id-3");
}

#[test]
fn who_submitted_a_server_may_use_it_with_a_key_that_has_no_row() {
    let mut world = World::new();
    world.key().permission = None;
    assert_eq!(world.servers(), "");
    world.servers.get_mut("id-3").unwrap().submitted_by = link("u");
    assert_eq!(world.servers(), "id-3");
    assert_eq!(world.servers_in((1, 91, 0)), "");
}

#[test]
fn an_administrator_sees_all_unless_a_row_or_a_team_binds_the_key() {
    let mut world = World::new();
    world.rows.users.get_mut("u").unwrap().administers = true;
    assert_eq!(world.servers(), "id-1 id-2");
    assert_eq!(world.servers_in((1, 81, 10)), "id-1 id-2 id-3");
    world.key().permission = None;
    assert_eq!(world.servers_in((1, 108, 0)), "id-1 id-2 id-3");
    assert_eq!(world.servers_in(NEWEST), "");
    world.key().team = None;
    assert_eq!(world.servers(), "id-1 id-2 id-3");
}

#[test]
fn tools_are_those_that_every_level_leaves() {
    let mut world = World::new();
    world.row("key").tools = tools_of(&[("one", &["read", "write"]), ("id-1", &["list"])]);
    assert_eq!(world.tools("id-1"), some(&["list", "read", "write"]));
    assert_eq!(world.tools("id-2"), None);
    world.row("key").tools = tools_of(&[("id-1", &["*", "read"])]);
    assert_eq!(world.tools("id-1"), None);
    world.release = (1, 103, 11);
    assert_eq!(world.tools("id-1"), some(&["*", "read"]));
    for (level, ..) in LEVELS {
        let mut world = World::new();
        world.names(level, &["id-1", "id-2"]);
        world.row("key").tools = tools_of(&[("id-1", &["read", "write"])]);
        world.row(level).tools = tools_of(&[("id-1", &["read", "list"])]);
        assert_eq!(world.tools("id-1"), some(&["read"]), "{level}");
        world.row(level).tools = tools_of(&[("id-1", &[])]);
        assert_eq!(world.tools("id-1"), some(&[]), "{level}");
    }
}

#[test]
fn access_groups_limit_tools_unless_the_key_has_a_grant_of_its_own() {
    let mut world = World::new();
    world.group("g", &["id-3"]);
    let group = world.rows.access_groups.get_mut("g").unwrap();
    group.as_mut().unwrap().tools = tools_of(&[("id-3", &["read"])]);
    world.key().access_groups = ids(&["g"]);
    assert_eq!(world.tools("id-3"), some(&["read"]));
    world.release = (1, 107, 0);
    assert_eq!(world.tools("id-3"), None);
    world.release = NEWEST;
    world.names("key", &["id-3"]);
    assert_eq!(world.tools("id-3"), None);
    // A group that is there and cannot be read leaves no tool.
    world.rows.access_groups.insert("g".to_owned().into(), None);
    assert_eq!(world.tools("id-3"), some(&[]));
}

#[test]
fn the_human_behind_an_agent_limits_from_1_104_on() {
    let mut world = World::new();
    let other = AccessTeam {
        permission: link("p-other"),
        ..AccessTeam::default()
    };
    world.rows.teams.insert("other".to_owned().into(), other);
    let row = Permission {
        servers: texts(&["id-2"]),
        ..Permission::default()
    };
    world
        .rows
        .permissions
        .insert("p-other".to_owned().into(), Some(row));
    let behind = |world: &mut World, team: &str| {
        if let Caller::Key { on_behalf_of, .. } = &mut world.caller {
            *on_behalf_of = Some(Human {
                user: None,
                team: link(team),
            });
        }
    };
    behind(&mut world, "other");
    assert_eq!(world.servers(), "id-2");
    assert_eq!(world.servers_in((1, 103, 11)), "id-1 id-2");
    // A team that is gone limits no server, and leaves no tool.
    world.release = NEWEST;
    behind(&mut world, "gone");
    assert_eq!(world.servers(), "id-1 id-2");
    assert_eq!(world.tools("id-1"), some(&[]));
}

#[test]
fn a_team_that_is_gone_limits_neither_servers_nor_tools() {
    let mut world = World::new();
    world.row("key").tools = tools_of(&[("id-1", &["read"])]);
    world.rows.teams.clear();
    assert_eq!(world.servers(), "id-1 id-2");
    assert_eq!(world.tools("id-1"), None);
}

#[test]
fn a_route_of_a_toolset_takes_a_grant_and_is_all_there_is() {
    let mut world = World::new();
    world.toolset("s", "id-3", "read");
    world.on_toolset("s");
    let denied = world.access().denied_by;
    assert_eq!(denied, Some((Level::Toolset, Denial::ToolsetNotGranted)));
    world.row("key").toolsets = ids(&["s"]);
    assert_eq!(world.servers(), "id-3");
    assert_eq!(world.tools("id-3"), some(&["read"]));
    // A key that names nothing takes its team's from 1.105 on.
    let mut world = World::new();
    world.toolset("s", "id-3", "read");
    world.on_toolset("s");
    world.names("key", &[]);
    world.row("team").toolsets = ids(&["s"]);
    assert_eq!(world.servers(), "id-3");
    assert_eq!(world.servers_in((1, 104, 9)), "");
}

#[test]
fn a_session_unites_the_user_and_the_teams_whose_member_it_is() {
    let mut world = World::new();
    world.names("user", &["id-1"]);
    world.names("team", &["id-3"]);
    world.caller = Caller::Session {
        user: UserId("u".to_owned()),
        toolset: None,
    };
    assert_eq!(world.servers(), "id-1 id-3");
    // The first sessions are keys of no team with the user's row.
    assert_eq!(world.servers_in((1, 94, 0)), "id-1");
    assert_eq!(world.servers_in((1, 93, 2)), "");
    world.release = NEWEST;
    world.team().blocked = true;
    assert_eq!(world.servers(), "id-1");
    world.team().blocked = false;
    world.team().members.clear();
    assert_eq!(world.servers(), "id-1");
}

#[test]
fn an_organizations_row_that_cannot_be_read_denies_the_sources_of_a_session_from_1_95_on() {
    for is_gone in [true, false] {
        let mut world = World::new();
        world.names("user", &["id-1"]);
        world.names("team", &["id-3"]);
        world.servers.get_mut("id-2").unwrap().allow_all_keys = true;
        let user = world.rows.users.get_mut("u").unwrap();
        user.organization = link("o");
        world.team().organization = link("another");
        world
            .rows
            .organizations
            .insert("another".to_owned().into(), link("p-another"));
        let rows = [("p-another", Some(Permission::default()))];
        let rows = rows.map(|(id, row)| (id.to_owned().into(), row));
        world.rows.permissions.extend(rows);
        if is_gone {
            world.rows.permissions.remove("p-organization");
        } else {
            let malformed = ("p-organization".to_owned().into(), None);
            world.rows.permissions.extend([malformed]);
        }
        world.caller = Caller::Session {
            user: UserId("u".to_owned()),
            toolset: None,
        };
        for release in [(1, 95, 0), (1, 95, 1), (1, 96, 0), NEWEST] {
            // The team has an organization of its own, and the server is open.
            assert_eq!(world.servers_in(release), "id-2 id-3", "{release:?}");
            // An open server comes through the user, whose organization denies its tools.
            assert_eq!(world.tools("id-2"), some(&[]), "{release:?}");
            assert_eq!(world.tools("id-3"), None, "{release:?}");
        }
        assert_eq!(world.servers_in((1, 94, 0)), "id-1 id-2");
        // A team without an organization has its user's.
        world.team().organization = None;
        assert_eq!(world.servers_in((1, 95, 0)), "id-2");
        // For a key it set no limit until 1.95.
        world.caller = World::new().caller;
        world.names("team", &[]);
        assert_eq!(world.servers_in((1, 95, 0)), "id-1 id-2");
        assert_eq!(world.tools("id-1"), None);
        assert_eq!(world.servers_in((1, 96, 0)), "id-2");
    }
}

#[test]
fn a_key_of_no_team_may_inherit_from_the_teams_of_its_user() {
    let mut world = World::new();
    world.names("key", &[]);
    world.names("team", &["id-3"]);
    world.key().team = None;
    assert_eq!(world.servers(), "");
    world.settings.personal_keys_inherit = true;
    assert_eq!(world.servers(), "id-3");
    assert_eq!(world.servers_in((1, 108, 14)), "");
    world.release = NEWEST;
    world.team().blocked = true;
    assert_eq!(world.servers(), "");
}

#[test]
fn an_unreadable_human_leaves_a_personal_key_no_open_server_that_its_user_submitted() {
    let mut world = World::new();
    world.settings.personal_keys_inherit = true;
    world.settings.scope_limits_open_servers = true;
    world.key().team = None;
    world.key().permission = None;
    for id in ["id-2", "id-3"] {
        world.servers.get_mut(id).unwrap().submitted_by = link("u");
    }
    world.servers.get_mut("id-3").unwrap().allow_all_keys = true;
    world.names("team", &["id-1"]);
    assert_eq!(world.servers(), "id-1 id-2 id-3");
    let other = User {
        permission: link("gone"),
        ..User::default()
    };
    world.rows.users.insert(UserId("other".to_owned()), other);
    if let Caller::Key { on_behalf_of, .. } = &mut world.caller {
        *on_behalf_of = Some(Human {
            user: link("other"),
            team: None,
        });
    }
    assert_eq!(world.servers(), "id-2");
}

#[test]
fn a_caller_without_a_key_has_what_its_team_has() {
    let mut world = World::new();
    world.names("team", &["id-3"]);
    world.caller = Caller::Keyless {
        team: link("t"),
        user: None,
    };
    assert_eq!(world.servers(), "id-3");
    world.names("team", &[]);
    assert_eq!(world.servers(), "");
}

#[test]
fn a_server_needs_approval_from_1_82_2_on() {
    let serves = |(major, minor, patch): Version, approval: Option<&str>| {
        AccessRules::of(Release::new(major, minor, patch)).serves(approval)
    };
    for (approval, in_1_82_1, in_1_82_6, in_1_83_3) in [
        (Some("active"), true, true, true),
        (Some("approved"), true, false, true),
        (None, true, false, true),
        (Some("rejected"), true, false, false),
    ] {
        assert_eq!(serves((1, 82, 1), approval), in_1_82_1, "{approval:?}");
        assert_eq!(serves((1, 82, 6), approval), in_1_82_6, "{approval:?}");
        assert_eq!(serves((1, 83, 3), approval), in_1_83_3, "{approval:?}");
    }
}

#[test]
fn toolsets_have_routes_from_1_83_3_on() {
    let has_routes = |(major, minor, patch): Version| {
        AccessRules::of(Release::new(major, minor, patch)).has_toolset_routes()
    };
    assert!(has_routes((1, 83, 3)) && !has_routes((1, 83, 2)));
}

#[test]
fn the_team_of_the_dashboard_is_no_team_that_is_gone() {
    let mut world = World::new();
    world.row("key").tools = tools_of(&[("id-1", &["read"])]);
    world.key().team = link("litellm-dashboard");
    assert_eq!(world.tools("id-1"), some(&["read"]));
    world.release = (1, 92, 2);
    assert_eq!(world.tools("id-1"), None);
}

#[test]
fn a_session_on_the_route_of_a_toolset_is_limited_to_it_from_1_105_on() {
    let mut world = World::new();
    world.toolset("s", "id-3", "read");
    world.row("user").toolsets = ids(&["s"]);
    world.names("team", &["id-1"]);
    world.caller = Caller::Session {
        user: UserId("u".to_owned()),
        toolset: link("s"),
    };
    assert_eq!(world.servers(), "id-3");
    assert_eq!(world.servers_in((1, 104, 9)), "id-1 id-3");
    // A session of the dashboard acts as its user there.
    world.release = NEWEST;
    world.caller = World::new().caller;
    world.on_toolset("s");
    world.names("key", &["id-2"]);
    assert_eq!(world.servers(), "");
    world.key().team = link("litellm-dashboard");
    assert_eq!(world.servers(), "id-3");
}

#[test]
fn the_deny_marker_of_a_user_leaves_the_dashboard_what_a_team_has_on_the_route_of_a_toolset() {
    let mut world = World::new();
    world.toolset("s", "id-3", "read");
    world.names("user", &["no-mcp-servers"]);
    world.row("team").toolsets = ids(&["s"]);
    world.on_toolset("s");
    world.key().team = link("litellm-dashboard");
    assert_eq!(world.servers(), "id-3");
    world.caller = Caller::Session {
        user: UserId("u".to_owned()),
        toolset: link("s"),
    };
    assert_eq!(world.servers(), "");
}

#[test]
fn a_session_of_an_administrator_sees_all_from_1_99_on() {
    let mut world = World::new();
    world.rows.users.get_mut("u").unwrap().administers = true;
    world.caller = Caller::Session {
        user: UserId("u".to_owned()),
        toolset: None,
    };
    assert_eq!(world.servers(), "id-1 id-2 id-3");
    assert_eq!(world.servers_in((1, 98, 1)), "");
    world.names("user", &["id-1"]);
    assert_eq!(world.servers_in(NEWEST), "id-1");
}

#[test]
fn a_malformed_row_lifted_the_limits_of_tools_until_1_81_13() {
    let mut world = World::new();
    world.names("team", &["id-1"]);
    world.row("team").tools = tools_of(&[("id-1", &["read"])]);
    world
        .rows
        .permissions
        .insert("p-key".to_owned().into(), None);
    world.release = (1, 81, 14);
    assert_eq!(world.tools("id-1"), some(&["read"]));
    world.release = (1, 81, 10);
    assert_eq!(world.tools("id-1"), None);
}

#[test]
fn a_session_has_all_tools_of_a_server_that_it_submitted_and_a_team_grants() {
    let mut world = World::new();
    world.row("team").tools = tools_of(&[("id-3", &["read"])]);
    world.caller = Caller::Session {
        user: UserId("u".to_owned()),
        toolset: None,
    };
    assert_eq!(world.tools("id-3"), some(&["read"]));
    world.servers.get_mut("id-3").unwrap().submitted_by = link("u");
    assert_eq!(world.tools("id-3"), None);
    world.servers.get_mut("id-2").unwrap().submitted_by = link("u");
    assert_eq!(world.servers(), "id-3");
}

#[test]
fn an_agents_row_with_malformed_tools_was_read_in_part_until_1_88() {
    let mut world = World::new();
    let row = Permission {
        servers: texts(&["id-1"]),
        ..Permission::default()
    };
    world
        .rows
        .permissions
        .insert("p-agent".to_owned().into(), None);
    world
        .rows
        .without_tools
        .insert("p-agent".to_owned().into(), row);
    assert_eq!(world.servers_in((1, 88, 6)), "id-1");
    assert_eq!(world.servers_in((1, 92, 0)), "id-1 id-2");
}

thread_local! {
    /// The line of `rules.rs` whose rule is turned round; 0 is none.
    static BROKEN: Cell<u32> = const { Cell::new(0) };
}

/// Tells whether the rule on this line of `rules.rs` is to say the opposite.
pub(super) fn is_broken(line: u32) -> bool {
    BROKEN.get() == line
}

/// The tests above.
const TESTS: [fn(); 37] = [
    the_deny_marker_of_a_user_leaves_the_dashboard_what_a_team_has_on_the_route_of_a_toolset,
    an_unreadable_human_leaves_a_personal_key_no_open_server_that_its_user_submitted,
    an_agents_row_with_malformed_tools_was_read_in_part_until_1_88,
    a_session_has_all_tools_of_a_server_that_it_submitted_and_a_team_grants,
    rows_that_name_nothing_set_no_limit,
    each_level_limits_from_its_first_release_on,
    a_list_of_stale_entries_alone_denies_at_each_level,
    before_1_72_no_row_counts_and_before_1_80_nothing_is_everything,
    a_key_that_names_nothing_inherits_unless_it_has_to_declare,
    an_organization_becomes_the_grant_where_nothing_below_it_limits,
    names_resolve_from_1_83_14_and_a_shared_name_means_every_server,
    keys_of_tool_permissions_grant_from_1_82_1_and_on_agents_from_1_105,
    the_deny_marker_denies_a_key_even_open_servers,
    all_servers_is_a_word_for_teams_from_1_92_on,
    access_groups_add_to_a_key_and_limit_a_team_and_an_agent,
    a_row_that_cannot_be_read_denies_above_the_key_and_sets_no_limit_elsewhere,
    toolsets_grant_a_key_and_limit_above_it_where_an_empty_one_denies,
    tags_without_servers_limit_from_1_106_on,
    an_end_user_may_have_to_declare,
    open_servers_are_everybodys_unless_the_scope_limits_them,
    who_submitted_a_server_may_use_it_with_a_key_that_has_no_row,
    an_administrator_sees_all_unless_a_row_or_a_team_binds_the_key,
    tools_are_those_that_every_level_leaves,
    access_groups_limit_tools_unless_the_key_has_a_grant_of_its_own,
    the_human_behind_an_agent_limits_from_1_104_on,
    a_team_that_is_gone_limits_neither_servers_nor_tools,
    a_route_of_a_toolset_takes_a_grant_and_is_all_there_is,
    a_session_unites_the_user_and_the_teams_whose_member_it_is,
    an_organizations_row_that_cannot_be_read_denies_the_sources_of_a_session_from_1_95_on,
    a_key_of_no_team_may_inherit_from_the_teams_of_its_user,
    a_caller_without_a_key_has_what_its_team_has,
    a_server_needs_approval_from_1_82_2_on,
    toolsets_have_routes_from_1_83_3_on,
    the_team_of_the_dashboard_is_no_team_that_is_gone,
    a_session_on_the_route_of_a_toolset_is_limited_to_it_from_1_105_on,
    a_session_of_an_administrator_sees_all_from_1_99_on,
    a_malformed_row_lifted_the_limits_of_tools_until_1_81_13,
];

#[test]
fn each_rule_that_is_turned_round_fails_a_test() {
    let mut rules = 0;
    let mut unnoticed = Vec::new();
    for (number, line) in (1..).zip(include_str!("rules.rs").lines()) {
        let asks = [".since(", ".reaches("]
            .iter()
            .any(|call| line.contains(call));
        if !asks || line.contains("self.reaches(Release::new(") {
            continue;
        }
        rules += 1;
        BROKEN.set(number);
        if TESTS.iter().all(|test| catch_unwind(test).is_ok()) {
            unnoticed.push(format!("line {number}: {}", line.trim()));
        }
        BROKEN.set(0);
    }
    assert!(rules > 40, "{rules}");
    assert_eq!(unnoticed, Vec::<String>::new());
}

/// Reads the text of the rules, so that a new one is not forgotten.
#[test]
fn every_release_in_which_a_rule_changed_is_listed() {
    assert!(CHANGES.is_sorted_by(|a, b| a < b));
    let mut rules = 0;
    for line in include_str!("rules.rs").lines() {
        let Some((_, numbers)) = line.split_once("self.since(") else {
            continue;
        };
        let (numbers, _) = numbers.split_once(')').unwrap();
        let numbers: Result<Vec<u16>, _> = numbers.split(", ").map(str::parse).collect();
        // One rule holds for some patch releases: see below.
        let Ok([major, minor, patch]) = numbers.as_deref() else {
            continue;
        };
        rules += 1;
        let release = Release::new(*major, *minor, *patch);
        assert!(CHANGES.contains(&release), "{release} of: {line}");
    }
    assert!(rules > 30, "{rules}");
    for release in (80..112).flat_map(|minor| (0..20).map(move |p| Release::new(1, minor, p))) {
        let change = CHANGES.into_iter().rev().find(|change| *change <= release);
        let as_changed = AccessRules::of(change.unwrap()).knows_the_deny_marker();
        let found = AccessRules::of(release).knows_the_deny_marker();
        assert_eq!(found, as_changed, "{release}");
    }
}

#[test]
fn the_rules_up_to_the_next_marker_are_those_that_a_schema_may_have() {
    let later = |release| -> Vec<String> {
        let later = AccessRules::later(release);
        later.map(|rules| rules.release().to_string()).collect()
    };
    assert_eq!(later(Release::new(1, 95, 0)), ["1.96.0"]);
    assert_eq!(later(Release::new(1, 97, 0)), ["1.99.0", "1.100.0"]);
    assert_eq!(later(Release::new(1, 108, 0)), ["1.109.0"]);
    assert_eq!(later(Release::new(1, 105, 0)), <[&str; 0]>::default());
}
