//! Compares the access of every caller who depends on rows that change, with the rows before and
//! after: the proof that a repair changed nobody's access. The search for what becomes of empty
//! lists makes the same comparison.
//!
//! End users, and the humans whom an agent names, only limit what a key has. If the row of such a
//! person changes, a made-up key that may use every server is compared on that person's behalf:
//! the person's limit shows in what is left. Otherwise each key is compared by itself. A caller
//! without a key is compared for each team that changes, and for each user who changes: alone, and
//! in each of the user's teams.

use std::collections::BTreeSet;

use crate::db::access_rows::{self, Callers};
use crate::db::affected_owners::{self, AffectedOwners, AlteredKeys};
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::error::Failure;
use crate::litellm::access::basis::AccessBasis;
use crate::litellm::access::caller::{Caller, Human, MADE_UP_KEY};
use crate::litellm::access::difference::AccessDifference;
use crate::litellm::access::other_values::OtherValues;
use crate::litellm::access::rows::{AccessRows, Key, Permission};
use crate::litellm::ids::{AgentId, EndUserId, KeyToken, PermissionKey, TeamId, ToolsetId, UserId};
use crate::litellm::server_catalog::ServerCatalog;
use crate::repair::access_comparison::ComparedAccess;
use crate::repair::caller_rows::{CallerRows, ComparedCaller};
use crate::workflow::CHUNK;

/// Compares answers from rows of this database.
#[derive(Clone, Copy)]
pub(crate) struct AccessProof<'a> {
    /// What the answers depend on besides the rows.
    pub(crate) basis: &'a AccessBasis,
    /// The servers, which tell what a reference may mean to a config that is not known.
    pub(crate) catalog: &'a ServerCatalog,
    /// The most callers to compare.
    pub(crate) most: usize,
}

/// Two states of the rows to compare: the rows that are read, with these values in some columns.
#[derive(Clone, Copy)]
pub(crate) struct TwoStates<'a> {
    /// The values before.
    pub(crate) before: &'a OtherValues,
    /// The values after.
    pub(crate) after: &'a OtherValues,
}

impl AccessProof<'_> {
    /// Compares every caller that depends on a row of which either state has other values than
    /// were read, and collects the callers who differ.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub(crate) async fn compare(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        states: TwoStates<'_>,
    ) -> Result<ComparedAccess, Failure> {
        let mut compared = ComparedAccess::default();
        let add = |caller: ComparedCaller<'_>| compared.add(caller.differing);
        let every = |_: &AccessDifference| true;
        let not_compared = self.each(connection, schema, states, every, add).await?;
        compared.not_compared = not_compared;
        Ok(compared)
    }

    /// Compares the same callers, and hands each of them to `each`. Only differences for which
    /// `counts` is true are kept. Returns how many owners or callers were left out because there
    /// are too many.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub(crate) async fn each(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        states: TwoStates<'_>,
        counts: fn(&AccessDifference) -> bool,
        mut each: impl FnMut(ComparedCaller<'_>),
    ) -> Result<usize, Failure> {
        let altered = altered(states);
        let toolsets: BTreeSet<ToolsetId> = altered.toolsets.iter().cloned().collect();
        let owners = affected_owners::affected(connection, schema, altered).await?;
        let (mut left, mut not_compared) = (self.most, 0);
        for chunk in chunks(&owners) {
            if left == 0 {
                not_compared += chunk.len();
                continue;
            }
            let asked = chunk.callers(&toolsets);
            let mut rows = access_rows::rows(connection, schema, &asked).await?;
            self.add_made_up_key(&mut rows);
            let callers = chunk.of_rows(&rows, states, &toolsets);
            let (before, after) = (states.before, states.after);
            let rows = (before.within(&rows), after.within(&rows));
            let compared = CallerRows::new(self.basis, self.catalog, rows);
            let taken = callers.len().min(left);
            left -= taken;
            not_compared += callers.len() - taken;
            for caller in &callers[..taken] {
                each(compared.compare(caller, counts));
            }
        }
        Ok(not_compared)
    }
}

/// Collects the keys of all rows of which either state has other values.
fn altered(states: TwoStates<'_>) -> AlteredKeys {
    fn all<'k, K: Ord + Clone + 'k>(
        before: impl Iterator<Item = &'k K>,
        after: impl Iterator<Item = &'k K>,
    ) -> Vec<K> {
        let keys: BTreeSet<&K> = before.chain(after).collect();
        keys.into_iter().cloned().collect()
    }
    let TwoStates { before, after } = states;
    AlteredKeys {
        permissions: all(before.permissions(), after.permissions()),
        access_groups: all(before.access_groups(), after.access_groups()),
        toolsets: all(before.toolsets(), after.toolsets()),
    }
}

