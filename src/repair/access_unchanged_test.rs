//! Tests the property that the whole tool stands on: a repair changes nobody's access.
//!
//! The tests compare which servers a caller reaches before and after a repair, by a model of
//! LiteLLM's authorisation that shares no code with the planner.
//!
//! Source: LiteLLM 1.109.1 `proxy/mcp_server/auth/user_api_key_auth_mcp.py`
//! (`get_mcp_server_access` and what it calls), `proxy/mcp_server/mcp_server_manager.py`,
//! `proxy/mcp_server/server.py` (`apply_toolset_scope`) and
//! `proxy/mcp_server/ui_session_utils.py` (`granted_toolset_ids`), and the same functions of
//! 1.92.2.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::litellm::access_context::{AccessContext, Grants, LitellmBehavior, RelatedGrants, Team};
use crate::litellm::empty_list_effect::Effect;
use crate::litellm::ids::{
    AccessGroupId, AgentId, OrganizationId, PermissionKey, ServerId, TeamId, ToolsetId, UserId,
};
use crate::litellm::owners::{KeyTies, Owner, OwnerKind, Parents};
use crate::litellm::reference_sites::{
    ACCESS_GROUP_SERVERS, ACCESS_GROUPS, GrantKind, Group, PERMISSIONS, Shape, Site, SiteTable,
    TOOLSET_TOOLS, TOOLSETS,
};
use crate::litellm::release::Release;
use crate::litellm::row::{Cell, Row};
use crate::litellm::server::{ConfigServers, Server};
use crate::litellm::server_catalog::ServerCatalog;
use crate::litellm::value::{Tool, Value};
use crate::repair::plan::RowPlan;
use crate::repair::policy::{OnEmpty, Policy};

const GONE: [&str; 2] = [
    "0b8f8e0c-2f5d-4a51-9a35-1f4a1c9f7d10",
    "7d1c1e6e-51a5-4c6f-8f6f-5f0f5e1d2c3b",
];

/// The id, name and tag of every server.
const SERVERS: [(&str, &str, &str); 3] = [
    ("id-1", "one", "tag-1"),
    ("id-2", "two", "tag-2"),
    ("id-3", "three", "tag-2"),
];

/// The ids of the toolsets that exist.
const SETS: [&str; 2] = ["set-1", "set-2"];

/// The ids of the access groups that exist.
const GROUPS: [&str; 2] = ["group-1", "group-2"];

/// A key and its owners, each with the number of its permission row; several may share a row.
#[derive(Debug, Clone)]
struct Grantees {
    rows: Vec<Grants>,
    /// The servers that each of [`SETS`] names, one for each tool.
    sets: BTreeMap<String, Vec<String>>,
    /// The servers that each of [`GROUPS`] names.
    groups: BTreeMap<String, Vec<String>>,
    open: bool,
    key: usize,
    key_groups: Vec<String>,
    team: Option<usize>,
    team_groups: Vec<String>,
    organization: Option<usize>,
    user: Option<usize>,
    agent: Option<usize>,
    agent_groups: Vec<String>,
    end_user: Option<usize>,
}

type Servers = BTreeSet<String>;

/// The release that the model is for. It stands for all since the last rules came: agents' groups
/// (1.104), agents' tool keys (1.105) and dead tags that deny (1.106).
const NOW: Release = Release::AGENT_TOOL_KEYS_COUNT;

fn set(texts: &[&str]) -> Servers {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Keys the servers of groups or toolsets by typed ids.
fn by_id<I: Ord>(
    servers: &BTreeMap<String, Vec<String>>,
    id: fn(String) -> I,
) -> BTreeMap<I, Vec<String>> {
    let servers = servers.iter();
    servers
        .map(|(of, named)| (id(of.clone()), named.clone()))
        .collect()
}

/// Lists the servers that the given groups or toolsets name; those that are gone name nothing.
fn named<'a>(
    there: &'a BTreeMap<String, Vec<String>>,
    ids: &'a [String],
) -> impl Iterator<Item = &'a String> {
    ids.iter().filter_map(|id| there.get(id)).flatten()
}

/// Expands references like LiteLLM's `expand_permission_list`: ids first, then names; what is
/// neither passes through.
fn expand<'a>(references: impl IntoIterator<Item = &'a String>) -> Servers {
    let ids = |reference: &String| {
        let known = SERVERS.iter().filter(|(id, _, _)| id == reference);
        let mut found: Servers = known.map(|(id, _, _)| (*id).to_owned()).collect();
        if found.is_empty() {
            let named = SERVERS.iter().filter(|(_, name, _)| name == reference);
            found = named.map(|(id, _, _)| (*id).to_owned()).collect();
        }
        if found.is_empty() {
            found.insert(reference.clone());
        }
        found
    };
    references.into_iter().flat_map(ids).collect()
}

