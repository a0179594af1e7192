//! Compares the access of every caller with and without the servers of `--if-deleted`.

use std::collections::{BTreeMap, BTreeSet};

use crate::database::Database;
use crate::db::access_callers;
use crate::db::access_registry::{self, DeletedAre};
use crate::db::access_rows::{self, Callers};
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::error::Failure;
use crate::litellm::access::basis::AccessBasis;
use crate::litellm::access::caller::{AccessSetting, AccessSettings, Caller, SettingUse};
use crate::litellm::access::registry::Registry;
use crate::litellm::access::rows::AccessRows;
use crate::litellm::access::rules::AccessRules;
use crate::litellm::access::tools::Tools;
use crate::litellm::access::{Access, AccessModel};
use crate::litellm::api_key;
use crate::litellm::ids::{KeyToken, ServerId, TeamId, ToolsetId, UserId};
use crate::litellm::owners::OwnerId;
use crate::litellm::server_catalog::{Resolution, ServerCatalog};
use crate::process::print::cannot_put_aside;
use crate::process::progress::Progress;
use crate::report::affected_callers::{
    AffectedCaller, AffectedCallers, AffectedKey, ChangeCause, ChangedServer,
};
use crate::workflow::CHUNK;
use crate::workflow::access_basis::read_basis;
use crate::workflow::server_sources::ServerSources;

/// Compares the access of every caller that `access` lists: each key at large and on the toolsets
/// that it holds, each user's session, and each team's keyless caller. `None` where no server is
/// taken as deleted.
///
/// # Errors
///
/// What the server said, or a privilege that the role lacks.
pub(crate) async fn compare(
    connection: &mut Connection,
    schema: &Schema,
    database: &Database,
    sources: &ServerSources,
    catalog: &ServerCatalog,
    progress: &Progress,
) -> Result<Option<AffectedCallers>, Failure> {
    if catalog.deleted().is_empty() {
        return Ok(None);
    }
    schema.check_access_privileges(database)?;
    let release = schema.release();
    let basis = read_basis(connection, schema, sources, catalog, release).await?;
    let rules = basis.rules;
    let served = DeletedAre::Served;
    let served = access_registry::registry(connection, schema, catalog, served, rules).await?;
    let mut comparison = Comparison {
        basis,
        served,
        catalog,
        affected: AffectedCallers::new(),
        progress,
    };
    progress.stage("comparing access");
    comparison
        .each(connection, schema, |ids: &[KeyToken]| Callers {
            keys: ids.iter().cloned().collect(),
            ..Callers::default()
        })
        .await?;
    if rules.has_sessions() {
        comparison
            .each(connection, schema, |ids: &[UserId]| Callers {
                users: ids.iter().cloned().collect(),
                ..Callers::default()
            })
            .await?;
    }
    comparison
        .each(connection, schema, |ids: &[TeamId]| Callers {
            teams: ids.iter().cloned().collect(),
            ..Callers::default()
        })
        .await?;
    Ok(Some(comparison.affected))
}

/// An owner that asks for tools itself.
trait Asks: OwnerId + Clone {
    /// Lists the callers of this owner.
    fn callers(&self, rows: &AccessRows, rules: AccessRules) -> Vec<Caller>;
}

impl Asks for KeyToken {
    /// Lists the key at large, and on the route of each toolset that it or its team holds.
    fn callers(&self, rows: &AccessRows, rules: AccessRules) -> Vec<Caller> {
        let Some(key) = rows.keys.get(self) else {
            return Vec::new();
        };
        let asking = |toolset| Caller::Key {
            token: self.clone(),
            end_user: None,
            on_behalf_of: None,
            toolset,
        };
        let mut callers = vec![asking(None)];
        if rules.has_toolset_routes() {
            let team = key.team.as_ref().and_then(|team| rows.teams.get(team));
            let own = rows.permission(key.permission.as_ref()).read();
            let of_team = team.and_then(|team| rows.permission(team.permission.as_ref()).read());
            let held = own.into_iter().chain(of_team).flat_map(|row| &row.toolsets);
            let held = held.filter(|id| rows.toolsets.contains_key(*id)).cloned();
            let held: BTreeSet<ToolsetId> = held.collect();
            callers.extend(held.into_iter().map(|id| asking(Some(id))));
        }
        callers
    }
}

impl Asks for UserId {
    fn callers(&self, _: &AccessRows, _: AccessRules) -> Vec<Caller> {
        let (user, toolset) = (self.clone(), None);
        vec![Caller::Session { user, toolset }]
    }
}

impl Asks for TeamId {
    fn callers(&self, _: &AccessRows, _: AccessRules) -> Vec<Caller> {
        if self.is_of_dashboard() {
            return Vec::new();
        }
        let (team, user) = (Some(self.clone()), None);
        vec![Caller::Keyless { team, user }]
    }
}

