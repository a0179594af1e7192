//! What running proxies are told of a repair through their Redis, and that a repair does not need
//! it.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::program::{Ran, mcp_prune, run, run_on};
use crate::redis_server::RedisServer;
use crate::samples::case;
use crate::server::{TestDatabase, concurrent_server, skip};

pub(crate) const CHANNEL: &str = "litellm_proxy.auth_cache_invalidation";
const HASH: &str = "dcf1f059cedd01b2d9347bd1010bbabdbc54616cf25e2d6c5d103e63b64f0def";

/// The cache entries that a repair of [`database`] makes proxies forget: those of two rows, of the
/// team of one and of the key of the other.
pub(crate) const FORGOTTEN: [&str; 5] = [
    HASH,
    "object_permission_id:p-1",
    "object_permission_id:p-2",
    "team_alias:core",
    "team_id:team-core",
];

pub(crate) fn database() -> TestDatabase {
    case("beside_live")
}

/// Returns the cache entries that messages named, in order, once a second passes without one.
pub(crate) fn heard(told: &mpsc::Receiver<String>) -> Vec<String> {
    let mut keys = Vec::new();
    while let Ok(message) = told.recv_timeout(Duration::from_secs(1)) {
        let message: serde_json::Value = serde_json::from_str(&message).unwrap();
        let fields = message.as_object().unwrap();
        // Another field would have the workers set the entry instead of dropping it.
        assert_eq!(fields.len(), 1, "{message}");
        keys.push(fields["cache_key"].as_str().unwrap().to_owned());
    }
    keys.sort();
    keys
}

#[test]
fn workers_are_told_of_a_fix_and_of_its_undo_and_of_nothing_else() {
    let Some(server) = RedisServer::start("a notice", "--port", &[]) else {
        return;
    };
    let database = database();
    let told = server.listen(CHANNEL);
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    let mut redis = server.connect();
    for key in [HASH, "object_permission_id:p-1", "object_permission_id:p-9"] {
        redis::cmd("SET")
            .arg(key)
            .arg("kept")
            .exec(&mut redis)
            .unwrap();
    }

    let url = server.url();
    run_on(
        database.url(),
        &["fix", "--dry-run", "--notify-redis", &url],
    )
    .exits(2);
    assert_eq!(heard(&told), [""; 0]);

    let fix = ["fix", "--yes", "--journal", journal, "--notify-redis", &url];
    let ran = run_on(database.url(), &fix).exits(0);
    let ran = ran.says("told 1 proxy worker to forget 5 cache entries");
    assert!(!ran.to_string().contains(HASH), "{ran}");
    assert_eq!(heard(&told), FORGOTTEN);
    // Nor may a worker find them in Redis again, where enable_redis_auth_cache keeps them too.
    let left: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut redis).unwrap();
    assert_eq!(left, ["object_permission_id:p-9"]);

    run_on(database.url(), &fix[..2]).exits(0);
    assert_eq!(heard(&told), [""; 0]);
    let mut command = mcp_prune(&["undo", "--yes", "--no-journal", journal]);
    command.env("DATABASE_URL", database.url());
    run(command.env("MCP_PRUNE_NOTIFY_REDIS", &url)).exits(0);
    assert_eq!(heard(&told), FORGOTTEN);
}

#[test]
fn a_namespace_has_a_channel_and_entries_of_its_own() {
    let Some(server) = RedisServer::start("a namespace", "--port", &[]) else {
        return;
    };
    let database = database();
    let (ours, others) = (
        server.listen(&format!("eu:{CHANNEL}")),
        server.listen(CHANNEL),
    );
    let mut redis = server.connect();
    for key in ["eu:team_id:team-core", "team_id:team-core"] {
        redis::cmd("SET")
            .arg(key)
            .arg("kept")
            .exec(&mut redis)
            .unwrap();
    }
    let url = server.url();
    let fix = [
        "fix",
        "--yes",
        "--notify-namespace",
        "eu",
        "--notify-redis",
        &url,
    ];
    run_on(database.url(), &fix).exits(0);
    assert_eq!(heard(&ours), FORGOTTEN);
    assert_eq!(heard(&others), [""; 0]);
    let left: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut redis).unwrap();
    assert_eq!(left, ["team_id:team-core"]);
}

/// Repairs a new database and tells the proxies at `url`. The repair stands, whatever becomes of
/// it, and no secret is shown.
#[track_caller]
pub(crate) fn fix_and_tell(url: &str) -> Ran {
    let database = database();
    let fix = ["fix", "--yes", "--notify-redis", url];
    let ran = run_on(database.url(), &fix)
        .exits(0)
        .prints("verified and committed");
    for secret in ["s3cret", "wr0ng", "sent1nel", HASH] {
        assert!(!ran.to_string().contains(secret), "{ran}");
    }
    run_on(database.url(), &["scan"]).exits(0);
    ran
}

/// Returns the warnings of a run, each a line.
pub(crate) fn warnings(ran: &Ran) -> Vec<String> {
    let lines = ran.stderr.lines();
    let warnings = lines.filter(|line| line.starts_with("warning: "));
    warnings.map(str::to_owned).collect()
}

