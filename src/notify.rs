//! The only place that knows Redis: tells running proxies to forget what they keep.

use crate::failure::{Failure, Kind};
use crate::litellm::caches::CacheKey;

/// Whether this build can tell proxies.
pub const IS_BUILT_IN: bool = cfg!(feature = "redis");

/// What became of a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// How many entries were to be forgotten.
    pub entries: usize,
    /// How many workers heard of every one of them.
    pub workers: usize,
    /// Why they are still in Redis, where `enable_redis_auth_cache` keeps them too.
    pub left_in_redis: Option<String>,
}

/// The Redis that proxies coordinate themselves by.
#[cfg(feature = "redis")]
#[derive(Debug)]
pub struct Redis {
    client: redis::Client,
    namespace: Option<String>,
}

/// There is none: this program was built without.
#[cfg(not(feature = "redis"))]
#[derive(Debug)]
pub enum Redis {}

#[cfg(not(feature = "redis"))]
impl Redis {
    /// Says how to get it.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn at(_url: &str, _namespace: Option<&str>) -> Result<Self, Failure> {
        Err(
            Failure::new(Kind::Usage, "this mcp-prune was built without Redis")
                .hint("build it in: cargo install --path . --features redis"),
        )
    }

    /// Never called.
    ///
    /// # Errors
    ///
    /// None.
    pub fn forget(&self, _keys: Vec<CacheKey>) -> std::future::Ready<Result<Told, Failure>> {
        match *self {}
    }
}

#[cfg(feature = "redis")]
mod with_redis {
    use std::time::Duration;

    use redis::RedisError;

    use super::{CacheKey, Failure, Kind, Redis, Told};
    use crate::litellm::caches;

    /// How long one step may take: to connect, or to be answered.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// How long all of it may take, with the name looked up and every message sent.
    const LIMIT: Duration = Duration::from_secs(20);

    /// Entries in one round trip.
    const CHUNK: usize = 1_000;

    impl Redis {
        /// Reads the URL of a Redis: `redis://`, or `rediss://` with TLS. Nothing is connected to yet.
        ///
        /// # Errors
        ///
        /// Usage, where it is none. The text does not show it, as it may hold a password.
        pub fn at(url: &str, namespace: Option<&str>) -> Result<Self, Failure> {
            let client = redis::Client::open(url.trim()).map_err(|error| {
                let said = error.category();
                Failure::new(
                    Kind::Usage,
                    format!("cannot use the URL of --notify-redis: {said}"),
                )
                .hint("write redis://USER:PASSWORD@HOST:PORT/DATABASE, or rediss:// for TLS")
            })?;
            Ok(Self {
                client,
                namespace: namespace.map(str::to_owned),
            })
        }

        /// Takes the entries out of Redis and has every listening worker drop them from its memory.
        ///
        /// In the order of LiteLLM 1.109.1 `common_utils/auth_cache_invalidation_pubsub.py`,
        /// `evict_and_broadcast`: a worker that forgets refills from Redis, where
        /// `enable_redis_auth_cache` keeps the same entries.
        ///
        /// # Errors
        ///
        /// Why some worker may not have heard of it.
        pub async fn forget(&self, keys: Vec<CacheKey>) -> Result<Told, Failure> {
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
    ) -> Result<Told, RedisError> {
        let mut connection = client.get_connection_with_timeout(PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        let channel = caches::channel(namespace);
        let mut told = Told {
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
            // A role may lack it, and a cluster's node hold other keys; the workers are told all the same.
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
            Kind::Error,
            format!("the proxies could not be told by Redis: {why}"),
        )
    }
}
