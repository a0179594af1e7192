//! The property that the whole tool stands on: a repair changes nobody's access.
//!
//! Held against a model of LiteLLM's authorisation, written after LiteLLM 1.109.1
//! `mcp_server/auth/user_api_key_auth_mcp.py` (`get_allowed_mcp_servers` and what it calls) and
//! sharing no code with the planner: whom a world lets reach what, before and after.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::plan::RowPlan;
use super::policy::{OnEmpty, Policy};
use crate::litellm::access::{Grants, Regime, Surroundings, Team, World};
use crate::litellm::emptied::Effect;
use crate::litellm::owners::{Owner, OwnerKind, Parents};
use crate::litellm::release::Release;
use crate::litellm::row::{Cell, Row, Value};
use crate::litellm::server::{ConfigServers, Server, ServerCatalog};
use crate::litellm::sites::PERMISSIONS;

const GONE: [&str; 2] = [
    "0b8f8e0c-2f5d-4a51-9a35-1f4a1c9f7d10",
    "7d1c1e6e-51a5-4c6f-8f6f-5f0f5e1d2c3b",
];

/// Id, name and tag of every server.
const SERVERS: [(&str, &str, &str); 3] = [
    ("id-1", "one", "tag-1"),
    ("id-2", "two", "tag-2"),
    ("id-3", "three", "tag-2"),
];

const TOOLSET: (&str, &str) = ("set", "id-2");
const GROUP: (&str, [&str; 2]) = ("group", ["id-1", GONE[0]]);

/// A key and whom it belongs to, each with a permission row by number; one row may serve several.
#[derive(Debug, Clone)]
struct Grantees {
    rows: Vec<Grants>,
    open: bool,
    key: usize,
    key_has_group: bool,
    team: Option<usize>,
    team_has_group: bool,
    organization: Option<usize>,
    user: Option<usize>,
    agent: Option<usize>,
    end_user: Option<usize>,
}

type Servers = BTreeSet<String>;

