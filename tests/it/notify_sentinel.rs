//! How the primary of a service is found by Sentinels, to tell proxies of a repair.

use crate::notify::{CHANNEL, FORGOTTEN, fix_and_tell, heard, warnings};
use crate::program::Ran;
use crate::redis_server::{RedisServer, until};

/// A primary with a replica, and a Sentinel that watches them.
struct Service {
    primary: RedisServer,
    replica: RedisServer,
    sentinel: RedisServer,
}

impl Service {
    fn start(test: &str) -> Option<Self> {
        let primary = RedisServer::start(test, "--port", &[])?;
        let follows = primary.port.to_string();
        let follows = ["--replicaof", "127.0.0.1", &follows];
        let replica = RedisServer::start(test, "--port", &follows)?;
        until("the replica follows", || {
            let info: String = replica.tell("INFO").unwrap();
            info.contains("master_link_status:up")
        });
        let sentinel = RedisServer::sentinel(test, &primary, "requirepass sent1nel")?;
        let service = Self {
            primary,
            replica,
            sentinel,
        };
        let replica = service.replica.port.to_string();
        until("the Sentinel knows the replica", || {
            let client = redis::Client::open(format!(
                "redis://:sent1nel@127.0.0.1:{}",
                service.sentinel.port
            ));
            let mut connection = client.unwrap().get_connection().unwrap();
            let mut question = redis::cmd("SENTINEL");
            let answer: redis::Value = question
                .arg("REPLICAS")
                .arg("cache")
                .query(&mut connection)
                .unwrap();
            format!("{answer:?}").contains(&replica)
        });
        Some(service)
    }

    /// Returns the URL of the service, by a Sentinel that is down and one that is up.
    fn url(&self, service: &str) -> String {
        let port = self.sentinel.port;
        format!(
            "redis-sentinel://127.0.0.1:1,127.0.0.1:{port}/0?service_name={service}\
             &sentinel_password=sent1nel"
        )
    }
}

#[test]
fn the_sentinels_are_asked_for_the_primary_also_while_it_changes() {
    let Some(mut service) = Service::start("a Sentinel") else {
        return;
    };
    let told = service.primary.listen(CHANNEL);
    let url = service.url("cache");
    for key in [FORGOTTEN[1], "other"] {
        service
            .primary
            .tell::<()>(&format!("SET {key} kept"))
            .unwrap();
    }
    fix_and_tell(&url).says("told 1 proxy worker to forget 5 cache entries");
    assert_eq!(heard(&told), FORGOTTEN);
    assert_eq!(
        service.primary.tell::<Vec<String>>("KEYS *").unwrap(),
        ["other"]
    );

    // The Sentinel names the dead primary until it has chosen the replica.
    until("the replica has the entry", || {
        service.replica.tell::<Vec<String>>("KEYS *").unwrap() == ["other"]
    });
    service
        .primary
        .tell::<()>(&format!("SET {} kept", FORGOTTEN[1]))
        .unwrap();
    until("the replica has both entries", || {
        service.replica.tell::<Vec<String>>("KEYS *").unwrap().len() == 2
    });
    service.primary.kill();
    fix_and_tell(&url).says("no proxy listens on this Redis");
    assert_eq!(
        service.replica.tell::<Vec<String>>("KEYS *").unwrap(),
        ["other"]
    );
}

#[test]
fn a_service_that_is_not_found_is_one_warning() {
    let Some(mut service) = Service::start("a Sentinel without the service") else {
        return;
    };
    let port = service.sentinel.port;
    let without_password = format!("redis-sentinel://127.0.0.1:{port}?service_name=cache");
    let of_redis = format!(
        "redis-sentinel://{}?service_name=cache",
        address(&service.primary)
    );
    let as_redis = format!("redis://:sent1nel@127.0.0.1:{port}");
    for (url, said) in [
        (
            &service.url("cash"),
            "no Sentinel knows the service \"cash\"",
        ),
        (&without_password, "NOAUTH"),
        (
            &of_redis,
            "no Sentinel can be asked for the primary: 127.0.0.1:",
        ),
        (
            &as_redis,
            "is a Sentinel; write redis-sentinel:// with ?service_name=NAME",
        ),
    ] {
        is_one_warning(&fix_and_tell(url), said);
    }
    let url = service.url("cache");
    service.sentinel.kill();
    is_one_warning(
        &fix_and_tell(&url),
        "no Sentinel can be asked for the primary: the connection to 127.0.0.1:1 failed: ",
    );
    service.primary.kill();
}

fn address(server: &RedisServer) -> String {
    format!("127.0.0.1:{}", server.port)
}

#[track_caller]
fn is_one_warning(ran: &Ran, said: &str) {
    let warnings = warnings(ran);
    let [warning] = &warnings[..] else {
        panic!("{ran}");
    };
    let prefix = "the proxies could not be told by Redis: ";
    assert!(warning.contains(prefix), "{ran}");
    assert!(warning.contains(said), "{ran}");
}
