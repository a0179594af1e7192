//! Tells running proxies, by Redis, to drop entries from their caches. Nothing else knows Redis.

#[cfg(feature = "redis")]
mod address;
#[cfg(feature = "redis")]
mod cluster;
#[cfg(feature = "redis")]
mod node;
#[cfg(feature = "redis")]
mod sentinel;

use crate::error::Failure;
use crate::litellm::proxy_cache::CacheKey;

/// Whether this build can notify proxies.
pub(crate) const IS_BUILT_IN: bool = cfg!(feature = "redis");

/// The result of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotifyResult {
    /// How many cache entries were to be dropped.
    pub entries: usize,
    /// How many workers were told of all of them. In a cluster, the reason if it is not known.
    pub workers: Result<usize, String>,
    /// How many entries are still in Redis, where `enable_redis_auth_cache` keeps them too, and
    /// why.
    pub left_in_redis: Option<(usize, String)>,
}

/// The Redis that the proxies share.
#[cfg(feature = "redis")]
#[derive(Debug)]
pub(crate) struct Redis {
    address: std::sync::Arc<address::RedisAddress>,
    namespace: Option<String>,
}

/// Has no value: this program was built without Redis.
#[cfg(not(feature = "redis"))]
#[derive(Debug)]
pub(crate) enum Redis {}

#[cfg(not(feature = "redis"))]
impl Redis {
    /// Refuses, and says how to build it in.
    ///
    /// # Errors
    ///
    /// Always.
    pub(crate) fn at(_url: &str, _namespace: Option<&str>) -> Result<Self, Failure> {
        Err(Failure::new(
            crate::error::ErrorKind::Usage,
            "this mcp-prune was built without Redis",
        )
        .hint("build it in: cargo install --path . --features redis"))
    }

    /// Does nothing, because no value of this type exists.
    ///
    /// # Errors
    ///
    /// None.
    pub(crate) fn forget(
        &self,
        _keys: Vec<CacheKey>,
    ) -> std::future::Ready<Result<NotifyResult, Failure>> {
        match *self {}
    }
}

#[cfg(feature = "redis")]
mod with_redis {
    use std::sync::Arc;
    use std::time::Duration;

    use anyhow::{Context as _, anyhow};

    use super::address::RedisAddress;
    use super::cluster::{self, LeftEntries, OtherNodes};
    use super::node::{Deadline, RedisNode, Role};
    use super::{CacheKey, Failure, NotifyResult, Redis};
    use crate::litellm::proxy_cache;

    /// How long everything may take, from the look-up of the name to the last message.
    const LIMIT: Duration = Duration::from_secs(20);

    /// How long to look for a server that is to send the messages.
    const CONNECT_LIMIT: Duration = Duration::from_secs(10);

    /// Entries in one round trip.
    const CHUNK: usize = 1_000;

    impl Redis {
        /// Reads the URL of a Redis, see [`RedisAddress`]. Does not connect yet.
        ///
        /// # Errors
        ///
        /// A usage failure if it is not such a URL. It is not shown, because it may hold a
        /// password.
        pub(crate) fn at(url: &str, namespace: Option<&str>) -> Result<Self, Failure> {
            Ok(Self {
                address: Arc::new(RedisAddress::parse(url)?),
                namespace: namespace.map(str::to_owned),
            })
        }

        /// Deletes the entries from Redis, and tells every listening worker to drop them.
        ///
        /// Redis comes first, because a worker that drops an entry reads it from there again if
        /// `enable_redis_auth_cache` is on. Source: LiteLLM 1.109.1
        /// `common_utils/auth_cache_invalidation_pubsub.py`, `evict_and_broadcast`.
        ///
        /// # Errors
        ///
        /// Why some worker may not have been told.
        pub(crate) async fn forget(&self, keys: Vec<CacheKey>) -> Result<NotifyResult, Failure> {
            let (address, namespace) = (Arc::clone(&self.address), self.namespace.clone());
            let work = tokio::task::spawn_blocking(move || {
                forget(
                    &address,
                    namespace.as_deref(),
                    &keys,
                    Deadline::after(LIMIT),
                )
            });
            let done = match tokio::time::timeout(LIMIT, work).await {
                Ok(done) => done.map_err(anyhow::Error::from).flatten(),
                Err(_) => Err(anyhow!("no answer in time")),
            };
            let done = done.context("the proxies could not be told by Redis");
            done.map_err(Failure::from)
        }
    }

    fn forget(
        address: &RedisAddress,
        namespace: Option<&str>,
        keys: &[CacheKey],
        deadline: Deadline,
    ) -> anyhow::Result<NotifyResult> {
        let (mut node, role) = connect(address, deadline.within(CONNECT_LIMIT))?;
        let channel = proxy_cache::channel(namespace);
        let (mut left, mut others) = (LeftEntries::default(), OtherNodes::default());
        let mut workers = usize::MAX;
        for keys in keys.chunks(CHUNK) {
            let names = keys.iter().map(|key| key.in_redis(namespace)).collect();
            // The user may lack the privilege, or a node be down. The workers are told all the
            // same.
            others.delete(&mut node, names, deadline, &mut left);
            let messages = keys.iter().map(|key| {
                let mut publish = redis::cmd("PUBLISH");
                publish.arg(&channel).arg(key.message());
                publish
            });
            for heard in node.ask_each(messages)? {
                let heard = heard.and_then(|heard| Ok(redis::from_redis_value(heard)?));
                workers = workers.min(heard.map_err(|error| node.explain(&error))?);
            }
        }
        let workers = if role == Role::ClusterNode || others.were_asked() {
            let counted = cluster::listeners(&mut node, &channel, deadline);
            counted.map_err(|error| Failure::from(error).message())
        } else {
            Ok(workers)
        };
        Ok(NotifyResult {
            entries: keys.len(),
            workers,
            left_in_redis: left.why.map(|why| (left.count, why)),
        })
    }

    /// Connects to a server from which a message reaches all proxies; returns its part, too.
    fn connect(address: &RedisAddress, deadline: Deadline) -> anyhow::Result<(RedisNode, Role)> {
        let servers = match address {
            RedisAddress::Servers(servers) => servers,
            RedisAddress::Sentinels(sentinels) => {
                return Ok((sentinels.primary(deadline)?, Role::Primary));
            }
        };
        let mut node = RedisNode::connect_to_any(servers, deadline)?;
        let role = node.role();
        let server = node.info().addr();
        match role {
            Role::Primary | Role::ClusterNode => Ok((node, role)),
            Role::Replica => Err(anyhow!(
                "{server} is a replica, from which nothing reaches the proxies at its primary; \
                 name the primary"
            )),
            Role::Sentinel => Err(anyhow!(
                "{server} is a Sentinel; write redis-sentinel:// with ?service_name=NAME"
            )),
        }
    }
}
