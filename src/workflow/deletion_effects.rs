//! Compares the access of every caller with and without the servers of `--if-deleted`.

use std::collections::{BTreeMap, BTreeSet};

use crate::database::Database;
use crate::db::access_callers;
use crate::db::access_registry::{self, DeletedAre};
use crate::db::access_rows::{self, Callers};
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::error::Failure;
use crate::litellm::access::caller::{AccessSettings, Caller};
use crate::litellm::access::registry::Registry;
use crate::litellm::access::rows::AccessRows;
use crate::litellm::access::tools::Tools;
use crate::litellm::access::{Access, AccessModel};
use crate::litellm::api_key;
use crate::litellm::owners::{DASHBOARD_TEAM, OwnerKind};
use crate::litellm::server_catalog::{Resolution, ServerCatalog};
use crate::process::print::cannot_put_aside;
use crate::process::progress::Progress;
use crate::report::affected_callers::{
    AffectedCaller, AffectedCallers, AffectedKey, ChangeCause, ChangedServer,
};
use crate::workflow::CHUNK;
use crate::workflow::access_basis::AccessBasis;
use crate::workflow::server_sources::ServerSources;

/// Compares the access of every caller that `access` lists: each key at large and on the toolsets
/// that it holds, each user's session, and each team's keyless caller.
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
) -> Result<AffectedCallers, Failure> {
    schema.check_access_privileges(database)?;
    let release = schema.release();
    let basis = AccessBasis::read(connection, schema, sources, catalog, release).await?;
    let rules = basis.rules;
    let served = DeletedAre::Served;
    let served = access_registry::registry(connection, schema, catalog, served, rules).await?;
    let comparison = Comparison {
        basis,
        served,
        catalog,
    };
    progress.stage("comparing access");
    let mut affected = AffectedCallers::new();
    let mut kinds = vec![OwnerKind::Key];
    if rules.has_sessions() {
        kinds.push(OwnerKind::User);
    }
    kinds.push(OwnerKind::Team);
    for kind in kinds {
        let mut after: Option<String> = None;
        loop {
            let last = after.as_deref();
            let ids = access_callers::page(connection, schema, kind, last, CHUNK).await?;
            let Some(last) = ids.last() else { break };
            after = Some(last.clone());
            let all = ids.iter().cloned().collect();
            let callers = match kind {
                OwnerKind::Key => Callers {
                    keys: all,
                    ..Callers::default()
                },
                OwnerKind::User => Callers {
                    users: all,
                    ..Callers::default()
                },
                OwnerKind::Team
                | OwnerKind::Organization
                | OwnerKind::Project
                | OwnerKind::EndUser
                | OwnerKind::Agent => Callers {
                    teams: all,
                    ..Callers::default()
                },
            };
            let rows = access_rows::rows(connection, schema, &callers).await?;
            comparison.chunk(kind, &ids, &rows, &mut affected)?;
            progress.rows(ids.len());
        }
    }
    Ok(affected)
}