/// Some owners of one kind, whose callers are compared together.
#[derive(Clone, Copy)]
enum OwnerChunk<'a> {
    Teams(&'a [TeamId]),
    Users(&'a [UserId]),
    EndUsers(&'a [EndUserId]),
    Keys(&'a [KeyToken]),
}

/// Splits the owners into chunks.
fn chunks(owners: &AffectedOwners) -> impl Iterator<Item = OwnerChunk<'_>> {
    let teams = owners.teams.chunks(CHUNK).map(OwnerChunk::Teams);
    let users = owners.users.chunks(CHUNK).map(OwnerChunk::Users);
    let end_users = owners.end_users.chunks(CHUNK).map(OwnerChunk::EndUsers);
    let keys = owners.keys.chunks(CHUNK).map(OwnerChunk::Keys);
    teams.chain(users).chain(end_users).chain(keys)
}

impl OwnerChunk<'_> {
    fn len(self) -> usize {
        match self {
            Self::Teams(ids) => ids.len(),
            Self::Users(ids) => ids.len(),
            Self::EndUsers(ids) => ids.len(),
            Self::Keys(ids) => ids.len(),
        }
    }

    /// Says whose rows are read for these owners.
    fn callers(self, toolsets: &BTreeSet<ToolsetId>) -> Callers {
        let mut callers = Callers {
            toolsets: toolsets.clone(),
            ..Callers::default()
        };
        match self {
            Self::Teams(ids) => callers.teams.extend(ids.iter().cloned()),
            Self::Users(ids) => callers.users.extend(ids.iter().cloned()),
            Self::EndUsers(ids) => callers.end_users.extend(ids.iter().cloned()),
            Self::Keys(ids) => callers.keys.extend(ids.iter().cloned()),
        }
        callers
    }

    /// Lists the callers of these owners.
    fn of_rows(
        self,
        rows: &AccessRows,
        states: TwoStates<'_>,
        toolsets: &BTreeSet<ToolsetId>,
    ) -> Vec<Caller> {
        match self {
            Self::Keys(ids) => {
                let keys = ids.iter().filter_map(|id| rows.keys.get(id));
                keys.flat_map(|key| of_key(key, rows, states, toolsets))
                    .collect()
            }
            Self::Users(ids) => {
                let users = ids.iter();
                users.flat_map(|id| of_user(id, rows, toolsets)).collect()
            }
            Self::Teams(ids) => {
                let teams = ids.iter().filter(|id| !id.is_of_dashboard());
                teams.flat_map(of_team).collect()
            }
            Self::EndUsers(ids) => {
                let behalf = |id: &EndUserId| made_up(Some(id.clone()), None);
                ids.iter().map(behalf).collect()
            }
        }
    }
}

/// Makes the caller that an end user or a human limits.
fn made_up(end_user: Option<EndUserId>, on_behalf_of: Option<Human>) -> Caller {
    Caller::Key {
        token: KeyToken(MADE_UP_KEY.to_owned()),
        end_user,
        on_behalf_of,
        toolset: None,
    }
}

/// Lists the callers of a key: the key by itself, and on the route of each toolset that it or its
/// team names, or that changes.
fn of_key(
    key: &Key,
    rows: &AccessRows,
    states: TwoStates<'_>,
    toolsets: &BTreeSet<ToolsetId>,
) -> Vec<Caller> {
    let team = key.team.as_ref().and_then(|team| rows.teams.get(team));
    let of_team = team.and_then(|team| team.permission.as_ref());
    let links = key.permission.iter().chain(of_team);
    let named = links.flat_map(|link| {
        let read = rows.permissions.get(link).and_then(Option::as_ref);
        let stored = read.into_iter().flat_map(|row| row.toolsets.iter());
        stored
            .chain(states.before.toolsets_of(link))
            .chain(states.after.toolsets_of(link))
    });
    let mut toolsets = toolsets.clone();
    toolsets.extend(named.cloned());
    let on_routes = toolsets.into_iter().map(Some);
    std::iter::once(None)
        .chain(on_routes)
        .map(|toolset| Caller::Key {
            token: key.token.clone(),
            end_user: None,
            on_behalf_of: None,
            toolset,
        })
        .collect()
}

/// Lists the callers of a user: its session, the user without a key, and the human behind a call.
fn of_user(id: &UserId, rows: &AccessRows, toolsets: &BTreeSet<ToolsetId>) -> Vec<Caller> {
    let teams = rows.users.get(id).into_iter().flat_map(|user| &user.teams);
    let session = |toolset| Caller::Session {
        user: id.clone(),
        toolset,
    };
    let routes = toolsets.iter().cloned().map(Some);
    let sessions = std::iter::once(None).chain(routes).map(session);
    let without_key = std::iter::once(None)
        .chain(teams.map(Some))
        .map(|team| Caller::Keyless {
            team: team.cloned(),
            user: Some(id.clone()),
        });
    let human = Human {
        user: Some(id.clone()),
        team: None,
    };
    sessions
        .chain(without_key)
        .chain([made_up(None, Some(human))])
        .collect()
}

/// Lists the callers of a team besides its keys: who has no key, and the human behind a call.
fn of_team(id: &TeamId) -> [Caller; 2] {
    let team = Some(id.clone());
    let human = Human {
        user: None,
        team: team.clone(),
    };
    [
        Caller::Keyless { team, user: None },
        made_up(None, Some(human)),
    ]
}

impl AccessProof<'_> {
    /// Adds the key that may use every server, for the owners that only limit keys.
    fn add_made_up_key(&self, rows: &mut AccessRows) {
        let link = || PermissionKey(MADE_UP_KEY.to_owned());
        let token = || KeyToken(MADE_UP_KEY.to_owned());
        let possible = self.basis.possible(rows, self.catalog);
        let registry = possible.as_ref().unwrap_or(&self.basis.registry);
        let row = Permission {
            servers: registry.ids().map(|id| id.as_str().to_owned()).collect(),
            ..Permission::default()
        };
        let key = Key {
            token: token(),
            permission: Some(link()),
            // Only an agent's key names a human behind its call.
            agent: Some(AgentId(MADE_UP_KEY.to_owned())),
            team: None,
            organization: None,
            user: None,
            access_groups: Vec::new(),
            name: None,
        };
        rows.permissions.insert(link(), Some(row));
        rows.keys.insert(token(), key);
    }
}