impl Grantees {
    /// Returns the servers that one level names: none where it does not restrict, and `None` where
    /// it denies everything.
    fn scope(&self, grants: &Grants, level: OwnerKind, release: Release) -> Option<Servers> {
        // `_team_granted_servers`
        if level == OwnerKind::Team && grants.servers.iter().any(|s| s == "all-proxy-mcpservers") {
            return Some(SERVERS.iter().map(|(id, _, _)| (*id).to_owned()).collect());
        }
        let mut scope = expand(&grants.servers);
        if level != OwnerKind::Agent || release >= NOW {
            scope.extend(expand(&grants.tool_keys));
        }
        let tagged = SERVERS
            .iter()
            .filter(|(_, _, tag)| grants.tags.iter().any(|t| t == tag));
        scope.extend(tagged.map(|(id, _, _)| (*id).to_owned()));
        // Toolsets are read by their own route alone in 1.92.2, and never of an end user
        // (`_get_allowed_mcp_servers_for_end_user`).
        if release >= Release::TOOLSETS_COUNT && level != OwnerKind::EndUser {
            // `resolve_toolset_tool_permissions`: ids as they are, live or not.
            let mut of_sets = named(&self.sets, &grants.toolsets).peekable();
            // `_toolset_tool_permissions`, which `_get_allowed_mcp_servers_for_key` does without:
            // toolsets that come to nothing are an error, and that denies.
            if level != OwnerKind::Key && !grants.toolsets.is_empty() && of_sets.peek().is_none() {
                return None;
            }
            scope.extend(of_sets.cloned());
        }
        // `_team_granted_servers`: the references of a team's groups are not expanded.
        if level == OwnerKind::Team {
            scope.extend(named(&self.groups, &self.team_groups).cloned());
        }
        // `_server_grants_with_group_scope`
        if scope.is_empty() && !grants.tags.is_empty() && release >= NOW {
            scope.insert("no-mcp-servers".to_owned());
        }
        Some(scope)
    }

    /// Returns the servers that the key reaches: in general, and by the route of each toolset.
    fn reach(&self, release: Release) -> Vec<Servers> {
        let key = &self.rows[self.key];
        if key.servers.iter().any(|s| s == "no-mcp-servers") {
            return vec![Servers::new(); 1 + SETS.len()];
        }
        let mut reach = vec![self.reach_with(key, release)];
        // `granted_toolset_ids` and `_own_toolset_ids`; in 1.92.2 `_apply_toolset_scope`, by which
        // no key inherits a toolset.
        let declares_nothing = key.servers.is_empty()
            && key.toolsets.is_empty()
            && key.tool_keys.is_empty()
            && key.tags.is_empty();
        let granted = match self.team {
            Some(team) if declares_nothing && release >= Release::TOOLSETS_COUNT => {
                &self.rows[team].toolsets
            }
            Some(_) | None => &key.toolsets,
        };
        for (id, servers) in &self.sets {
            // `apply_toolset_scope`: the servers of the toolset replace those of the key.
            let pinned = Grants {
                servers: servers.clone(),
                tool_keys: servers.clone(),
                tags: key.tags.clone(),
                toolsets: Vec::new(),
            };
            reach.push(if granted.contains(id) {
                self.reach_with(&pinned, release)
            } else {
                Servers::new()
            });
        }
        reach
    }

    /// Returns the servers that the key reaches with these grants: those that its levels let
    /// through and those open to all (`MCPServerManager.get_allowed_mcp_servers`).
    fn reach_with(&self, key: &Grants, release: Release) -> Servers {
        let mut reach = self.let_through(key, release).unwrap_or_default();
        if self.open {
            reach.insert("id-3".to_owned());
        }
        reach.retain(|server| SERVERS.iter().any(|(id, _, _)| id == server));
        reach
    }

