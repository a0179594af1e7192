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

use sha2::{Digest as _, Sha256};

use crate::db::access_callers;
use crate::db::access_rows::{self, Callers, StoredRows};
use crate::db::affected_owners::{self, AffectedOwners, AlteredKeys};
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::error::Failure;
use crate::litellm::access::basis::AccessBasis;
use crate::litellm::access::caller::{Caller, Human, MADE_UP_KEY};
use crate::litellm::access::difference::AccessDifference;
use crate::litellm::access::other_values::OtherValues;
use crate::litellm::access::rows::{AccessRows, Key, Permission, User};
use crate::litellm::access::rules::AccessRules;
use crate::litellm::ids::{AgentId, EndUserId, KeyToken, PermissionKey, TeamId, ToolsetId, UserId};
use crate::litellm::packed_token::PackedToken;
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
    /// were read, and collects the callers who differ. What was `read` for the same rows before is
    /// not read again.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub(crate) async fn compare(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        read: &mut ReadCallers,
        states: TwoStates<'_>,
    ) -> Result<ComparedAccess, Failure> {
        let mut compared = ComparedAccess::default();
        let add = |caller: ComparedCaller<'_>| compared.add(caller.differing);
        let every = |_: &AccessDifference| true;
        let each = self.each(connection, schema, read, states, every, add);
        let not_compared = each.await?;
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
        read: &mut ReadCallers,
        states: TwoStates<'_>,
        counts: fn(&AccessDifference) -> bool,
        mut each: impl FnMut(ComparedCaller<'_>),
    ) -> Result<usize, Failure> {
        let altered = altered(states);
        if self.most == 0 {
            return Ok(altered.rows());
        }
        read.read_owners(connection, schema, altered).await?;
        read.read_rows(connection, schema).await?;
        let has_routes = self.knows(AccessRules::has_toolset_routes);
        if has_routes {
            read.read_toolsets(connection, schema).await?;
        }
        let ReadCallers {
            owners,
            toolsets,
            stored,
            ..
        } = &*read;
        let no_toolsets = BTreeSet::new();
        let toolsets = toolsets.as_ref().filter(|_| has_routes);
        let toolsets = toolsets.unwrap_or(&no_toolsets);
        let (mut left, mut not_compared) = (self.most, 0);
        for chunk in chunks(owners) {
            if left == 0 {
                not_compared += chunk.len();
                continue;
            }
            let mut asked = chunk.callers();
            let mut rows = match stored {
                Some(stored) => stored.rows(&asked)?,
                None => access_rows::rows(connection, schema, &asked).await?,
            };
            if !toolsets.is_empty() && rows.users.values().any(|user| user.administers) {
                // Who administers the proxy may take the route of any toolset.
                asked.toolsets.clone_from(toolsets);
                rows = access_rows::rows(connection, schema, &asked).await?;
            }
            self.add_made_up_keys(&chunk, &mut rows);
            let callers = CallersOf {
                proof: self,
                rows: &rows,
                states,
                toolsets,
            };
            let callers = callers.chunk(&chunk);
            let rows = (
                states.before.within(rows.clone()),
                states.after.within(rows),
            );
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

    /// Tells whether any release that may have this schema has a rule.
    fn knows(&self, rule: fn(AccessRules) -> bool) -> bool {
        let later = self.basis.later.iter().copied();
        std::iter::once(self.basis.rules).chain(later).any(rule)
    }
}

/// The callers who depend on some rows, as far as they were read.
#[derive(Debug, Default)]
pub(crate) struct ReadCallers {
    /// The digest of the keys of these rows; `None` where nothing was read yet.
    altered: Option<[u8; 32]>,
    owners: AffectedOwners,
    /// Every toolset.
    toolsets: Option<BTreeSet<ToolsetId>>,
    /// The rows of all these owners, if they are few.
    stored: Option<StoredRows>,
}

impl ReadCallers {
    /// Reads the owners whose callers depend on a row of which either state has other values than
    /// were read, and counts them.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub(crate) async fn count_owners(
        &mut self,
        connection: &mut Connection,
        schema: &Schema,
        states: TwoStates<'_>,
    ) -> Result<usize, Failure> {
        self.read_owners(connection, schema, altered(states))
            .await?;
        Ok(self.owners.number())
    }

    /// Reads who depends on `altered`, unless that is what was read last.
    async fn read_owners(
        &mut self,
        connection: &mut Connection,
        schema: &Schema,
        altered: AlteredKeys<'_>,
    ) -> Result<(), Failure> {
        let digest = digest(&altered);
        if self.altered != Some(digest) {
            *self = Self {
                owners: affected_owners::affected(connection, schema, altered).await?,
                altered: Some(digest),
                ..Self::default()
            };
        }
        Ok(())
    }

    /// Reads the rows of the owners, if they are few, unless they were read.
    async fn read_rows(
        &mut self,
        connection: &mut Connection,
        schema: &Schema,
    ) -> Result<(), Failure> {
        if self.stored.is_none() && self.owners.number() <= CHUNK {
            let mut asked = Callers::default();
            for chunk in chunks(&self.owners) {
                chunk.ask(&mut asked);
            }
            self.stored = Some(access_rows::stored(connection, schema, &asked).await?);
        }
        Ok(())
    }

    /// Reads the toolsets, unless they were read.
    async fn read_toolsets(
        &mut self,
        connection: &mut Connection,
        schema: &Schema,
    ) -> Result<(), Failure> {
        if self.toolsets.is_none() {
            self.toolsets = Some(access_callers::toolsets(connection, schema).await?);
        }
        Ok(())
    }
}

/// Collects the keys of all rows of which either state has other values.
fn altered(states: TwoStates<'_>) -> AlteredKeys<'_> {
    fn all<'k>(
        before: impl Iterator<Item = &'k str>,
        after: impl Iterator<Item = &'k str>,
    ) -> Vec<&'k str> {
        let mut keys: Vec<&str> = before.chain(after).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
    let TwoStates { before, after } = states;
    AlteredKeys {
        permissions: all(before.permissions(), after.permissions()),
        access_groups: all(before.access_groups(), after.access_groups()),
        toolsets: all(before.toolsets(), after.toolsets()),
    }
}

/// Returns a digest of keys, which tells them from any others.
fn digest(altered: &AlteredKeys<'_>) -> [u8; 32] {
    let AlteredKeys {
        permissions,
        access_groups,
        toolsets,
    } = altered;
    let mut digest = Sha256::new();
    for keys in [permissions, access_groups, toolsets] {
        digest.update(keys.len().to_le_bytes());
        for key in keys {
            digest.update(key.len().to_le_bytes());
            digest.update(key);
        }
    }
    digest.finalize().into()
}

/// Some owners of one kind, whose callers are compared together.
enum OwnerChunk<'a> {
    Teams(&'a [TeamId]),
    Users(&'a [UserId]),
    EndUsers(&'a [EndUserId]),
    Keys(Vec<KeyToken>),
}

/// Splits the owners into chunks.
fn chunks(owners: &AffectedOwners) -> impl Iterator<Item = OwnerChunk<'_>> {
    let unpacked = |tokens: &[PackedToken]| tokens.iter().map(KeyToken::from).collect();
    let teams = owners.teams.chunks(CHUNK).map(OwnerChunk::Teams);
    let users = owners.users.chunks(CHUNK).map(OwnerChunk::Users);
    let end_users = owners.end_users.chunks(CHUNK).map(OwnerChunk::EndUsers);
    let keys = owners
        .keys
        .chunks(CHUNK)
        .map(unpacked)
        .map(OwnerChunk::Keys);
    teams.chain(users).chain(end_users).chain(keys)
}

impl OwnerChunk<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Teams(ids) => ids.len(),
            Self::Users(ids) => ids.len(),
            Self::EndUsers(ids) => ids.len(),
            Self::Keys(ids) => ids.len(),
        }
    }

    /// Says whose rows are read for these owners.
    fn callers(&self) -> Callers {
        let mut callers = Callers::default();
        self.ask(&mut callers);
        callers
    }

    /// Adds these owners to those whose rows are read.
    fn ask(&self, callers: &mut Callers) {
        match self {
            Self::Teams(ids) => callers.teams.extend(ids.iter().cloned()),
            Self::Users(ids) => callers.users.extend(ids.iter().cloned()),
            Self::EndUsers(ids) => callers.end_users.extend(ids.iter().cloned()),
            Self::Keys(ids) => callers.keys.extend(ids.iter().cloned()),
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

/// Makes the callers of owners, from their rows.
struct CallersOf<'a> {
    proof: &'a AccessProof<'a>,
    rows: &'a AccessRows,
    states: TwoStates<'a>,
    /// Every toolset; none where no release has routes of toolsets.
    toolsets: &'a BTreeSet<ToolsetId>,
}

impl CallersOf<'_> {
    /// Lists the callers of these owners.
    fn chunk(&self, chunk: &OwnerChunk<'_>) -> Vec<Caller> {
        match chunk {
            OwnerChunk::Keys(ids) => {
                let keys = ids.iter().filter_map(|id| self.rows.keys.get(id));
                keys.flat_map(|key| self.key(key)).collect()
            }
            OwnerChunk::Users(ids) => ids.iter().flat_map(|id| self.user(id)).collect(),
            OwnerChunk::Teams(ids) => {
                let teams = ids.iter().filter(|id| !id.is_of_dashboard());
                teams.flat_map(|id| self.team(id)).collect()
            }
            OwnerChunk::EndUsers(ids) => {
                let behalf = |id: &EndUserId| made_up(Some(id.clone()), None);
                ids.iter().map(behalf).collect()
            }
        }
    }

    /// Lists the callers of a key: the key by itself, and on the route of each toolset that it may
    /// take.
    fn key(&self, key: &Key) -> Vec<Caller> {
        let team = key.team.as_ref().and_then(|team| self.rows.teams.get(team));
        let of_team = team.and_then(|team| team.permission.as_ref());
        let links = key.permission.iter().chain(of_team);
        let user = key.user.as_ref().and_then(|user| self.rows.users.get(user));
        let routes = self.routes(links, user).into_iter().map(Some);
        let asking = |toolset| Caller::Key {
            token: key.token.clone(),
            end_user: None,
            on_behalf_of: None,
            toolset,
        };
        std::iter::once(None).chain(routes).map(asking).collect()
    }

    /// Lists the callers of a user: its session, by itself and on the route of each toolset that it
    /// may take; the user without a key, alone and in each of its teams; the key that the user
    /// limits; and the human behind a call of an agent.
    fn user(&self, id: &UserId) -> Vec<Caller> {
        let user = self.rows.users.get(id);
        let teams = || user.into_iter().flat_map(|user| &user.teams);
        let mut callers = Vec::new();
        if self.proof.knows(AccessRules::has_sessions) {
            let rows = teams().filter_map(|team| self.rows.teams.get(team));
            let of_teams = rows.filter_map(|team| team.permission.as_ref());
            let own = user.and_then(|user| user.permission.as_ref());
            let routes = self.routes(own.into_iter().chain(of_teams), user);
            let routes = std::iter::once(None).chain(routes.into_iter().map(Some));
            callers.extend(routes.map(|toolset| Caller::Session {
                user: id.clone(),
                toolset,
            }));
        }
        let of_teams = std::iter::once(None).chain(teams().map(Some));
        callers.extend(of_teams.map(|team| Caller::Keyless {
            team: team.cloned(),
            user: Some(id.clone()),
        }));
        callers.push(Caller::Key {
            token: made_up_key_of(id),
            end_user: None,
            on_behalf_of: None,
            toolset: None,
        });
        if self.proof.knows(AccessRules::agents_echo_callers) {
            let human = Human {
                user: Some(id.clone()),
                team: None,
            };
            callers.push(made_up(None, Some(human)));
        }
        callers
    }

    /// Lists the callers of a team besides its keys: who has no key, and the human behind a call of
    /// an agent.
    fn team(&self, id: &TeamId) -> Vec<Caller> {
        let team = Some(id.clone());
        let human = Human {
            user: None,
            team: team.clone(),
        };
        let mut callers = vec![Caller::Keyless { team, user: None }];
        if self.proof.knows(AccessRules::agents_echo_callers) {
            callers.push(made_up(None, Some(human)));
        }
        callers
    }

    /// Lists the toolsets whose routes a caller may take: those that the permission rows `links`
    /// name in either state, and all for an administrator.
    fn routes<'l>(
        &self,
        links: impl Iterator<Item = &'l PermissionKey>,
        user: Option<&User>,
    ) -> BTreeSet<ToolsetId> {
        if user.is_some_and(|user| user.administers) {
            return self.toolsets.clone();
        }
        let named = links.flat_map(|link| {
            let read = self.rows.permissions.get(link).and_then(Option::as_ref);
            let stored = read
                .into_iter()
                .flat_map(|row| row.toolsets.iter().cloned());
            let states = self.states;
            stored
                .chain(states.before.toolsets_of(link))
                .chain(states.after.toolsets_of(link))
        });
        named.filter(|id| self.toolsets.contains(id)).collect()
    }
}