/// What the access of every caller is compared with.
struct Comparison<'a> {
    /// Everything as if the servers were deleted.
    basis: AccessBasis,
    /// The servers that are served until then.
    served: Registry,
    catalog: &'a ServerCatalog,
    affected: AffectedCallers,
    progress: &'a Progress,
}

/// Rows without their stale references.
struct CleanedRows {
    /// Without those that are stale even while the servers are there.
    stale_before: AccessRows,
    /// Without all that are stale once the servers are gone.
    stale_after: AccessRows,
}

/// The servers that one caller loses and gains.
#[derive(Default, PartialEq, Eq)]
struct AccessChange {
    loses: Vec<ChangedServer>,
    gains: Vec<ChangedServer>,
}

impl AccessChange {
    /// Adds what is not there yet.
    fn extend(&mut self, other: Self) {
        for (all, more) in [
            (&mut self.loses, other.loses),
            (&mut self.gains, other.gains),
        ] {
            for server in more {
                if !all.contains(&server) {
                    all.push(server);
                }
            }
        }
    }
}

impl Comparison<'_> {
    /// Compares the callers of all owners of a kind, a chunk at a time.
    async fn each<I: Asks>(
        &mut self,
        connection: &mut Connection,
        schema: &Schema,
        asked: fn(&[I]) -> Callers,
    ) -> Result<(), Failure> {
        let mut after: Option<I> = None;
        loop {
            let last = after.as_ref();
            let ids = access_callers::page(connection, schema, last, CHUNK).await?;
            let Some(last) = ids.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            let rows = access_rows::rows(connection, schema, &asked(&ids)).await?;
            self.chunk(&ids, &rows)?;
            self.progress.rows(ids.len());
        }
    }

    /// Compares the callers of some owners, in their order.
    fn chunk<I: Asks>(&mut self, ids: &[I], rows: &AccessRows) -> Result<(), Failure> {
        let cleaned = self.cleaned(rows);
        for id in ids {
            for caller in id.callers(rows, self.basis.rules) {
                let (change, complete) = self.change(&caller, rows, cleaned.as_ref());
                self.affected.count(complete);
                if change != AccessChange::default() {
                    let caller = shown(&caller, rows, change, complete);
                    self.affected.add(&caller).map_err(cannot_put_aside)?;
                }
            }
        }
        Ok(())
    }

    /// Removes the stale references from rows; `None` where no row names a server that is taken as
    /// deleted.
    fn cleaned(&self, rows: &AccessRows) -> Option<CleanedRows> {
        let is_stale =
            |names, reference: &str| self.catalog.resolve_as(names, reference) == Resolution::Stale;
        let deleted = self.catalog.deleted();
        let stale_after = rows.without(is_stale);
        let stale_before = rows.without(|names, reference| {
            is_stale(names, reference) && !deleted.are_called(reference)
        });
        (stale_after != stale_before).then_some(CleanedRows {
            stale_before,
            stale_after,
        })
    }

    /// Compares one caller, with every unknown setting both ways: what it may lose and gain.
    ///
    /// Returns too whether nothing that is not known may change the answer.
    fn change(
        &self,
        caller: &Caller,
        rows: &AccessRows,
        cleaned: Option<&CleanedRows>,
    ) -> (AccessChange, bool) {
        let mut all = self.change_with(self.basis.settings, caller, rows, cleaned);
        let mut complete = self.basis.configs_known;
        let matters = |setting: &&AccessSetting| self.matters(setting, caller, rows, cleaned);
        let unknown: Vec<&AccessSetting> = self.basis.unknown.iter().filter(matters).collect();
        for switched in 1..1_usize << unknown.len() {
            let mut settings = self.basis.settings;
            for (at, setting) in unknown.iter().enumerate() {
                setting.set(&mut settings, switched & (1 << at) != 0);
            }
            let other = self.change_with(settings, caller, rows, cleaned);
            complete &= other == all;
            all.extend(other);
        }
        (all, complete)
    }

    /// Tells whether a setting can make a difference to any of the answers that are compared.
    fn matters(
        &self,
        setting: &AccessSetting,
        caller: &Caller,
        rows: &AccessRows,
        cleaned: Option<&CleanedRows>,
    ) -> bool {
        let cleaned = cleaned.map(|cleaned| [&cleaned.stale_before, &cleaned.stale_after]);
        let mut all_rows = std::iter::once(rows).chain(cleaned.into_iter().flatten());
        all_rows.any(|rows| {
            let asked = SettingUse {
                rules: self.basis.rules,
                caller,
                rows,
                // What is left of these servers is a part of them.
                registry: &self.served,
            };
            setting.matters(&asked)
        })
    }

    fn change_with(
        &self,
        settings: AccessSettings,
        caller: &Caller,
        rows: &AccessRows,
        cleaned: Option<&CleanedRows>,
    ) -> AccessChange {
        let access = |registry, rows| {
            let model = AccessModel {
                rows,
                registry,
                rules: self.basis.rules,
                settings,
            };
            model.access(caller)
        };
        let (before, after) = (
            access(&self.served, rows),
            access(&self.basis.registry, rows),
        );
        let mut change = AccessChange::default();
        self.add(&before, &after, ChangeCause::Deletion, &mut change);
        if let Some(cleaned) = cleaned {
            let before = access(&self.basis.registry, &cleaned.stale_before);
            let after = access(&self.basis.registry, &cleaned.stale_after);
            self.add(&before, &after, ChangeCause::Removal, &mut change);
        }
        change
    }

    fn add(&self, before: &Access, after: &Access, by: ChangeCause, change: &mut AccessChange) {
        let named = |servers: BTreeMap<&ServerId, Tools>| -> Vec<ChangedServer> {
            let servers = servers.into_iter().map(|(id, tools)| ChangedServer {
                id: id.as_str().to_owned(),
                name: self.name(id),
                tools: tools.map(|tools| tools.into_iter().collect()),
                by,
            });
            servers.collect()
        };
        change.loses.extend(named(only_in(before, after)));
        change.gains.extend(named(only_in(after, before)));
    }

    fn name(&self, id: &ServerId) -> Option<String> {
        let server = self.served.get(id)?;
        server.alias.clone().or_else(|| server.name.clone())
    }
}