#[test]
fn a_notice_that_nobody_hears_is_one_warning_and_the_repair_stands() {
    let Some(server) = RedisServer::start("nobody listens", "--port", &["--requirepass", "s3cret"])
    else {
        return;
    };
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let silent = silent.local_addr().unwrap();
    let (with, port) = ("redis://:s3cret@127.0.0.1", server.port);
    let nobody = format!("{with}:{port}");
    let mut redis = redis::Client::open(nobody.clone()).unwrap();
    let rules = ["muted", "on", ">s3cret", "+del", "~*"];
    redis::cmd("ACL")
        .arg("SETUSER")
        .arg(&rules)
        .exec(&mut redis)
        .unwrap();
    for (url, told) in [
        (nobody, "no proxy listens on this Redis"),
        (
            format!("redis://:wr0ng@127.0.0.1:{port}"),
            "does not accept the user or the password of the URL",
        ),
        (format!("redis://127.0.0.1:{port}"), "answers NOAUTH: "),
        (
            format!("redis://muted:s3cret@127.0.0.1:{port}"),
            "answers NOPERM: ",
        ),
        (
            format!("{with}:1"),
            "the connection to 127.0.0.1:1 failed: Connection refused",
        ),
        (
            format!("redis://:s3cret@{silent}"),
            "gave no answer in time",
        ),
        (
            format!("rediss://:s3cret@127.0.0.1:{port}"),
            "gave no answer in time; perhaps it has no TLS",
        ),
    ] {
        let started = Instant::now();
        let ran = fix_and_tell(&url).says(told);
        assert!(started.elapsed() < Duration::from_secs(30), "{ran}");
        let warnings = warnings(&ran);
        assert_eq!(warnings.len(), 1, "{ran}");
        if !told.starts_with("no proxy") {
            assert!(
                warnings[0].contains("could not be told by Redis: "),
                "{ran}"
            );
        }
    }
}

#[test]
fn a_replica_is_refused_because_nobody_hears_it() {
    let Some(primary) = RedisServer::start("a replica", "--port", &[]) else {
        return;
    };
    let follows = ["--replicaof", "127.0.0.1", &primary.port.to_string()];
    let hello = ["--rename-command", "HELLO", ""];
    for options in [follows.to_vec(), [follows, hello].concat()] {
        let replica = RedisServer::start("a replica", "--port", &options).unwrap();
        let ran = fix_and_tell(&replica.url());
        let ran = ran.says("is a replica, from which nothing reaches the proxies at its primary");
        assert_eq!(warnings(&ran).len(), 1, "{ran}");
    }
}

#[test]
fn an_entry_that_may_not_be_taken_out_of_redis_is_warned_of_and_workers_are_told() {
    let Some(server) = RedisServer::start("a role without DEL", "--port", &[]) else {
        return;
    };
    let mut redis = server.connect();
    let rules = ["herald", "on", ">s3cret", "+@connection", "+publish", "&*"];
    redis::cmd("ACL")
        .arg("SETUSER")
        .arg(&rules)
        .exec(&mut redis)
        .unwrap();
    let told = server.listen(CHANNEL);
    let url = format!("redis://herald:s3cret@127.0.0.1:{}", server.port);
    let ran = run_on(database().url(), &["fix", "--yes", "--notify-redis", &url]).exits(0);
    ran.says("told 1 proxy worker ").says("still in Redis");
    assert_eq!(heard(&told), FORGOTTEN);
}

#[test]
fn a_malformed_url_is_refused_before_anything_is_written() {
    let database = database();
    let before = database.permission_rows();
    for url in ["", "s3cret", "http://u:s3cret@redis"] {
        let ran = run_on(database.url(), &["fix", "--yes", "--notify-redis", url]).exits(64);
        assert!(!ran.to_string().contains("s3cret"), "{ran}");
    }
    assert_eq!(database.permission_rows(), before);
}

#[test]
fn with_tls_the_certificate_is_checked() {
    let Some(folder) = concurrent_server("Redis with TLS").and_then(|server| server.tls.clone())
    else {
        return;
    };
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let mut certificate = String::new();
    let opened = std::fs::File::open(file("data/server.crt"));
    if opened
        .and_then(|mut f| f.read_to_string(&mut certificate))
        .is_err()
    {
        skip(
            "Redis with TLS",
            "needs a private cluster's certificate, and openssl",
        );
        return;
    }
    let (crt, key, ca) = (
        file("data/server.crt"),
        file("data/server.key"),
        file("ca.pem"),
    );
    let tls = [
        "--port",
        "0",
        "--tls-cert-file",
        &crt,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
    ];
    let tls = [&tls[..], &["--tls-auth-clients", "no"]].concat();
    let Some(server) = RedisServer::start("Redis with TLS", "--tls-port", &tls) else {
        return;
    };
    let url = format!("rediss://127.0.0.1:{}/0", server.port);
    for (authority, told) in [
        (ca.as_str(), "no proxy listens on this Redis"),
        (file("other.pem").as_str(), "cannot be trusted"),
    ] {
        let database = database();
        let mut command = mcp_prune(&["fix", "--yes", "--notify-redis", &url]);
        let command = command.env("DATABASE_URL", database.url());
        run(command.env("SSL_CERT_FILE", authority))
            .exits(0)
            .says(told);
    }
}