/// Names the key that may use every server, and belongs to a user.
fn made_up_key_of(user: &UserId) -> KeyToken {
    KeyToken(format!("{MADE_UP_KEY}, of user {user},"))
}

impl AccessProof<'_> {
    /// Adds the keys that may use every server, for the owners that only limit keys: one of nobody,
    /// and one of each user.
    fn add_made_up_keys(&self, chunk: &OwnerChunk<'_>, rows: &mut AccessRows) {
        let users: &[UserId] = match chunk {
            OwnerChunk::Keys(_) => return,
            OwnerChunk::Users(users) => users,
            OwnerChunk::Teams(_) | OwnerChunk::EndUsers(_) => &[],
        };
        let link = || PermissionKey(MADE_UP_KEY.to_owned());
        let possible = self.basis.possible(rows, self.catalog);
        let registry = possible.as_ref().unwrap_or(&self.basis.registry);
        let row = Permission {
            servers: registry.ids().map(|id| id.as_str().to_owned()).collect(),
            ..Permission::default()
        };
        rows.permissions.insert(link(), Some(row));
        let key = |token: KeyToken, user: Option<UserId>, agent: Option<AgentId>| Key {
            token,
            permission: Some(link()),
            team: None,
            organization: None,
            user,
            agent,
            access_groups: Vec::new(),
            name: None,
        };
        // Only an agent's key names a human behind its call.
        let agent = Some(AgentId(MADE_UP_KEY.to_owned()));
        let token = KeyToken(MADE_UP_KEY.to_owned());
        rows.keys.insert(token.clone(), key(token, None, agent));
        for user in users {
            let token = made_up_key_of(user);
            let of_user = key(token.clone(), Some(user.clone()), None);
            rows.keys.insert(token, of_user);
        }
    }
}
