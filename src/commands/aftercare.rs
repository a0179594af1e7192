//! What is left to do once a repair is committed: the proxies still serve what they have read.

use super::{Interrupt, note, warn};
use crate::cli::NotifyArgs;
use crate::db::schema::Purpose;
use crate::db::session::Session;
use crate::db::{holders, tokens};
use crate::failure::Failure;
use crate::litellm::caches::{CacheKey, ROWS_FOR};
use crate::litellm::sites::{Choice, Group, PERMISSIONS};
use crate::notify::{Redis, Told};
use crate::repair::changeset::Change;

/// Whom to tell of a repair.
#[derive(Debug)]
pub(super) struct AfterCare {
    redis: Option<Redis>,
}

impl AfterCare {
    /// Reads where the proxies' Redis is, before anything is written.
    pub(super) fn read(args: &NotifyArgs) -> Result<Self, Failure> {
        let namespace = args
            .notify_namespace
            .as_deref()
            .filter(|name| !name.is_empty());
        let url = args.notify_redis.as_deref();
        let redis = url.map(|url| Redis::at(url, namespace)).transpose()?;
        Ok(Self { redis })
    }

    /// Has the proxies forget the permission rows and access groups that were written; of the rest no
    /// entry is kept by its id. By now the repair is committed, so
    /// whatever goes wrong is a warning.
    pub(super) async fn tell(
        &self,
        session: &mut Session,
        changes: &[Change],
        interrupt: &mut Interrupt,
    ) {
        let Some(redis) = self.redis.as_ref().filter(|_| !changes.is_empty()) else {
            return;
        };
        let of = |group: Group| -> Vec<String> {
            let of_group = changes.iter().filter(|change| change.table.group == group);
            of_group.map(|change| change.key.clone()).collect()
        };
        let telling = async {
            let mut keys = cache_keys(session, &of(Group::Permissions)).await?;
            let groups = of(Group::AccessGroups);
            keys.extend(groups.iter().map(|group| CacheKey::of_access_group(group)));
            redis.forget(keys).await
        };
        match interrupt.race(telling, "after the commit").await {
            Ok(Told { workers: 0, .. }) => warn(format_args!(
                "no proxy listens on this Redis under this namespace, so none was told; they serve the \
                 old rows for up to {ROWS_FOR} seconds"
            )),
            Ok(told) => {
                note(format_args!(
                    "told {} proxy worker(s) to forget {} cache entries",
                    told.workers, told.entries
                ));
                if let Some(why) = told.left_in_redis {
                    warn(format_args!(
                        "the entries are still in Redis, which matters with enable_redis_auth_cache: {why}"
                    ));
                }
            }
            Err(failure) => warn(format_args!(
                "all was committed, yet {}; they serve the old rows for up to {ROWS_FOR} seconds",
                failure.message()
            )),
        }
    }
}

/// Under which names proxies keep the rows, and those in whose entries they are embedded.
async fn cache_keys(session: &mut Session, rows: &[String]) -> Result<Vec<CacheKey>, Failure> {
    let permissions = Choice {
        groups: [Group::Permissions].into(),
        by_name: true,
        configs_known: false,
    };
    let mut open = session.begin(Purpose::Read, &permissions).await?;
    let (connection, schema) = open.parts();
    let owners = holders::holders(connection, schema, &PERMISSIONS, rows).await?;
    let hashes = tokens::hashes(connection, schema, rows).await?;
    open.rollback().await?;
    let mut keys: Vec<CacheKey> = rows.iter().map(|row| CacheKey::of_row(row)).collect();
    keys.extend(owners.values().flatten().flat_map(CacheKey::of_owner));
    keys.extend(hashes.into_iter().map(CacheKey::of_key));
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}