    /// Applies every level like `get_mcp_server_access`; `None` where one level denies everything.
    fn let_through(&self, key: &Grants, release: Release) -> Option<Servers> {
        let team_row = self.team.map(|row| &self.rows[row]);
        let team = match team_row {
            Some(row) => self.scope(row, OwnerKind::Team, release)?,
            None => Servers::new(),
        };
        // `_key_or_team_declares_toolsets`
        let declares_toolsets = release >= Release::TOOLSETS_COUNT
            && (!key.toolsets.is_empty() || team_row.is_some_and(|row| !row.toolsets.is_empty()));
        let key = self.scope(key, OwnerKind::Key, release)?;
        // `_get_key_access_group_mcp_server_extras`
        let extra = expand(named(&self.groups, &self.key_groups));
        let mut restricted =
            declares_toolsets || !(key.is_empty() && team.is_empty() && extra.is_empty());
        let mut reach: Servers = match (key.is_empty(), team.is_empty()) {
            (_, true) => key,
            (true, false) => team,
            (false, false) => key.intersection(&team).cloned().collect(),
        };
        reach.extend(extra);
        let mut cap = |reach: &mut Servers, ceiling: &Servers| {
            restricted = true;
            reach.retain(|server| ceiling.contains(server));
        };
        for (row, level) in [
            (self.end_user, OwnerKind::EndUser),
            (self.agent, OwnerKind::Agent),
            (self.user, OwnerKind::User),
        ] {
            let Some(row) = row else { continue };
            let ceiling = self.scope(&self.rows[row], level, release)?;
            if !ceiling.is_empty() {
                cap(&mut reach, &ceiling);
            }
        }
        // `_get_agent_access_group_server_ceiling`: groups that name nothing deny.
        if self.agent.is_some() && !self.agent_groups.is_empty() && release >= NOW {
            cap(&mut reach, &expand(named(&self.groups, &self.agent_groups)));
        }
        // `_apply_primary_org_ceiling`
        if let Some(row) = self.organization {
            let ceiling = self.scope(&self.rows[row], OwnerKind::Organization, release)?;
            if !ceiling.is_empty() && restricted {
                reach.retain(|server| ceiling.contains(server));
            } else if !ceiling.is_empty() {
                reach = ceiling;
            }
        }
        Some(reach)
    }

    fn owners(&self, row: usize) -> Vec<Owner> {
        let owner = |kind: OwnerKind, parents: Parents| {
            let ties = KeyTies {
                parents,
                has_access_groups: !self.key_groups.is_empty(),
            };
            Owner::new(kind, kind.name().to_owned(), None, ties)
        };
        let named = |kind: OwnerKind, row: Option<usize>| row.map(|_| kind.name().to_owned());
        let parents = Parents {
            team: named(OwnerKind::Team, self.team).map(TeamId),
            organization: named(OwnerKind::Organization, self.organization).map(OrganizationId),
            user: named(OwnerKind::User, self.user).map(UserId),
            agent: named(OwnerKind::Agent, self.agent).map(AgentId),
        };
        let mut owners = Vec::new();
        if self.key == row {
            owners.push(owner(OwnerKind::Key, parents));
        }
        for (kind, at) in [
            (OwnerKind::Team, self.team),
            (OwnerKind::Organization, self.organization),
            (OwnerKind::User, self.user),
            (OwnerKind::EndUser, self.end_user),
            (OwnerKind::Agent, self.agent),
        ] {
            if at == Some(row) {
                owners.push(owner(kind, Parents::default()));
            }
        }
        owners
    }

    fn catalog(&self) -> ServerCatalog {
        let servers = SERVERS.map(|(id, name, tag)| Server {
            server_id: ServerId(id.to_owned()),
            server_name: Some(name.to_owned()),
            alias: None,
            approval_status: None,
            tags: vec![tag.to_owned()],
            allow_all_keys: self.open && id == "id-3",
        });
        ServerCatalog::new(&servers, BTreeSet::new(), ConfigServers::Known(Vec::new()))
            .with_toolsets(set(&SETS))
    }

    fn related_grants(&self) -> RelatedGrants {
        let rows = self.rows.iter().enumerate();
        RelatedGrants {
            rows: rows
                .map(|(at, g)| (PermissionKey(at.to_string()), g.clone()))
                .collect(),
            teams: BTreeMap::from([(
                TeamId("team".to_owned()),
                Team {
                    permissions: self.team.map(|row| PermissionKey(row.to_string())),
                    organization: None,
                    access_groups: self
                        .team_groups
                        .iter()
                        .cloned()
                        .map(AccessGroupId)
                        .collect(),
                },
            )]),
            organizations: BTreeMap::from([(
                OrganizationId("organization".to_owned()),
                self.organization.map(|row| PermissionKey(row.to_string())),
            )]),
            toolsets: by_id(&self.sets, ToolsetId),
            access_groups: by_id(&self.groups, AccessGroupId),
            ..RelatedGrants::default()
        }
    }

