//! What an emptied list would mean for each owner of its row: what reports announce of it. What may
//! be written does not go by it, but by the access model.
//!
//! Source: LiteLLM 1.109.1 `proxy/mcp_server/auth/user_api_key_auth_mcp.py`, the functions named
//! below.

use std::collections::BTreeSet;

use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::litellm::access_context::{AccessContext, Grants, Team};
use crate::litellm::ids::{PermissionKey, ServerId};
use crate::litellm::owners::{Owner, OwnerKind, Parents};
use crate::litellm::packing::{ConstantText, find_text};
use crate::litellm::reference_sites::GrantKind;
use crate::litellm::release::Release;
use crate::litellm::row::Row;
use crate::litellm::server::ALL_SERVERS;
use crate::litellm::server_catalog::{Resolution, ServerCatalog};

/// What an emptied list would mean for one owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IfEmptied {
    /// What would happen.
    pub effect: Effect,
    /// The setting outside the database that is assumed, in words; another may narrow the effect.
    #[serde(deserialize_with = "find_assumption")]
    pub assuming: Option<ConstantText>,
}

/// What happens to an owner whose list runs empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Effect {
    /// A key gets what its team has.
    InheritsTeam(Inherited),
    /// A key gets what its organization has.
    InheritsOrganization(Inherited),
    /// The owner no longer limits the callers under it.
    LiftsCeiling {
        /// The keys that stand under it; `None` for an end user, whom any key may name.
        keys: Option<u64>,
    },
    /// A key reaches every server there is, as it does before LiteLLM 1.80.
    OpensAll,
    /// Nothing today.
    Nothing,
}

/// What a key would inherit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inherited {
    /// The team or organization.
    pub from: String,
    /// The servers gained, by id, in order. Other ceilings of the key may cap them.
    pub servers: BTreeSet<ServerId>,
    /// Whether more servers may be gained: those of a config.yaml that is not known.
    pub incomplete: bool,
}

impl Effect {
    /// Returns the effect's name in JSON.
    #[must_use]
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::InheritsTeam(_) => "inherits-team",
            Self::InheritsOrganization(_) => "inherits-organization",
            Self::LiftsCeiling { .. } => "lifts-ceiling",
            Self::OpensAll => "opens-all",
            Self::Nothing => "none",
        }
    }
}

/// Everything that may be assumed.
const ASSUMPTIONS: [&str; 3] = [
    KEYS_MUST_DECLARE,
    END_USERS_MUST_DECLARE,
    NO_PERSONAL_FAN_OUT,
];

/// Finds an assumption, where there is one.
fn find_assumption<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ConstantText>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| find_text(text.into_deserializer(), ASSUMPTIONS.into_iter()))
        .transpose()
}

const KEYS_MUST_DECLARE: &str = "general_settings.require_key_mcp_access_defined is off";

const END_USERS_MUST_DECLARE: &str = "general_settings.require_end_user_mcp_access_defined is off";

const NO_PERSONAL_FAN_OUT: &str = "personal_key_model_access_from_teams is off";

/// Tells what an emptied list in `row` would mean for `owner`.
///
/// Where it is not known whether a release reads a column, the answer with more access is taken.
#[must_use]
pub(crate) fn if_emptied(owner: &Owner, row: &Row, context: AccessContext<'_>) -> IfEmptied {
    let after = RowAfterRemoval { row, context };
    let effect = if after.still_limits(owner.kind()) {
        Effect::Nothing
    } else {
        match (owner, owner.kind()) {
            (_, OwnerKind::Key | OwnerKind::Team) if !context.behavior.fails_closed() => {
                Effect::OpensAll
            }
            (Owner::Key(key), _) => after.key_inherits(&key.ties.parents),
            (Owner::Other(_), OwnerKind::EndUser) => Effect::LiftsCeiling { keys: None },
            // No release evaluates a project's row for MCP.
            (Owner::Other(_), OwnerKind::Project) => Effect::Nothing,
            (
                Owner::Other(_),
                OwnerKind::Key
                | OwnerKind::Team
                | OwnerKind::Organization
                | OwnerKind::User
                | OwnerKind::Agent,
            ) => {
                let under = &context.related.keys_under;
                let keys = under.get(&(owner.kind(), owner.id().to_owned()));
                Effect::LiftsCeiling {
                    keys: Some(keys.copied().unwrap_or_default()),
                }
            }
        }
    };
    let assuming = match (&effect, owner) {
        (Effect::InheritsTeam(_), _) => Some(KEYS_MUST_DECLARE),
        (Effect::LiftsCeiling { .. }, _) if owner.kind() == OwnerKind::EndUser => {
            Some(END_USERS_MUST_DECLARE)
        }
        (Effect::Nothing, Owner::Key(key)) if key.ties.parents.user.is_some() => {
            Some(NO_PERSONAL_FAN_OUT)
        }
        _ => None,
    };
    IfEmptied { effect, assuming }
}