/// Returns the servers, and the tools of servers, that `one` has and `other` has not.
fn only_in<'a>(one: &'a Access, other: &Access) -> BTreeMap<&'a ServerId, Tools> {
    let servers = one.servers.iter().filter_map(|(id, tools)| {
        let more = match (tools, other.servers.get(id)) {
            (tools, None) => tools.clone(),
            (_, Some(None)) => return None,
            (None, Some(Some(_))) => None,
            (Some(tools), Some(Some(others))) if tools.is_subset(others) => return None,
            (Some(tools), Some(Some(others))) => Some(tools - others),
        };
        Some((id, more))
    });
    servers.collect()
}

fn shown(
    caller: &Caller,
    rows: &AccessRows,
    change: AccessChange,
    complete: bool,
) -> AffectedCaller {
    let organization = |team: &Option<TeamId>| {
        let team = team.as_ref().and_then(|team| rows.teams.get(team));
        team.and_then(|team| team.organization.as_ref())
    };
    let AccessChange { loses, gains } = change;
    let nobody = AffectedCaller {
        via: String::new(),
        key: None,
        team: None,
        organization: None,
        user: None,
        agent: None,
        toolset: None,
        loses,
        gains,
        complete,
    };
    match caller {
        Caller::Key { token, toolset, .. } => {
            let key = rows.keys.get(token);
            let team = key.and_then(|key| key.team.clone());
            let own = key.and_then(|key| key.organization.as_ref());
            AffectedCaller {
                via: "key".to_owned(),
                key: Some(AffectedKey {
                    id: api_key::shown_prefix(token.as_str()),
                    name: key.and_then(|key| key.name.clone()),
                }),
                organization: own.or_else(|| organization(&team)).map(ToString::to_string),
                team: team.map(|team| team.0),
                user: key
                    .and_then(|key| key.user.as_ref())
                    .map(ToString::to_string),
                agent: key
                    .and_then(|key| key.agent.as_ref())
                    .map(ToString::to_string),
                toolset: toolset.as_ref().map(ToString::to_string),
                ..nobody
            }
        }
        Caller::Keyless { team, user } => AffectedCaller {
            via: "keyless".to_owned(),
            organization: organization(team).map(ToString::to_string),
            team: team.as_ref().map(ToString::to_string),
            user: user.as_ref().map(ToString::to_string),
            ..nobody
        },
        Caller::Session { user, toolset } => {
            let of_user = rows.users.get(user).and_then(|u| u.organization.as_ref());
            AffectedCaller {
                via: "session".to_owned(),
                organization: of_user.map(ToString::to_string),
                user: Some(user.to_string()),
                toolset: toolset.as_ref().map(ToString::to_string),
                ..nobody
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::access::registry::ServedServer;
    use crate::litellm::access::rows::{AccessTeam, Key, Permission};
    use crate::litellm::access::rules::AccessRules;
    use crate::litellm::deleted_servers::DeletedServers;
    use crate::litellm::ids::{PermissionKey, Tag};
    use crate::litellm::release::Release;
    use crate::litellm::server::{ConfigServers, Server};

    /// Makes a key of a team whose row is given. The team grants `id-2`, and `id-1`, which has the
    /// tag `dev`, is taken as deleted.
    fn changes(own: Permission, release: Release) -> AccessChange {
        let server = |id: &str, tags: &[&str]| Server {
            server_id: ServerId(id.to_owned()),
            server_name: None,
            alias: None,
            approval_status: None,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            allow_all_keys: false,
        };
        let servers = [server("id-1", &["dev"]), server("id-2", &[])];
        let deleted = DeletedServers::named(&BTreeSet::from(["id-1".to_owned()]), &servers, &[]);
        let catalog = ServerCatalog::as_if_deleted(
            &servers,
            BTreeSet::new(),
            ConfigServers::Known(Vec::new()),
            deleted.unwrap(),
        );
        let registry = |servers: &[Server]| {
            let entries = servers.iter().map(|row| {
                let entry = ServedServer {
                    tags: row.tags.iter().cloned().map(Tag).collect(),
                    ..ServedServer::default()
                };
                (row.server_id.clone(), entry)
            });
            Registry::new(entries.collect(), BTreeMap::new())
        };
        let comparison = Comparison {
            basis: AccessBasis {
                registry: registry(&servers[1..]),
                rules: AccessRules::of(release),
                later: Vec::new(),
                settings: AccessSettings::default(),
                unknown: Vec::new(),
                configs_known: true,
            },
            served: registry(&servers),
            catalog: &catalog,
            affected: AffectedCallers::new(),
            progress: &Progress::begin("comparing access"),
        };
        let of_team = Permission {
            servers: vec!["id-1".to_owned(), "id-2".to_owned()],
            ..Permission::default()
        };
        let (token, team_id) = (KeyToken("k".to_owned()), TeamId("t".to_owned()));
        let link = |id: &str| PermissionKey(id.to_owned());
        let mut rows = AccessRows::default();
        let key = Key {
            token: token.clone(),
            permission: Some(link("p-key")),
            team: Some(team_id.clone()),
            organization: None,
            user: None,
            agent: None,
            access_groups: Vec::new(),
            name: None,
        };
        let team = AccessTeam {
            permission: Some(link("p-team")),
            ..AccessTeam::default()
        };
        rows.keys.insert(token.clone(), key);
        rows.teams.insert(team_id, team);
        rows.permissions.insert(link("p-key"), Some(own));
        rows.permissions.insert(link("p-team"), Some(of_team));
        let callers = token.callers(&rows, comparison.basis.rules);
        let cleaned = comparison.cleaned(&rows);
        let (change, complete) = comparison.change(&callers[0], &rows, cleaned.as_ref());
        assert!(complete);
        change
    }

    fn ids(servers: &[ChangedServer]) -> Vec<(&str, ChangeCause)> {
        let ids = servers.iter().map(|server| (server.id.as_str(), server.by));
        ids.collect()
    }

    #[test]
    fn an_emptied_list_inherits_and_one_that_is_not_empty_does_not() {
        let servers = |servers: &[&str]| Permission {
            servers: servers.iter().map(|id| (*id).to_owned()).collect(),
            ..Permission::default()
        };
        let release = Release::RESOLVES_NAMES;
        let lost = [("id-1", ChangeCause::Deletion)];
        let only = changes(servers(&["id-1"]), release);
        assert_eq!(ids(&only.loses), lost);
        assert_eq!(ids(&only.gains), [("id-2", ChangeCause::Removal)]);
        let both = changes(servers(&["id-1", "id-2"]), release);
        assert_eq!(ids(&both.loses), lost);
        assert_eq!(ids(&both.gains), []);
        let none = changes(servers(&["id-2"]), release);
        assert!(none == AccessChange::default());
        // The other one was stale before, and is no effect of this deletion.
        let stale = changes(servers(&["gone"]), release);
        assert!(stale == AccessChange::default());
    }

    #[test]
    fn a_tag_that_names_no_server_any_more_inherits_in_older_releases() {
        let tagged = || Permission {
            tags: vec![Tag("dev".to_owned())],
            ..Permission::default()
        };
        let older = changes(tagged(), Release::RESOLVES_NAMES);
        assert_eq!(ids(&older.loses), [("id-1", ChangeCause::Deletion)]);
        assert_eq!(ids(&older.gains), [("id-2", ChangeCause::Deletion)]);
        let newest = changes(tagged(), Release::new(1, 110, 2));
        assert_eq!(ids(&newest.loses), [("id-1", ChangeCause::Deletion)]);
        assert_eq!(ids(&newest.gains), []);
    }
}
