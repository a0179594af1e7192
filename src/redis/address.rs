//! The URL of `--notify-redis`: one server, the nodes of a cluster, or Sentinels and their service.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};
use url::Url;

use crate::error::{ErrorKind, Failure};
use crate::redis::sentinel::Sentinels;

const HINT: &str = "write redis://USER:PASSWORD@HOST:PORT/DATABASE, or rediss:// for TLS; for \
    Sentinels 'redis-sentinel://HOST:PORT,HOST:PORT?service_name=NAME', or rediss-sentinel:// for \
    TLS";

/// The port of a Sentinel, unless the URL has another one.
const SENTINEL_PORT: u16 = 26_379;

/// Where Redis is.
#[derive(Debug)]
pub(crate) enum RedisAddress {
    /// Servers to try in turn: one, or several nodes of a cluster.
    Servers(Vec<ConnectionInfo>),
    /// Sentinels, which know the current primary.
    Sentinels(Sentinels),
}

impl RedisAddress {
    /// Reads a URL. Its text is in no error, because it may hold a password.
    ///
    /// # Errors
    ///
    /// A usage failure if it is not such a URL.
    pub(crate) fn parse(url: &str) -> Result<Self, Failure> {
        let (scheme, rest) = url.trim().split_once("://").ok_or_else(unreadable)?;
        let (scheme, is_sentinel) = match scheme.strip_suffix("-sentinel") {
            Some(scheme @ ("redis" | "rediss")) => (scheme, true),
            Some(_) | None => (scheme, false),
        };
        let authority_ends = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_ends);
        let (user, hosts) = authority
            .rfind('@')
            .map_or(("", authority), |at| authority.split_at(at + 1));
        let urls = hosts.split(',').map(|host| {
            let url = format!("{scheme}://{user}{host}{path}");
            let mut url = Url::parse(&url).map_err(|_| unreadable())?;
            if is_sentinel && url.port().is_none() {
                url.set_port(Some(SENTINEL_PORT))
                    .map_err(|()| unreadable())?;
            }
            Ok(url)
        });
        let urls = urls.collect::<Result<Vec<Url>, Failure>>()?;
        let parameter = |name: &str| {
            let mut pairs = urls.iter().flat_map(Url::query_pairs);
            let value = pairs.find_map(|(key, value)| (key == name).then_some(value));
            value.filter(|value| !value.is_empty()).map(String::from)
        };
        let (service, password) = (parameter("service_name"), parameter("sentinel_password"));
        let servers = urls.into_iter().map(|url| {
            let server = url.into_connection_info();
            server.map_err(|error| unusable(error.category()))
        });
        let servers = servers.collect::<Result<Vec<_>, Failure>>()?;
        if !is_sentinel {
            return Ok(Self::Servers(servers));
        }
        let service = service.ok_or_else(|| unusable("it names Sentinels and no service_name"))?;
        let Some(redis) = servers.first().map(ConnectionInfo::redis_settings).cloned() else {
            return Err(unreadable());
        };
        // As LiteLLM does: a Sentinel has its own password, and the user's name is the same.
        // Source: LiteLLM 1.110.2 `_redis.py`, `_sentinel_auth_kwargs`.
        let mut login = RedisConnectionInfo::default();
        if let Some(password) = password {
            if let Some(user) = redis.username() {
                login = login.set_username(user);
            }
            login = login.set_password(password);
        }
        let servers = servers.into_iter();
        Ok(Self::Sentinels(Sentinels {
            watchers: servers
                .map(|server| server.set_redis_settings(login.clone()))
                .collect(),
            service,
            redis,
        }))
    }
}

fn unreadable() -> Failure {
    unusable("it cannot be read")
}

fn unusable(why: &str) -> Failure {
    let message = format!("cannot use the URL of --notify-redis: {why}");
    Failure::new(ErrorKind::Usage, message).hint(HINT)
}