/// What the access of every caller is compared with.
struct Comparison<'a> {
    /// Everything as if the servers were deleted.
    basis: AccessBasis,
    /// The servers that are served until then.
    served: Registry,
    catalog: &'a ServerCatalog,
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
    /// Compares the callers of some owners of one kind, in their order.
    fn chunk(
        &self,
        kind: OwnerKind,
        ids: &[String],
        rows: &AccessRows,
        affected: &mut AffectedCallers,
    ) -> Result<(), Failure> {
        let cleaned = self.cleaned(rows);
        for id in ids {
            let callers = match kind {
                OwnerKind::Key => self.of_key(id, rows),
                OwnerKind::User => vec![Caller::Session {
                    user: id.clone(),
                    toolset: None,
                }],
                OwnerKind::Team if id == DASHBOARD_TEAM => Vec::new(),
                OwnerKind::Team
                | OwnerKind::Organization
                | OwnerKind::Project
                | OwnerKind::EndUser
                | OwnerKind::Agent => vec![Caller::Keyless {
                    team: Some(id.clone()),
                    user: None,
                }],
            };
            for caller in callers {
                let (change, complete) = self.change(&caller, rows, cleaned.as_ref());
                affected.count(complete);
                if change != AccessChange::default() {
                    let caller = shown(&caller, rows, change, complete);
                    affected.add(&caller).map_err(cannot_put_aside)?;
                }
            }
        }
        Ok(())
    }

    /// Lists the callers that a key makes: at large, and on the route of each toolset that it or
    /// its team holds.
    fn of_key(&self, token: &str, rows: &AccessRows) -> Vec<Caller> {
        let Some(key) = rows.keys.get(token) else {
            return Vec::new();
        };
        let asking = |toolset| Caller::Key {
            token: token.to_owned(),
            end_user: None,
            on_behalf_of: None,
            toolset,
        };
        let mut callers = vec![asking(None)];
        if self.basis.rules.has_toolset_routes() {
            let team = key.team.as_ref().and_then(|team| rows.teams.get(team));
            let own = rows.permission(key.permission.as_ref()).read();
            let of_team = team.and_then(|team| rows.permission(team.permission.as_ref()).read());
            let held = own.into_iter().chain(of_team).flat_map(|row| &row.toolsets);
            let held = held.filter(|id| rows.toolsets.contains_key(*id)).cloned();
            let held: BTreeSet<String> = held.collect();
            callers.extend(held.into_iter().map(|id| asking(Some(id))));
        }
        callers
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

    /// Compares one caller, with each unknown setting both ways: what it may lose and gain.
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
        for setting in &self.basis.unknown {
            let mut settings = self.basis.settings;
            setting.set(&mut settings, true);
            let other = self.change_with(settings, caller, rows, cleaned);
            complete &= other == all;
            all.extend(other);
        }
        (all, complete)
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
        let named = |servers: BTreeMap<&String, Tools>| -> Vec<ChangedServer> {
            let servers = servers.into_iter().map(|(id, tools)| ChangedServer {
                id: id.clone(),
                name: self.name(id),
                tools: tools.map(|tools| tools.into_iter().collect()),
                by,
            });
            servers.collect()
        };
        change.loses.extend(named(only_in(before, after)));
        change.gains.extend(named(only_in(after, before)));
    }

    fn name(&self, id: &str) -> Option<String> {
        let server = self.served.get(id)?;
        server.alias.clone().or_else(|| server.name.clone())
    }
}

/// Returns the servers, and the tools of servers, that `one` has and `other` has not.
fn only_in<'a>(one: &'a Access, other: &Access) -> BTreeMap<&'a String, Tools> {
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
    let organization = |team: &Option<String>| {
        let team = team.as_ref().and_then(|team| rows.teams.get(team));
        team.and_then(|team| team.organization.clone())
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
            let own = key.and_then(|key| key.organization.clone());
            AffectedCaller {
                via: "key".to_owned(),
                key: Some(AffectedKey {
                    id: api_key::shown_hash(token),
                    name: key.and_then(|key| key.name.clone()),
                }),
                organization: own.or_else(|| organization(&team)),
                team,
                user: key.and_then(|key| key.user.clone()),
                agent: key.and_then(|key| key.agent.clone()),
                toolset: toolset.clone(),
                ..nobody
            }
        }
        Caller::Keyless { team, user } => AffectedCaller {
            via: "keyless".to_owned(),
            organization: organization(team),
            team: team.clone(),
            user: user.clone(),
            ..nobody
        },
        Caller::Session { user, toolset } => AffectedCaller {
            via: "session".to_owned(),
            organization: rows.users.get(user).and_then(|u| u.organization.clone()),
            user: Some(user.clone()),
            toolset: toolset.clone(),
            ..nobody
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::access::registry::ServedServer;
    use crate::litellm::access::rows::{AccessTeam, Key, Permission};
    use crate::litellm::access::rules::AccessRules;
    use crate::litellm::deleted_servers::DeletedServers;
    use crate::litellm::release::Release;
    use crate::litellm::server::{ConfigServers, Server};

    /// Makes a key of a team whose row is given. The team grants `id-2`, and `id-1`, which has the
    /// tag `dev`, is taken as deleted.
    fn changes(own: Permission, release: Release) -> AccessChange {
        let server = |id: &str, tags: &[&str]| Server {
            server_id: id.to_owned(),
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
                    tags: row.tags.clone(),
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
                settings: AccessSettings::default(),
                unknown: Vec::new(),
                configs_known: true,
            },
            served: registry(&servers),
            catalog: &catalog,
        };
        let of_team = Permission {
            servers: vec!["id-1".to_owned(), "id-2".to_owned()],
            ..Permission::default()
        };
        let mut rows = AccessRows::default();
        let key = Key {
            token: "k".to_owned(),
            permission: Some("p-key".to_owned()),
            team: Some("t".to_owned()),
            ..Key::default()
        };
        let team = AccessTeam {
            permission: Some("p-team".to_owned()),
            ..AccessTeam::default()
        };
        rows.keys.insert("k".to_owned(), key);
        rows.teams.insert("t".to_owned(), team);
        rows.permissions.insert("p-key".to_owned(), Some(own));
        rows.permissions.insert("p-team".to_owned(), Some(of_team));
        let callers = comparison.of_key("k", &rows);
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
            tags: vec!["dev".to_owned()],
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