    fn plan_row(
        &self,
        table: &'static SiteTable,
        row: &Row,
        release: Release,
        on_empty: OnEmpty,
    ) -> RowPlan {
        let context = AccessContext {
            behavior: LitellmBehavior {
                release,
                owners_known: true,
            },
            catalog: &self.catalog(),
            related: &self.related_grants(),
            all_cleared: on_empty == OnEmpty::Clear,
        };
        let policy = Policy {
            on_empty,
            ..Policy::default()
        };
        RowPlan::of(table, row, context, policy)
    }

    fn plan(&self, at: usize, release: Release, on_empty: OnEmpty) -> RowPlan {
        let mut grants = self.rows[at].clone();
        let sites = PERMISSIONS.sites.iter();
        let cells = sites.map(|site| (site, grants.list_mut(kind(site)).clone()));
        let row = row(&at.to_string(), cells, self.owners(at));
        self.plan_row(&PERMISSIONS, &row, release, on_empty)
    }

    fn repaired(&self, release: Release, on_empty: OnEmpty, places: &[Group]) -> Self {
        let mut repaired = self.clone();
        if places.contains(&Group::AccessGroups) {
            for (id, servers) in &mut repaired.groups {
                let row = row(id, [(&ACCESS_GROUP_SERVERS, servers.clone())], vec![]);
                let plan = self.plan_row(&ACCESS_GROUPS, &row, release, on_empty);
                replace(servers, &plan, &ACCESS_GROUP_SERVERS);
            }
        }
        if places.contains(&Group::Toolsets) {
            for (id, servers) in &mut repaired.sets {
                let row = row(id, [(&TOOLSET_TOOLS, servers.clone())], vec![]);
                let plan = self.plan_row(&TOOLSETS, &row, release, on_empty);
                replace(servers, &plan, &TOOLSET_TOOLS);
            }
        }
        if places.contains(&Group::Permissions) {
            // Groups and toolsets are repaired before the grants related to the rows are read.
            let read = repaired.clone();
            for (at, grants) in repaired.rows.iter_mut().enumerate() {
                let plan = read.plan(at, release, on_empty);
                for site in PERMISSIONS.sites {
                    replace(grants.list_mut(kind(site)), &plan, site);
                }
            }
        }
        repaired
    }
}

fn kind(site: &Site) -> GrantKind {
    site.grants.expect("a site of the permission table grants")
}