/// Returns how to connect to another server of the same cluster or service: with the same
/// credentials, and with TLS if `known` has it.
pub(super) fn at(known: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let host = host.to_owned();
    let address = if let ConnectionAddr::TcpTls {
        insecure,
        tls_params,
        ..
    } = known.addr()
    {
        ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    known.clone().set_addr(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(servers: &[ConnectionInfo]) -> Vec<String> {
        let addresses = servers.iter().map(|server| server.addr().to_string());
        addresses.collect()
    }

    #[test]
    fn one_server_or_several_are_named() {
        for (url, expected) in [
            ("redis://cache", &["cache:6379"][..]),
            (" rediss://ann:a%2Cb@cache:1/2 ", &["cache:1"]),
            ("redis://:s3cret@a:1,b:2,c/0", &["a:1", "b:2", "c:6379"]),
            ("redis+unix:///run/redis.sock", &["/run/redis.sock"]),
        ] {
            let RedisAddress::Servers(servers) = RedisAddress::parse(url).unwrap() else {
                panic!("{url}");
            };
            assert_eq!(addresses(&servers), expected, "{url}");
        }
        let parsed = RedisAddress::parse("rediss://ann:a%2Cb@x,y/2").unwrap();
        let RedisAddress::Servers(servers) = parsed else {
            panic!();
        };
        for server in servers {
            let redis = server.redis_settings();
            assert_eq!(redis.username(), Some("ann"));
            assert_eq!((redis.password(), redis.db()), (Some("a,b"), 2));
            let is_tls = matches!(server.addr(), ConnectionAddr::TcpTls { .. });
            assert!(is_tls);
        }
    }

    #[test]
    fn sentinels_have_a_password_and_a_port_of_their_own() {
        let url = "redis-sentinel://ann:pw@a,b:2/3?service_name=my%20cache&sentinel_password=s%26t";
        let parsed = RedisAddress::parse(url).unwrap();
        let RedisAddress::Sentinels(sentinels) = parsed else {
            panic!();
        };
        assert_eq!(addresses(&sentinels.watchers), ["a:26379", "b:2"]);
        assert_eq!(sentinels.service, "my cache");
        let redis = &sentinels.redis;
        assert_eq!((redis.username(), redis.db()), (Some("ann"), 3));
        assert_eq!(redis.password(), Some("pw"));
        for sentinel in &sentinels.watchers {
            let login = sentinel.redis_settings();
            assert_eq!((login.username(), login.db()), (Some("ann"), 0));
            assert_eq!(login.password(), Some("s&t"));
        }
        // The password of the servers is not sent to a Sentinel.
        let url = "rediss-sentinel://ann:pw@a?service_name=x";
        let RedisAddress::Sentinels(sentinels) = RedisAddress::parse(url).unwrap() else {
            panic!();
        };
        let login = sentinels.watchers[0].redis_settings();
        assert_eq!((login.username(), login.password()), (None, None));
        let address = sentinels.watchers[0].addr();
        assert!(matches!(address, ConnectionAddr::TcpTls { .. }));
    }

    #[test]
    fn what_is_no_such_url_is_refused_without_showing_it() {
        for url in [
            "s3cret",
            "http://u:s3cret@redis",
            "redis://",
            "redis://a,,b",
            "redis://a:s3cret",
            "redis://a/s3cret",
            "redis-sentinel://s3cret:1",
            "redis-sentinel://s3cret:1?service_name=",
            "valkey-sentinel://s3cret?service_name=x",
        ] {
            let failure = RedisAddress::parse(url).unwrap_err();
            assert_eq!(failure.kind(), ErrorKind::Usage, "{url}");
            let message = failure.message();
            assert!(message.starts_with("cannot use the URL of --notify-redis: "));
            assert!(!message.contains("s3cret"), "{message}");
            assert_eq!(failure.advice(), Some(HINT));
        }
    }
}
