//! Redis servers of the tests' own: single ones, the nodes of a cluster, and a Sentinel.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::server::skip;

/// A Redis of one test's own; ends with it.
pub(crate) struct RedisServer {
    pub(crate) port: u16,
    process: Child,
    _folder: tempfile::TempDir,
}

impl RedisServer {
    /// Starts Redis with its port in `port_option`; without one, skips the test and returns `None`.
    pub(crate) fn start(test: &str, port_option: &str, options: &[&str]) -> Option<Self> {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let port_text = port.to_string();
        let common = [port_option, &port_text, "--bind", "127.0.0.1", "--save", ""];
        Self::spawn(test, port, folder, &[&common, options].concat())
    }

    /// Starts a Sentinel that watches `primary` under the name `cache`.
    pub(crate) fn sentinel(test: &str, primary: &Self, settings: &str) -> Option<Self> {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sentinel.conf");
        let watched = primary.port;
        let config = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor cache 127.0.0.1 {watched} 1\n\
             sentinel down-after-milliseconds cache 500\nsentinel failover-timeout cache 2000\n\
             {settings}\n"
        );
        std::fs::write(&file, config).unwrap();
        let file = file.to_str().unwrap().to_owned();
        Self::spawn(test, port, folder, &[&file, "--sentinel"])
    }

    fn spawn(test: &str, port: u16, folder: tempfile::TempDir, args: &[&str]) -> Option<Self> {
        let process = Command::new("redis-server")
            .args(args)
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
        until("redis-server came up", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        Some(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub(crate) fn connect(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_connection().unwrap()
    }

    /// Sends a command, such as `SET a 1`.
    pub(crate) fn tell<T: redis::FromRedisValue>(&self, command: &str) -> redis::RedisResult<T> {
        let mut words = command.split(' ');
        let mut sent = redis::cmd(words.next().unwrap());
        sent.arg(words.collect::<Vec<_>>());
        sent.query(&mut self.connect())
    }

    /// Listens as a proxy does, and returns once it is ready.
    pub(crate) fn listen(&self, channel: &str) -> mpsc::Receiver<String> {
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

    /// Kills the server, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A Redis Cluster of three primaries, and a replica of the first; ends with its test.
pub(crate) struct RedisCluster {
    pub(crate) nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts a cluster; without Redis, skips the test and returns `None`.
    pub(crate) fn start(test: &str) -> Option<Self> {
        const PRIMARIES: usize = 3;
        const SLOTS: usize = 16_384;
        let options = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "2000",
            // What a dead node has is missing then, and nothing else.
            "--cluster-require-full-coverage",
            "no",
            "--cluster-replica-no-failover",
            "yes",
        ];
        let nodes = (0..=PRIMARIES).map(|_| RedisServer::start(test, "--port", &options));
        let nodes = nodes.collect::<Option<Vec<_>>>()?;
        for (number, node) in nodes.iter().enumerate() {
            let epoch = format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1);
            node.tell::<()>(&epoch).unwrap();
            if number < PRIMARIES {
                let slots = (SLOTS * number / PRIMARIES)..(SLOTS * (number + 1) / PRIMARIES);
                let slots: Vec<String> = slots.map(|slot| slot.to_string()).collect();
                let add = format!("CLUSTER ADDSLOTS {}", slots.join(" "));
                node.tell::<()>(&add).unwrap();
            }
            let meet = format!("CLUSTER MEET 127.0.0.1 {}", node.port);
            nodes[0].tell::<()>(&meet).unwrap();
        }
        let cluster = Self { nodes };
        cluster.wait_for("cluster_known_nodes:4");
        cluster.wait_for("cluster_slots_assigned:16384");
        let replica = &cluster.nodes[PRIMARIES];
        let primary = cluster.nodes[0].tell::<String>("CLUSTER MYID").unwrap();
        replica
            .tell::<()>(&format!("CLUSTER REPLICATE {primary}"))
            .unwrap();
        cluster.wait_for("cluster_state:ok");
        until("the replica follows", || {
            let is_seen = cluster.nodes.iter().all(|node| {
                let nodes: String = node.tell("CLUSTER NODES").unwrap();
                nodes.contains("slave")
            });
            let info: String = replica.tell("INFO").unwrap();
            is_seen && info.contains("master_link_status:up")
        });
        Some(cluster)
    }

    fn wait_for(&self, line: &str) {
        for node in &self.nodes {
            until(line, || {
                let info: String = node.tell("CLUSTER INFO").unwrap();
                info.lines().any(|said| said == line)
            });
        }
    }

    /// Returns the primary that holds a key.
    pub(crate) fn holder(&self, key: &str) -> &RedisServer {
        let get = format!("GET {key}");
        let primaries = self.nodes.iter().take(3);
        let mut holders = primaries.filter(|node| node.tell::<Option<String>>(&get).is_ok());
        holders.next().unwrap()
    }

    /// Returns the keys of all primaries that can be reached.
    pub(crate) fn keys(&self) -> Vec<String> {
        let primaries = self.nodes.iter().take(3);
        let keys = primaries.map(|node| node.tell::<Vec<String>>("KEYS *").unwrap());
        let mut keys: Vec<String> = keys.flatten().collect();
        keys.sort();
        keys
    }
}

/// Returns a port that is free, as is the one 10,000 above it, which a node of a cluster takes too.
pub(crate) fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let bus = port.checked_add(10_000);
        if bus.is_some_and(|bus| TcpListener::bind((Ipv4Addr::LOCALHOST, bus)).is_ok()) {
            return port;
        }
    }
}

/// Waits until something is so.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    // A busy machine takes its time.
    for _ in 0..2_400 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("waited for: {what}");
}