/// Builds a row that holds these references at these sites.
fn row(
    key: &str,
    cells: impl IntoIterator<Item = (&'static Site, Vec<String>)>,
    owners: Vec<Owner>,
) -> Row {
    let cells = cells.into_iter().map(|(site, references)| Cell {
        site,
        stored: Ok(value(site.shape, references)),
    });
    Row {
        key: key.to_owned(),
        cells: cells.collect(),
        owners,
    }
}

/// Builds a value of that shape that holds `references`.
fn value(shape: Shape, references: Vec<String>) -> Value {
    match shape {
        Shape::TextArray | Shape::JsonArray => Value::Array(references),
        Shape::JsonKeys => Value::Keys(
            references
                .into_iter()
                .map(|key| (key, Vec::new()))
                .collect(),
        ),
        Shape::JsonTools => {
            let tool = |server_id| Tool {
                server_id,
                tool_name: "tool".to_owned(),
            };
            Value::Tools(references.into_iter().map(tool).collect())
        }
    }
}

/// Replaces `references` with what the plan leaves at a site, if it changes it.
fn replace(references: &mut Vec<String>, plan: &RowPlan, site: &Site) {
    if let Some(edit) = plan.edits.iter().find(|edit| edit.site() == site) {
        *references = edit.after().references().map(str::to_owned).collect();
    }
}

fn texts(from: &[&'static str], most: usize) -> impl Strategy<Value = Vec<String>> + use<> {
    let one = prop::sample::select(from.to_vec()).prop_map(str::to_owned);
    prop::collection::vec(one, 0..=most)
}

fn grants() -> impl Strategy<Value = Grants> {
    let [one, two] = GONE;
    let servers = [
        "id-1",
        "two",
        "id-3",
        "all-proxy-mcpservers",
        one,
        two,
        one,
        two,
    ];
    let keys = ["one", "id-2", one, two];
    let seldom = |texts| prop_oneof![3 => Just(vec![]), 1 => texts];
    let any = (
        texts(&servers, 2),
        texts(&keys, 1),
        seldom(texts(&["tag-2", "dead"], 1)),
        seldom(texts(&[SETS[0], SETS[1], "set-gone"], 2)),
    );
    let any = any.prop_map(|(servers, tool_keys, tags, toolsets)| Grants {
        servers,
        tool_keys,
        tags,
        toolsets,
    });
    // Rows that grant nothing are frequent: then all depends on what else the owner has.
    prop_oneof![1 => Just(Grants::default()), 2 => any]
}

/// Generates the servers that each of two groups or toolsets names, by id.
fn contents(of: [&'static str; 2]) -> impl Strategy<Value = BTreeMap<String, Vec<String>>> {
    let one = || {
        let [one, two] = GONE;
        let stale = Just(vec![one.to_owned()]);
        prop_oneof![1 => stale, 2 => texts(&["id-1", "two", one, two], 3)]
    };
    let contents = [one(), one()];
    contents.prop_map(move |contents| of.map(str::to_owned).into_iter().zip(contents).collect())
}

fn grantees() -> impl Strategy<Value = Grantees> {
    // A row in ten is shared.
    let level = |own: usize| {
        prop_oneof![
            5 => Just(None),
            4 => Just(Some(own)),
            1 => (0..6_usize).prop_map(Some),
        ]
    };
    let groups =
        || prop_oneof![2 => Just(vec![]), 1 => texts(&[GROUPS[0], GROUPS[1], "group-gone"], 2)];
    (
        prop::collection::vec(grants(), 6),
        contents(SETS),
        contents(GROUPS),
        prop::bool::weighted(0.2),
        [groups(), groups(), groups()],
        (level(1), level(2), level(3), level(4), level(5)),
    )
        .prop_map(|(rows, sets, groups, open, has, levels)| {
            let (team, organization, user, agent, end_user) = levels;
            let [key_groups, team_groups, agent_groups] = has;
            Grantees {
                rows,
                sets,
                groups,
                open,
                key: 0,
                key_groups,
                team,
                team_groups,
                organization,
                user,
                agent,
                agent_groups,
                end_user,
            }
        })
}

/// Generates the places that an operator chooses to repair.
fn places() -> impl Strategy<Value = Vec<Group>> {
    let all = vec![Group::AccessGroups, Group::Toolsets, Group::Permissions];
    prop_oneof![Just(all.clone()), prop::sample::subsequence(all, 1..3)]
}

fn releases() -> impl Strategy<Value = Release> {
    prop::sample::select(vec![Release::KNOWS_MARKERS, NOW])
}

const DENY: OnEmpty = OnEmpty::Deny {
    accept_narrowing: false,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn hold_and_deny_change_nobodys_access(
        grantees in grantees(),
        release in releases(),
        places in places(),
    ) {
        for on_empty in [OnEmpty::Hold, DENY] {
            let repaired = grantees.repaired(release, on_empty, &places);
            prop_assert_eq!(repaired.reach(release), grantees.reach(release), "{:?}", on_empty);
        }
    }

    #[test]
    fn accepting_narrowing_never_widens(
        grantees in grantees(),
        release in releases(),
        places in places(),
    ) {
        let on_empty = OnEmpty::Deny { accept_narrowing: true };
        let repaired = grantees.repaired(release, on_empty, &places).reach(release);
        for (after, before) in repaired.iter().zip(grantees.reach(release)) {
            prop_assert!(after.is_subset(&before));
        }
    }

    #[test]
    fn clearing_a_key_gives_no_more_than_was_said(
        mut grantees in grantees(),
        release in releases(),
        places in places(),
    ) {
        // The report announces what a lifted ceiling lets through at the row that is the ceiling.
        grantees.rows[grantees.key] = Grants {
            servers: vec![GONE[0].to_owned()],
            ..Grants::default()
        };
        grantees.key_groups.clear();
        let plan = grantees.plan(grantees.key, release, OnEmpty::Clear);
        prop_assume!(plan.audit.impacts.len() == 1);
        let cleared = grantees.repaired(release, OnEmpty::Clear, &places);
        let if_emptied = plan.audit.impacts[0].if_emptied.as_ref().unwrap();
        let said = match &if_emptied.effect {
            Effect::InheritsTeam(inherited) | Effect::InheritsOrganization(inherited) => {
                let servers = inherited.servers.iter();
                servers.map(ServerId::to_string).collect()
            }
            Effect::LiftsCeiling { .. } | Effect::OpensAll | Effect::Nothing => Servers::new(),
        };
        // By whatever route.
        let all =
            |one: &Grantees| one.reach(release).into_iter().flatten().collect::<Servers>();
        let (before, after) = (all(&grantees), all(&cleared));
        let gained: Servers = after.difference(&before).cloned().collect();
        prop_assert!(gained.is_subset(&said), "gained {:?}, said {:?}", gained, said);
    }
}
