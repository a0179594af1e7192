//! Tells running proxies, by Redis, to drop entries from their caches. Nothing else knows Redis.

use crate::error::{ErrorKind, Failure};
use crate::litellm::proxy_cache::CacheKey;

/// Whether this build can notify proxies.
pub(crate) const IS_BUILT_IN: bool = cfg!(feature = "redis");

/// The result of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotifyResult {
    /// How many cache entries were to be dropped.
    pub entries: usize,
    /// How many workers received the messages for all of them.
    pub workers: usize,
    /// Why entries are still in Redis, where `enable_redis_auth_cache` keeps them too.
    pub left_in_redis: Option<String>,
}

/// The Redis that the proxies share.
#[cfg(feature = "redis")]
#[derive(Debug)]
pub(crate) struct Redis {
    client: redis::Client,
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
        Err(
            Failure::new(ErrorKind::Usage, "this mcp-prune was built without Redis")
                .hint("build it in: cargo install --path . --features redis"),
        )
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
    use std::time::Duration;

    use redis::RedisError;

    use super::{CacheKey, ErrorKind, Failure, NotifyResult, Redis};
    use crate::litellm::proxy_cache;

    /// How long one step may take: to connect, or to be answered.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// How long everything may take, from the look-up of the name to the last message.
    const LIMIT: Duration = Duration::from_secs(20);

    /// Entries in one round trip.
    const CHUNK: usize = 1_000;

    impl Redis {
        /// Reads the URL of a Redis: `redis://`, or `rediss://` with TLS. Does not connect yet.
        ///
        /// # Errors
        ///
        /// A usage failure if it is not such a URL. It is not shown, because it may hold a
        /// password.
        pub(crate) fn at(url: &str, namespace: Option<&str>) -> Result<Self, Failure> {
            let client = redis::Client::open(url.trim()).map_err(|error| {
                let said = error.category();
                Failure::new(
                    ErrorKind::Usage,
                    format!("cannot use the URL of --notify-redis: {said}"),
                )
                .hint("write redis://USER:PASSWORD@HOST:PORT/DATABASE, or rediss:// for TLS")
            })?;
            Ok(Self {
                client,
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
            let (client, namespace) = (self.client.clone(), self.namespace.clone());
            let work = tokio::task::spawn_blocking(move || {
                forget(&client, namespace.as_deref(), &keys).map_err(|error| failed(&error))
            });
            match tokio::time::timeout(LIMIT, work).await {
                Ok(done) => done.map_err(anyhow::Error::from)?,
                Err(_) => Err(unheard("no answer in time")),
            }
        }
    }

    fn forget(
        client: &redis::Client,
        namespace: Option<&str>,
        keys: &[CacheKey],
    ) -> Result<NotifyResult, RedisError> {
        let mut connection = client.get_connection_with_timeout(PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        let channel = proxy_cache::channel(namespace);
        let mut told = NotifyResult {
            entries: keys.len(),
            workers: usize::MAX,
            left_in_redis: None,
        };
        for keys in keys.chunks(CHUNK) {
            let (mut away, mut publish) = (redis::pipe(), redis::pipe());
            for key in keys {
                away.del(key.in_redis(namespace)).ignore();
                publish.publish(&channel, key.message());
            }
            // The role may lack the privilege, or a cluster's node hold other keys. The workers are
            // told all the same.
            if let Err(error) = away.exec(&mut connection) {
                told.left_in_redis = Some(error.to_string());
            }
            let heard: Vec<usize> = publish.query(&mut connection)?;
            told.workers = heard.into_iter().fold(told.workers, usize::min);
        }
        Ok(told)
    }

    fn failed(error: &RedisError) -> Failure {
        unheard(&error.to_string())
    }

    fn unheard(why: &str) -> Failure {
        Failure::new(
            ErrorKind::Error,
            format!("the proxies could not be told by Redis: {why}"),
        )
    }
}
