//! What running proxies are told of a repair through their Redis, and that a repair does not need
//! it.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::program::{mcp_prune, run, run_on};
use crate::samples::case;
use crate::server::{TestDatabase, concurrent_server, skip};

const CHANNEL: &str = "litellm_proxy.auth_cache_invalidation";
const HASH: &str = "dcf1f059cedd01b2d9347bd1010bbabdbc54616cf25e2d6c5d103e63b64f0def";

/// The cache entries that a repair of [`database`] makes proxies forget: those of two rows, of the
/// team of one and of the key of the other.
const FORGOTTEN: [&str; 5] = [
    HASH,
    "object_permission_id:p-1",
    "object_permission_id:p-2",
    "team_alias:core",
    "team_id:team-core",
];

/// A Redis of this test's own; ends with it.
struct Server {
    port: u16,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts Redis with its port in `port_option`; without one, skips the test and returns `None`.
    fn start(test: &str, port_option: &str, options: &[&str]) -> Option<Self> {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let process = Command::new("redis-server")
            .args([
                port_option,
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args(options)
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn();
        let Ok(process) = process else {
            skip(test, "needs redis-server");
            return None;
        };
        let server = Self {
            port,
            process,
            _folder: folder,
        };
        for _ in 0..200 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Some(server);
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("redis-server did not come up");
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    fn connect(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_connection().unwrap()
    }

    /// Listens as a proxy does, and returns once it is ready.
    fn listen(&self, channel: &str) -> mpsc::Receiver<String> {
        let (ready, is_ready) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let (mut connection, channel) = (self.connect(), channel.to_owned());
        thread::spawn(move || {
            let mut listening = connection.as_pubsub();
            listening.subscribe(channel).unwrap();
            ready.send(()).unwrap();
            while let Ok(message) = listening.get_message() {
                tell.send(message.get_payload().unwrap()).unwrap();
            }
        });
        is_ready.recv().unwrap();
        told
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn database() -> TestDatabase {
    case("beside_live")
}

/// Returns the cache entries that messages named, in order, once a second passes without one.
fn heard(told: &mpsc::Receiver<String>) -> Vec<String> {
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
    let Some(server) = Server::start("a notice", "--port", &[]) else {
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
    let Some(server) = Server::start("a namespace", "--port", &[]) else {
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

#[test]
fn a_notice_that_nobody_hears_is_a_warning_and_the_repair_stands() {
    let Some(server) = Server::start("nobody listens", "--port", &["--requirepass", "s3cret"])
    else {
        return;
    };
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let silent = silent.local_addr().unwrap();
    let (with, port) = ("redis://:s3cret@127.0.0.1", server.port);
    for (url, told) in [
        (format!("{with}:{port}"), "no proxy listens on this Redis"),
        (
            format!("redis://:wr0ng@127.0.0.1:{port}"),
            "could not be told by Redis",
        ),
        (format!("{with}:1"), "could not be told by Redis"),
        (
            format!("redis://:s3cret@{silent}"),
            "could not be told by Redis",
        ),
    ] {
        let database = database();
        let started = Instant::now();
        let ran = run_on(database.url(), &["fix", "--yes", "--notify-redis", &url]).exits(0);
        let ran = ran
            .says("warning: ")
            .says(told)
            .prints("verified and committed");
        assert!(started.elapsed() < Duration::from_secs(30), "{ran}");
        for secret in ["s3cret", "wr0ng", HASH] {
            assert!(!ran.to_string().contains(secret), "{ran}");
        }
        run_on(database.url(), &["scan"]).exits(0);
    }
}

#[test]
fn an_entry_that_may_not_be_taken_out_of_redis_is_warned_of_and_workers_are_told() {
    let Some(server) = Server::start("a role without DEL", "--port", &[]) else {
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
    let Some(server) = Server::start("Redis with TLS", "--tls-port", &tls) else {
        return;
    };
    let url = format!("rediss://127.0.0.1:{}/0", server.port);
    for (authority, told) in [
        (ca.as_str(), "no proxy listens on this Redis"),
        (file("other.pem").as_str(), "could not be told by Redis"),
    ] {
        let database = database();
        let mut command = mcp_prune(&["fix", "--yes", "--notify-redis", &url]);
        let command = command.env("DATABASE_URL", database.url());
        run(command.env("SSL_CERT_FILE", authority))
            .exits(0)
            .says(told);
    }
}