fn set(texts: &[&str]) -> Servers {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// LiteLLM's `expand_permission_list`: ids, then names; what is neither passes through.
fn expand(references: &[String]) -> Servers {
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
    references.iter().flat_map(ids).collect()
}

impl Grantees {
    /// What one level names.
    fn scope(&self, row: usize, level: OwnerKind, release: Release) -> Servers {
        let grants = &self.rows[row];
        if level == OwnerKind::Team && grants.servers.iter().any(|s| s == "all-proxy-mcpservers") {
            return SERVERS.iter().map(|(id, _, _)| (*id).to_owned()).collect();
        }
        let mut scope = expand(&grants.servers);
        if level != OwnerKind::Agent || release >= Release::AGENT_TOOL_KEYS_COUNT {
            scope.extend(expand(&grants.tool_keys));
        }
        if level != OwnerKind::EndUser && !grants.toolsets.is_empty() {
            scope.insert(TOOLSET.1.to_owned());
        }
        let tagged = SERVERS
            .iter()
            .filter(|(_, _, tag)| grants.tags.iter().any(|t| t == tag));
        scope.extend(tagged.map(|(id, _, _)| (*id).to_owned()));
        if scope.is_empty() && !grants.tags.is_empty() && release >= Release::AGENT_TOOL_KEYS_COUNT
        {
            scope.insert("no-mcp-servers".to_owned());
        }
        scope
    }

    /// The servers that the key reaches.
    fn reach(&self, release: Release) -> Servers {
        let everywhere = if self.open { set(&["id-3"]) } else { set(&[]) };
        let denies = |s: &String| s == "no-mcp-servers";
        if self.rows[self.key].servers.iter().any(denies) {
            return Servers::new();
        }
        let key = self.scope(self.key, OwnerKind::Key, release);
        let mut team = Servers::new();
        if let Some(row) = self.team {
            team = self.scope(row, OwnerKind::Team, release);
            if self.team_has_group {
                team.extend(set(&GROUP.1));
            }
        }
        let extra = if self.key_has_group {
            set(&GROUP.1)
        } else {
            Servers::new()
        };
        let mut restricted = !(key.is_empty() && team.is_empty() && extra.is_empty());
        let mut reach: Servers = match (key.is_empty(), team.is_empty()) {
            (_, true) => key,
            (true, false) => team,
            (false, false) => key.intersection(&team).cloned().collect(),
        };
        reach.extend(extra);
        for (row, level) in [
            (self.end_user, OwnerKind::EndUser),
            (self.agent, OwnerKind::Agent),
            (self.user, OwnerKind::User),
        ] {
            let Some(row) = row else { continue };
            let ceiling = self.scope(row, level, release);
            if !ceiling.is_empty() {
                restricted = true;
                reach.retain(|server| ceiling.contains(server));
            }
        }
        if let Some(row) = self.organization {
            let ceiling = self.scope(row, OwnerKind::Organization, release);
            if !ceiling.is_empty() && restricted {
                reach.retain(|server| ceiling.contains(server));
            } else if !ceiling.is_empty() {
                reach = ceiling;
            }
        }
        reach.extend(everywhere);
        reach.retain(|server| SERVERS.iter().any(|(id, _, _)| id == server));
        reach
    }

    fn owners(&self, row: usize) -> Vec<Owner> {
        let owner = |kind: OwnerKind, parents: Parents| Owner {
            kind,
            id: kind.name().to_owned(),
            name: None,
            parents,
            has_access_groups: kind == OwnerKind::Key && self.key_has_group,
        };
        let named = |kind: OwnerKind, row: Option<usize>| row.map(|_| kind.name().to_owned());
        let parents = Parents {
            team: named(OwnerKind::Team, self.team),
            organization: named(OwnerKind::Organization, self.organization),
            user: named(OwnerKind::User, self.user),
            agent: named(OwnerKind::Agent, self.agent),
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
            server_id: id.to_owned(),
            server_name: Some(name.to_owned()),
            alias: None,
            approval_status: None,
            tags: vec![tag.to_owned()],
            allow_all_keys: self.open && id == "id-3",
        });
        ServerCatalog::new(&servers, BTreeSet::new(), ConfigServers::Known(Vec::new()))
    }

    fn surroundings(&self) -> Surroundings {
        let rows = self.rows.iter().enumerate();
        let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
        Surroundings {
            rows: rows.map(|(at, g)| (at.to_string(), g.clone())).collect(),
            teams: BTreeMap::from([(
                "team".to_owned(),
                Team {
                    permissions: self.team.map(|row| row.to_string()),
                    organization: None,
                    access_groups: self
                        .team_has_group
                        .then(|| GROUP.0.to_owned())
                        .into_iter()
                        .collect(),
                },
            )]),
            organizations: BTreeMap::from([(
                "organization".to_owned(),
                self.organization.map(|row| row.to_string()),
            )]),
            toolsets: BTreeMap::from([(TOOLSET.0.to_owned(), texts(&[TOOLSET.1]))]),
            access_groups: BTreeMap::from([(GROUP.0.to_owned(), texts(&GROUP.1))]),
            ..Surroundings::default()
        }
    }

    fn plan(&self, at: usize, release: Release, on_empty: OnEmpty) -> RowPlan {
        let grants = &self.rows[at];
        let tools = grants.tool_keys.iter().map(|key| (key.clone(), vec![]));
        let [servers, keys] = [
            Value::Array(grants.servers.clone()),
            Value::Keys(tools.collect()),
        ];
        let cell = |site: usize, value: Value| Cell {
            site: &PERMISSIONS.sites[site],
            stored: Ok(value),
        };
        let row = Row {
            key: at.to_string(),
            cells: vec![cell(0, servers), cell(1, keys)],
            owners: self.owners(at),
        };
        let world = World {
            regime: Regime {
                release,
                owners_known: true,
            },
            catalog: &self.catalog(),
            around: &self.surroundings(),
            all_cleared: on_empty == OnEmpty::Clear,
        };
        let policy = Policy {
            on_empty,
            ..Policy::default()
        };
        RowPlan::of(&PERMISSIONS, &row, world, policy)
    }

    fn apply(&mut self, at: usize, plan: &RowPlan) {
        for edit in &plan.edits {
            let after = edit.after();
            let left = after.references().map(str::to_owned).collect();
            match edit.site().column {
                "mcp_servers" => self.rows[at].servers = left,
                _ => self.rows[at].tool_keys = left,
            }
        }
    }

    fn repaired(&self, release: Release, on_empty: OnEmpty) -> Self {
        let mut repaired = self.clone();
        for at in 0..self.rows.len() {
            repaired.apply(at, &self.plan(at, release, on_empty));
        }
        repaired
    }
}

