//! Tells the proxies of a repair once it is committed: until then they serve what they have cached.

use std::collections::BTreeSet;

use crate::cli::repair::NotifyArgs;
use crate::db::purpose::Purpose;
use crate::db::session::Session;
use crate::db::{key_hashes, owners};
use crate::error::{ErrorKind, Failure};
use crate::litellm::proxy_cache::{CacheKey, ROWS_FOR};
use crate::litellm::reference_sites::{Choice, Group, PERMISSIONS};
use crate::process::signals::{Interrupt, cut_short};
use crate::process::stderr::{note, warn};
use crate::redis::{NotifyResult, Redis};
use crate::repair::changeset::RowChange;
use crate::report::shown_text::count;

/// The primary keys of the written rows that proxies cache.
#[derive(Debug, Default)]
pub(crate) struct ChangedRows {
    permissions: BTreeSet<String>,
    access_groups: BTreeSet<String>,
}

impl ChangedRows {
    /// Adds the rows of `changes`.
    pub(crate) fn add<'a>(&mut self, changes: impl IntoIterator<Item = &'a RowChange>) {
        for change in changes {
            let keys = match change.table().group {
                Group::Permissions => &mut self.permissions,
                Group::AccessGroups => &mut self.access_groups,
                Group::Toolsets | Group::Defaults | Group::Credentials => continue,
            };
            keys.insert(change.key().to_owned());
        }
    }

    fn is_empty(&self) -> bool {
        self.permissions.is_empty() && self.access_groups.is_empty()
    }
}

/// Where the proxies are told of a repair, if they are.
#[derive(Debug)]
pub(crate) struct AfterCare {
    redis: Option<Redis>,
}

impl AfterCare {
    /// Reads where the proxies' Redis is. A wrong URL fails here, before anything is written.
    pub(crate) fn read(args: &NotifyArgs) -> Result<Self, Failure> {
        let namespace = args
            .notify_namespace
            .as_deref()
            .filter(|name| !name.is_empty());
        let url = args.notify_redis.as_deref();
        let redis = url.map(|url| Redis::at(url, namespace)).transpose()?;
        Ok(Self { redis })
    }

    /// Returns whether proxies are to be told.
    pub(crate) fn tells(&self) -> bool {
        self.redis.is_some()
    }

    /// Makes the proxies forget the rows that were written. They cache no toolset and no setting by
    /// its id, so nothing is sent for those.
    ///
    /// A failure here is only a warning: the repair is already committed. Returns `false` if a
    /// signal came first.
    pub(crate) async fn tell(
        &self,
        session: &mut Session,
        written: &ChangedRows,
        interrupt: &mut Interrupt,
    ) -> bool {
        let Some(redis) = self.redis.as_ref().filter(|_| !written.is_empty()) else {
            return true;
        };
        let telling = async {
            let mut keys = cache_keys(session, &written.permissions).await?;
            let groups = written.access_groups.iter();
            keys.extend(groups.map(|group| CacheKey::of_access_group(group)));
            redis.forget(keys).await
        };
        let failure = |signal| cut_short(signal, " while proxies were told");
        match interrupt.race(telling, failure).await {
            Ok(told) => {
                report(told);
                true
            }
            Err(failure) => {
                warn(format_args!(
                    "everything was committed, but {}; proxies serve the old rows for up to \
                     {ROWS_FOR} seconds",
                    failure.message()
                ));
                !matches!(failure.kind(), ErrorKind::Interrupted(_))
            }
        }
    }
}

/// Prints how many workers were told, and what is left to expire.
fn report(told: NotifyResult) {
    let entries = count(told.entries, "cache entry");
    match told.workers {
        Ok(0) => warn(format_args!(
            "no proxy listens on this Redis under this namespace, so none was told; proxies serve \
             the old rows for up to {ROWS_FOR} seconds"
        )),
        Ok(workers) => note(format_args!(
            "told {} to forget {entries}",
            count(workers, "proxy worker")
        )),
        Err(why) => warn(format_args!(
            "all proxies that listen on this Redis Cluster under this namespace were told to \
             forget {entries}, but nobody could count them: {why}; a proxy that does not listen \
             serves the old rows for up to {ROWS_FOR} seconds"
        )),
    }
    if let Some((left, why)) = told.left_in_redis {
        let are = if left == 1 { "is" } else { "are" };
        let left = count(left, "cache entry");
        warn(format_args!(
            "{left} {are} still in Redis, which matters with enable_redis_auth_cache: {why}"
        ));
    }
}

/// Returns the cache keys of the rows, and of the owners in whose cache entries they are embedded.
async fn cache_keys(
    session: &mut Session,
    rows: &BTreeSet<String>,
) -> Result<Vec<CacheKey>, Failure> {
    let rows: Vec<String> = rows.iter().cloned().collect();
    let permissions = Choice {
        groups: [Group::Permissions].into(),
        by_name: true,
        configs_known: false,
    };
    let mut open = session.begin(Purpose::Read, &permissions).await?;
    let (connection, schema) = open.parts();
    let owners = owners::holders(connection, schema, &PERMISSIONS, &rows).await?;
    let hashes = key_hashes::hashes(connection, schema, &rows).await?;
    open.rollback().await?;
    let mut keys: Vec<CacheKey> = rows.iter().map(|row| CacheKey::of_row(row)).collect();
    keys.extend(owners.all().flat_map(|owner| CacheKey::of_owner(&owner)));
    keys.extend(hashes.into_iter().map(CacheKey::of_key));
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}