/// A row as it would be without its stale references.
struct RowAfterRemoval<'a> {
    row: &'a Row,
    context: AccessContext<'a>,
}

/// What a level names, and the servers that this means.
#[derive(Default)]
struct Scope {
    /// Whether it names anything for certain. A reference that resolves to nothing still restricts.
    restricts: bool,
    servers: BTreeSet<ServerId>,
    /// Whether it may mean servers that are not known here.
    incomplete: bool,
}

impl Scope {
    /// Adds references: a known one adds its servers, an unknown one only restricts.
    fn name<'a>(
        &mut self,
        references: impl IntoIterator<Item = &'a String>,
        catalog: &ServerCatalog,
    ) {
        for reference in references {
            self.restricts = true;
            self.servers.extend(catalog.expand(reference));
            let resolution = catalog.resolve(reference);
            self.incomplete |= matches!(resolution, Resolution::Unverified | Resolution::Kept);
        }
    }

    /// Adds servers that may not restrict.
    fn find(&mut self, servers: BTreeSet<ServerId>) {
        self.servers.extend(servers);
    }

    fn is_nothing(&self) -> bool {
        !self.restricts && !self.incomplete && self.servers.is_empty()
    }
}

impl RowAfterRemoval<'_> {
    /// Tells whether the row's other grants still limit its owner without the stale references.
    fn still_limits(&self, kind: OwnerKind) -> bool {
        let AccessContext {
            behavior, catalog, ..
        } = self.context;
        let mut left = self.context.related.of_row(self.row).cloned();
        let left = left.get_or_insert_default();
        let reads_tools =
            kind != OwnerKind::Agent || behavior.release >= Release::AGENT_TOOL_KEYS_COUNT;
        let stays = |reference: &str| catalog.resolve(reference) != Resolution::Stale;
        left.retain(|granted, entry| match granted {
            GrantKind::Servers => stays(entry),
            GrantKind::ServerTools => reads_tools && stays(entry),
            GrantKind::Tags => true,
            GrantKind::Toolsets => kind != OwnerKind::EndUser,
        });
        self.scope(left).restricts
    }

    /// Adds up what a row grants.
    ///
    /// Source: `_get_allowed_mcp_servers_for_org` and `_team_granted_servers`. Tags without a
    /// server restrict only from 1.106.0 on.
    fn scope(&self, grants: &Grants) -> Scope {
        let AccessContext {
            behavior, catalog, ..
        } = self.context;
        let stays = |reference: &&String| {
            !self.context.all_cleared || catalog.resolve(reference) != Resolution::Stale
        };
        let mut scope = Scope::default();
        for (granted, entries) in grants.by_kind() {
            match granted {
                GrantKind::Servers => scope.name(entries.iter().filter(stays), catalog),
                GrantKind::ServerTools if behavior.release >= Release::TOOL_KEYS_GRANT => {
                    scope.name(entries.iter().filter(stays), catalog);
                }
                GrantKind::ServerTools => {}
                GrantKind::Tags => {
                    let tagged = catalog.tagged(entries);
                    scope.restricts |= !tagged.is_empty();
                    scope.find(tagged);
                    scope.incomplete |= !entries.is_empty() && !catalog.config_is_complete();
                }
                GrantKind::Toolsets => self.add_toolsets(&mut scope, entries),
            }
        }
        scope
    }

    /// Adds the servers of toolsets.
    fn add_toolsets(&self, scope: &mut Scope, ids: &[String]) {
        let AccessContext {
            behavior, catalog, ..
        } = self.context;
        let there = ids
            .iter()
            .filter_map(|id| self.context.related.toolsets.get(id.as_str()));
        let servers = there.flatten();
        if behavior.release >= Release::TOOLSETS_COUNT {
            scope.name(servers, catalog);
        } else {
            scope.find(servers.flat_map(|server| catalog.with_id(server)).collect());
        }
    }

    /// Adds up what the row of a team or organization grants. The row that runs empty grants
    /// nothing.
    fn scope_of(&self, permissions: Option<&PermissionKey>) -> Scope {
        permissions
            .filter(|key| key.as_str() != self.row.key)
            .and_then(|key| self.context.related.rows.get(key))
            .map(|grants| self.scope(grants))
            .unwrap_or_default()
    }

    /// Tells what a key without servers of its own would inherit from its `parents`.
    ///
    /// Source: `get_allowed_mcp_servers` (its step 1) and `_apply_primary_org_ceiling`. The
    /// organization is the key's own, else its team's (`proxy/auth/user_api_key_auth.py`,
    /// `_inherit_org_identity`).
    fn key_inherits(&self, parents: &Parents) -> Effect {
        let team = parents.team.as_ref().filter(|team| !team.is_of_dashboard());
        let found = team.and_then(|id| self.context.related.teams.get(id));
        let of_team = found.map(|team| self.team_scope(team)).unwrap_or_default();
        let inherits = |from: &str, scope: Scope| Inherited {
            from: from.to_owned(),
            servers: scope.servers,
            incomplete: scope.incomplete,
        };
        if let (Some(id), true) = (team, of_team.restricts) {
            return Effect::InheritsTeam(inherits(id.as_str(), of_team));
        }
        // It is not known whether the team restricts, so the servers of both are told.
        let organization = parents.organization.as_ref();
        let organization = organization.or(found.and_then(|team| team.organization.as_ref()));
        if let Some(id) = organization
            && self.context.behavior.release >= Release::ORGANIZATIONS_LIMIT
        {
            let organizations = &self.context.related.organizations;
            let mut scope = self.scope_of(organizations.get(id).and_then(Option::as_ref));
            if !scope.is_nothing() {
                scope.incomplete |= of_team.incomplete;
                scope.find(of_team.servers);
                return Effect::InheritsOrganization(inherits(id.as_str(), scope));
            }
        }
        match team {
            Some(id) if !of_team.is_nothing() => {
                Effect::InheritsTeam(inherits(id.as_str(), of_team))
            }
            Some(_) | None => Effect::Nothing,
        }
    }

    /// Adds up what a team grants, by its row and by its unified access groups.
    ///
    /// Source: `_team_granted_servers`. The servers of the groups are ids, never names.
    fn team_scope(&self, team: &Team) -> Scope {
        let row = team.permissions.as_ref();
        let mut scope = self.scope_of(row);
        let names_all = row
            .and_then(|key| self.context.related.rows.get(key))
            .is_some_and(|grants| grants.servers.iter().any(|entry| entry == ALL_SERVERS));
        if names_all && self.context.behavior.release >= Release::KNOWS_MARKERS {
            scope.find(self.context.catalog.registry());
            scope.incomplete |= !self.context.catalog.config_is_complete();
        }
        let groups = team.access_groups.iter();
        let of_groups = groups.filter_map(|id| self.context.related.access_groups.get(id));
        for server in of_groups.flatten() {
            // Read from 1.88.0 on.
            scope.restricts |= self.context.behavior.release >= Release::DROPS_ON_EDIT;
            let catalog = self.context.catalog;
            scope.find(catalog.with_id(server));
            scope.incomplete |= catalog.resolve(server) == Resolution::Unverified;
        }
        scope
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::access_context::{LitellmBehavior, RelatedGrants};
    use crate::litellm::finding::Audit;
    use crate::litellm::ids::{AccessGroupId, TeamId};
    use crate::litellm::owners::DASHBOARD_TEAM;
    use crate::litellm::reference_sites::{PERMISSIONS, TAGS};
    use crate::litellm::row::Cell;
    use crate::litellm::server::{ConfigServers, Signs};
    use crate::litellm::test_support::{
        BEHAVIOR, GONE, MADE_UP, Standing, catalog, granting, key_of, owner, related, row, texts,
    };
    use crate::litellm::value::Value;

    fn server(id: &str) -> ServerId {
        ServerId(id.to_owned())
    }

    fn effect_on(owner: &Owner, release: Release, related: &RelatedGrants) -> Effect {
        let stale = format!("[\"{GONE}\"]");
        let row = Row {
            owners: vec![owner.clone()],
            ..row(&stale, "null")
        };
        let catalog = catalog();
        let context = AccessContext {
            behavior: LitellmBehavior {
                release,
                ..BEHAVIOR
            },
            catalog: &catalog,
            related,
            all_cleared: false,
        };
        if_emptied(owner, &row, context).effect
    }

    #[test]
    fn a_key_inherits_all_that_its_team_names() {
        let key = owner(OwnerKind::Key, Standing::InTeam);
        let grants = |change: fn(&mut Grants)| {
            let mut grants = Grants::default();
            change(&mut grants);
            grants
        };
        for (team, expected) in [
            (granting(&["id-1"]), vec!["id-1"]),
            (granting(&["two", "id-1"]), vec!["id-1", "id-2"]),
            // Stale entries restrict as well, so nothing is inherited, not even from above.
            (granting(&[GONE]), vec![]),
            (granting(&[ALL_SERVERS]), vec!["id-1", "id-2"]),
            (grants(|g| g.tool_keys = texts(&["one"])), vec!["id-1"]),
            (grants(|g| g.tags = texts(&["tag"])), vec!["id-2"]),
            (grants(|g| g.toolsets = texts(&["set"])), vec!["id-2"]),
        ] {
            let related = related(team.clone(), granting(&["id-1"]));
            let effect = effect_on(&key, Release::TOOLSETS_COUNT, &related);
            let inherited = Inherited {
                from: "team".to_owned(),
                servers: expected.into_iter().map(server).collect(),
                incomplete: false,
            };
            assert_eq!(effect, Effect::InheritsTeam(inherited), "{team:?}");
        }
    }

    #[test]
    fn the_groups_of_a_team_name_servers_by_id_alone() {
        let mut related = related(Grants::default(), Grants::default());
        let groups = related
            .teams
            .get_mut("team")
            .map(|team| &mut team.access_groups);
        *groups.unwrap() = vec![AccessGroupId("group".to_owned())];
        let effect = effect_on(
            &owner(OwnerKind::Key, Standing::InTeam),
            Release::KNOWS_MARKERS,
            &related,
        );
        let inherited = Inherited {
            from: "team".to_owned(),
            servers: BTreeSet::from([server("id-1")]),
            incomplete: false,
        };
        assert_eq!(effect, Effect::InheritsTeam(inherited));
    }

    #[test]
    fn where_the_team_names_nothing_the_organization_gives() {
        let related = related(Grants::default(), granting(&["one"]));
        let key = owner(OwnerKind::Key, Standing::InTeam);
        let inherited = Inherited {
            from: "org".to_owned(),
            servers: BTreeSet::from([server("id-1")]),
            incomplete: false,
        };
        for (release, expected) in [
            (Release::FIRST, Effect::OpensAll),
            (Release::FAILS_CLOSED, Effect::Nothing),
            (
                Release::ORGANIZATIONS_LIMIT,
                Effect::InheritsOrganization(inherited),
            ),
        ] {
            assert_eq!(effect_on(&key, release, &related), expected, "{release}");
        }
        let dashboard = key_of(Parents {
            team: Some(TeamId(DASHBOARD_TEAM.to_owned())),
            ..Parents::default()
        });
        let effect = effect_on(&dashboard, Release::KNOWS_MARKERS, &related);
        assert_eq!(effect, Effect::Nothing);
    }

    #[test]
    fn ceilings_are_lifted_unless_something_else_in_the_row_still_limits() {
        let lifted = |keys| Effect::LiftsCeiling { keys };
        let with = |change: fn(&mut Grants)| {
            let mut related = related(Grants::default(), Grants::default());
            change(
                related
                    .rows
                    .entry(PermissionKey("p-1".to_owned()))
                    .or_default(),
            );
            related
        };
        let plain = with(|_| ());
        let tools = with(|g| g.tool_keys = texts(&["one", GONE]));
        let toolset = with(|g| g.toolsets = texts(&["set"]));
        let tag = with(|g| g.tags = texts(&["tag"]));
        let dead_tag = with(|g| g.tags = texts(&["dead"]));
        let agent_tools = Release::AGENT_TOOL_KEYS_COUNT;
        for (kind, release, related, expected) in [
            (OwnerKind::Team, agent_tools, &plain, lifted(Some(7))),
            (
                OwnerKind::Organization,
                agent_tools,
                &plain,
                lifted(Some(0)),
            ),
            (OwnerKind::User, agent_tools, &plain, lifted(Some(0))),
            (OwnerKind::EndUser, agent_tools, &plain, lifted(None)),
            (OwnerKind::Project, agent_tools, &plain, Effect::Nothing),
            (OwnerKind::Team, agent_tools, &tools, Effect::Nothing),
            (OwnerKind::Agent, agent_tools, &tools, Effect::Nothing),
            (
                OwnerKind::Agent,
                Release::KNOWS_MARKERS,
                &tools,
                lifted(Some(0)),
            ),
            (OwnerKind::Team, agent_tools, &toolset, Effect::Nothing),
            (OwnerKind::EndUser, agent_tools, &toolset, lifted(None)),
            (OwnerKind::Team, agent_tools, &tag, Effect::Nothing),
            (OwnerKind::Team, agent_tools, &dead_tag, lifted(Some(7))),
        ] {
            let found = effect_on(&owner(kind, Standing::InTeam), release, related);
            assert_eq!(found, expected, "{kind:?} {release} {related:?}");
        }
    }

    #[test]
    fn what_may_restrict_or_not_hides_nothing() {
        let key = owner(OwnerKind::Key, Standing::InTeam);
        let both = Inherited {
            from: "org".to_owned(),
            servers: BTreeSet::from(["id-1", "id-2"].map(server)),
            incomplete: false,
        };
        let toolset = Grants {
            toolsets: texts(&["set"]),
            ..Grants::default()
        };
        let related_toolset = related(toolset, granting(&["one"]));
        let effect = effect_on(&key, Release::KNOWS_MARKERS, &related_toolset);
        assert_eq!(effect, Effect::InheritsOrganization(both));

        let mut related_group = related(Grants::default(), granting(&["two"]));
        if let Some(team) = related_group.teams.get_mut("team") {
            team.access_groups = vec![AccessGroupId("group".to_owned())];
        }
        let effect = effect_on(&key, Release::ORGANIZATIONS_LIMIT, &related_group);
        assert!(matches!(effect, Effect::InheritsOrganization(i) if i.servers.len() == 2));
    }

    #[test]
    fn servers_of_a_config_that_is_not_known_are_not_ruled_out() {
        let row = Row {
            owners: vec![owner(OwnerKind::Key, Standing::InTeam)],
            ..row(&format!("[\"{GONE}\"]"), "null")
        };
        let unknown = ConfigServers::Unknown(Signs::default());
        let catalog = ServerCatalog::new(&[], BTreeSet::new(), unknown);
        let tagged = Grants {
            tags: texts(&["of-a-config"]),
            ..Grants::default()
        };
        for team in [granting(&["of-a-config"]), granting(&[ALL_SERVERS]), tagged] {
            let related = related(team.clone(), Grants::default());
            let context = AccessContext {
                behavior: LitellmBehavior {
                    release: Release::KNOWS_MARKERS,
                    ..BEHAVIOR
                },
                catalog: &catalog,
                related: &related,
                all_cleared: false,
            };
            let effect = if_emptied(&row.owners[0], &row, context).effect;
            assert!(
                matches!(&effect, Effect::InheritsTeam(inherited) if inherited.incomplete),
                "{team:?}: {effect:?}"
            );
        }
    }

    #[test]
    fn before_1_80_whoever_loses_the_list_reaches_everything() {
        let related = related(granting(&["id-1"]), Grants::default());
        for kind in [OwnerKind::Key, OwnerKind::Team] {
            let effect = effect_on(&owner(kind, Standing::InTeam), Release::FIRST, &related);
            assert_eq!(effect, Effect::OpensAll);
        }
    }

    /// Returns grants of one entry of that kind, which means the server "id-2".
    fn granting_kind(kind: GrantKind) -> Grants {
        let entry = match kind {
            GrantKind::Servers | GrantKind::ServerTools => "two",
            GrantKind::Tags => "tag",
            GrantKind::Toolsets => "set",
        };
        let mut grants = Grants::default();
        grants.add(kind, texts(&[entry]));
        grants
    }

    #[test]
    fn the_judgement_knows_what_each_site_of_the_permission_table_grants() {
        let sites = PERMISSIONS.sites.iter().chain(MADE_UP.sites);
        let of_sites = sites.map(|site| (site.name, site.grants.expect(site.name)));
        for (name, kind) in of_sites.chain([(TAGS, GrantKind::Tags)]) {
            // Beside a list that runs empty it still limits a team.
            let mut related_row = related(Grants::default(), Grants::default());
            let beside = granting_kind(kind);
            related_row
                .rows
                .insert(PermissionKey("p-1".to_owned()), beside);
            let team = owner(OwnerKind::Team, Standing::InTeam);
            let effect = effect_on(&team, Release::PINS_IDS, &related_row);
            assert_eq!(effect, Effect::Nothing, "{name}");

            // Keys inherit it.
            let related_team = related(granting_kind(kind), Grants::default());
            let key = owner(OwnerKind::Key, Standing::InTeam);
            let effect = effect_on(&key, Release::PINS_IDS, &related_team);
            let inherited = Inherited {
                from: "team".to_owned(),
                servers: BTreeSet::from([server("id-2")]),
                incomplete: false,
            };
            assert_eq!(effect, Effect::InheritsTeam(inherited), "{name}");
        }
    }

    #[test]
    fn the_judgement_knows_a_site_once_it_is_in_the_table() {
        let row = |made_up: &[&str], servers: &[&str]| Row {
            key: "p-1".to_owned(),
            cells: vec![
                Cell {
                    site: &MADE_UP.sites[0],
                    stored: Ok(Value::Array(texts(made_up))),
                },
                Cell {
                    site: &MADE_UP.sites[1],
                    stored: Ok(Value::Array(texts(servers))),
                },
            ],
            owners: vec![owner(OwnerKind::Team, Standing::InTeam)],
        };
        for (made_up, servers, last_grants, expected) in [
            // What the other site grants still limits the team.
            (vec![GONE], vec!["one"], 1, Some(Effect::Nothing)),
            (vec!["one"], vec![GONE], 1, Some(Effect::Nothing)),
            (
                vec![GONE],
                vec![GONE],
                2,
                Some(Effect::LiftsCeiling { keys: Some(7) }),
            ),
            (vec![GONE, "one"], vec!["two"], 0, None),
        ] {
            let row = row(&made_up, &servers);
            let mut related = related(Grants::default(), Grants::default());
            let mut grants = Grants::default();
            for cell in &row.cells {
                let references = cell.stored.as_ref().unwrap().references();
                let kind = cell.site.grants.unwrap();
                grants.add(kind, references.map(str::to_owned));
            }
            related.rows.insert(PermissionKey("p-1".to_owned()), grants);
            let context = AccessContext {
                behavior: BEHAVIOR,
                catalog: &catalog(),
                related: &related,
                all_cleared: false,
            };
            let audit = Audit::of(&MADE_UP, &row, context);
            let found = audit.findings.iter().filter(|f| f.last_grant).count();
            assert_eq!(found, last_grants, "{made_up:?} {servers:?}");
            let impact = &audit.impacts[0].if_emptied;
            let effect = impact.as_ref().map(|emptied| emptied.effect.clone());
            assert_eq!(effect, expected, "{made_up:?} {servers:?}");
        }
    }
}