fn grants() -> impl Strategy<Value = Grants> {
    let texts = |from: Vec<&'static str>, most: usize| {
        let one = prop::sample::select(from).prop_map(str::to_owned);
        prop::collection::vec(one, 0..=most)
    };
    let servers = texts(
        vec![
            "id-1",
            "two",
            "id-3",
            "all-proxy-mcpservers",
            GONE[0],
            GONE[1],
            GONE[0],
            GONE[1],
        ],
        2,
    );
    let keys = texts(vec!["one", "id-2", GONE[0], GONE[1]], 1);
    let tags = prop_oneof![3 => Just(vec![]), 1 => texts(vec!["tag-2", "dead"], 1)];
    let toolsets = prop_oneof![4 => Just(vec![]), 1 => Just(vec![TOOLSET.0.to_owned()])];
    (servers, keys, tags, toolsets).prop_map(|(servers, tool_keys, tags, toolsets)| Grants {
        servers,
        tool_keys,
        tags,
        toolsets,
    })
}

fn grantees() -> impl Strategy<Value = Grantees> {
    // A row in ten is shared.
    let level = |own: usize| {
        prop_oneof![
            3 => Just(None),
            6 => Just(Some(own)),
            1 => (0..6_usize).prop_map(Some),
        ]
    };
    (
        prop::collection::vec(grants(), 6),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        (level(1), level(2), level(3), level(4), level(5)),
    )
        .prop_map(|(rows, open, key_has_group, team_has_group, levels)| {
            let (team, organization, user, agent, end_user) = levels;
            Grantees {
                rows,
                open,
                key: 0,
                key_has_group,
                team,
                team_has_group,
                organization,
                user,
                agent,
                end_user,
            }
        })
}

fn releases() -> impl Strategy<Value = Release> {
    prop::sample::select(vec![Release::KNOWS_MARKERS, Release::AGENT_TOOL_KEYS_COUNT])
}

const DENY: OnEmpty = OnEmpty::Deny {
    accept_narrowing: false,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn hold_and_deny_change_nobodys_access(world in grantees(), release in releases()) {
        for on_empty in [OnEmpty::Hold, DENY] {
            let repaired = world.repaired(release, on_empty);
            prop_assert_eq!(repaired.reach(release), world.reach(release), "{:?}", on_empty);
        }
    }

    #[test]
    fn accepting_narrowing_never_widens(world in grantees(), release in releases()) {
        let on_empty = OnEmpty::Deny { accept_narrowing: true };
        let repaired = world.repaired(release, on_empty);
        prop_assert!(repaired.reach(release).is_subset(&world.reach(release)));
    }

    #[test]
    fn clearing_a_key_gives_no_more_than_was_said(
        mut world in grantees(),
        release in releases(),
    ) {
        // What a lifted ceiling lets through of a key's own grants is announced for who limits it.
        world.rows[world.key] = Grants {
            servers: vec![GONE[0].to_owned()],
            ..Grants::default()
        };
        world.key_has_group = false;
        let plan = world.plan(world.key, release, OnEmpty::Clear);
        prop_assume!(plan.audit.owners.len() == 1);
        let cleared = world.repaired(release, OnEmpty::Clear);
        let said = match &plan.audit.if_emptied[0].effect {
            Effect::InheritsTeam(inherited) | Effect::InheritsOrganization(inherited) => {
                inherited.servers.clone()
            }
            Effect::LiftsCeiling { .. } | Effect::OpensAll | Effect::Nothing => Servers::new(),
        };
        let before = world.reach(release);
        let gained: Servers = cleared.reach(release).difference(&before).cloned().collect();
        prop_assert!(gained.is_subset(&said), "gained {:?}, said {:?}", gained, said);
    }
}
