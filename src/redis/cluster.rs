//! Redis Cluster: deletes each entry at the node that holds it, and counts listeners at every node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::anyhow;
use redis::{Cmd, ConnectionInfo, RedisError, ServerErrorKind, Value};

use crate::error::{ErrorKind, Failure};
use crate::redis::address;
use crate::redis::node::{Deadline, RedisNode, text};

/// How many times an entry is followed to another node.
const MOVES: usize = 5;

/// How long deleting may take at other nodes, so that time is left to send the messages.
const LIMIT: Duration = Duration::from_secs(5);

/// Where a node says that an entry is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Elsewhere {
    host: String,
    port: u16,
    /// Whether the entry's slot is on its way there, so that the node must be told to answer.
    is_on_its_way: bool,
}

impl Elsewhere {
    /// Reads a redirection: `MOVED` or `ASK`. A node that does not know its host leaves it out: it
    /// is that of the node which was `asked`.
    ///
    /// Source: Redis cluster specification, "Redirection and resharding".
    fn read(error: &RedisError, asked: &ConnectionInfo) -> Option<Self> {
        let (address, _) = error.redirect_node()?;
        let (host, port) = address.rsplit_once(':')?;
        Some(Self {
            host: known_host(host, asked)?,
            port: port.parse().ok()?,
            is_on_its_way: error.kind() == ServerErrorKind::Ask.into(),
        })
    }
}

/// Returns `host`, or that of the node which was `asked` if it is empty.
fn known_host(host: &str, asked: &ConnectionInfo) -> Option<String> {
    if !host.is_empty() {
        return Some(host.to_owned());
    }
    let asked = asked.addr().to_string();
    asked.rsplit_once(':').map(|(host, _)| host.to_owned())
}

/// How many entries could not be deleted, and why the first could not.
#[derive(Debug, Default)]
pub(super) struct LeftEntries {
    pub(super) count: usize,
    pub(super) why: Option<String>,
}

impl LeftEntries {
    fn add(&mut self, count: usize, error: anyhow::Error) {
        self.count += count;
        let failure = Failure::caused(ErrorKind::Error, error);
        self.why.get_or_insert_with(|| failure.message());
    }
}

/// The nodes to which entries were followed. There are none without a cluster.
#[derive(Default)]
pub(super) struct OtherNodes {
    nodes: BTreeMap<(String, u16), Result<RedisNode, String>>,
    deadline: Option<Deadline>,
}

impl OtherNodes {
    /// Tells whether entries were elsewhere, as only a cluster says.
    pub(super) fn were_asked(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// Deletes entries at `node`, or where it says that they are.
    pub(super) fn delete(
        &mut self,
        node: &mut RedisNode,
        names: Vec<String>,
        deadline: Deadline,
        left: &mut LeftEntries,
    ) {
        let mut moved = delete_at(node, names, false, left);
        for _ in 0..MOVES {
            for (elsewhere, names) in std::mem::take(&mut moved) {
                let count = names.len();
                match self.node(&elsewhere, node.info(), deadline) {
                    Ok(other) => {
                        let again = delete_at(other, names, elsewhere.is_on_its_way, left);
                        for (elsewhere, names) in again {
                            moved.entry(elsewhere).or_default().extend(names);
                        }
                    }
                    Err(why) => left.add(count, anyhow!(why.clone())),
                }
            }
        }
        let count = moved.values().map(Vec::len).sum();
        if count > 0 {
            left.add(
                count,
                anyhow!("the nodes of the cluster send one to each other"),
            );
        }
    }

    /// Returns the connection to a node. One that was not reached is not tried again.
    fn node(
        &mut self,
        elsewhere: &Elsewhere,
        known: &ConnectionInfo,
        deadline: Deadline,
    ) -> &mut Result<RedisNode, String> {
        let deadline = *self.deadline.get_or_insert_with(|| deadline.within(LIMIT));
        let Elsewhere { host, port, .. } = elsewhere;
        let key = (host.clone(), *port);
        self.nodes.entry(key).or_insert_with(|| {
            let connected = RedisNode::connect(&address::at(known, host, *port), deadline);
            connected.map_err(|error| error.to_string())
        })
    }
}

/// Deletes entries at one node; returns those that are elsewhere.
fn delete_at(
    node: &mut RedisNode,
    names: Vec<String>,
    is_on_its_way: bool,
    left: &mut LeftEntries,
) -> BTreeMap<Elsewhere, Vec<String>> {
    let mut moved: BTreeMap<Elsewhere, Vec<String>> = BTreeMap::new();
    let commands = names.iter().flat_map(|name| {
        let asking = is_on_its_way.then(|| redis::cmd("ASKING"));
        let mut delete = redis::cmd("DEL");
        delete.arg(name);
        asking.into_iter().chain([delete])
    });
    let mut answers = match node.ask_each(commands) {
        Ok(answers) => answers.into_iter(),
        Err(error) => {
            left.add(names.len(), error);
            return moved;
        }
    };
    for name in names {
        if is_on_its_way {
            answers.next();
        }
        let Some(Err(error)) = answers.next() else {
            continue;
        };
        match Elsewhere::read(&error, node.info()) {
            Some(elsewhere) => moved.entry(elsewhere).or_default().push(name),
            None => left.add(1, node.explain(&error)),
        }
    }
    moved
}

/// Returns how many listen to a channel, at all nodes of the cluster.
///
/// A message reaches the listeners of all nodes, but the node that it is sent to counts only its
/// own. A worker listens at one node, any of them. Source: Redis documentation, "PUBLISH" and
/// "PUBSUB NUMSUB"; LiteLLM 1.105.0 and 1.110.2 `caching/redis_cache.py`,
/// `_cluster_node_pubsub_client`.
///
/// # Errors
///
/// Why not every node could be asked.
pub(super) fn listeners(
    node: &mut RedisNode,
    channel: &str,
    deadline: Deadline,
) -> anyhow::Result<usize> {
    let mut question = redis::cmd("CLUSTER");
    let slots: Value = node.ask(question.arg("SLOTS"))?;
    let mut listeners = 0;
    for (host, port) in addresses(&slots, node.info()) {
        let mut other = RedisNode::connect(&address::at(node.info(), &host, port), deadline)?;
        let (_, count): (String, usize) = other.ask(&count_of(channel))?;
        listeners += count;
    }
    Ok(listeners)
}

fn count_of(channel: &str) -> Cmd {
    let mut question = redis::cmd("PUBSUB");
    question.arg("NUMSUB").arg(channel);
    question
}

/// Returns the address of each node in an answer to `CLUSTER SLOTS`: for each range of slots its
/// first and last, and then host, port and more of each node. A host that is null is that of the
/// node which was `asked`.
fn addresses(slots: &Value, asked: &ConnectionInfo) -> BTreeSet<(String, u16)> {
    let ranges = items(slots);
    let nodes = ranges.iter().flat_map(|range| items(range).iter().skip(2));
    nodes
        .filter_map(|node| {
            let [host, Value::Int(port), ..] = items(node) else {
                return None;
            };
            let host = text(host).unwrap_or_default();
            Some((known_host(&host, asked)?, u16::try_from(*port).ok()?))
        })
        .collect()
}

fn items(value: &Value) -> &[Value] {
    if let Value::Array(items) = value {
        items
    } else {
        &[]
    }
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo as _;

    use super::*;

    fn asked() -> ConnectionInfo {
        "redis://cache:7000".into_connection_info().unwrap()
    }

    #[test]
    fn a_redirection_says_where_an_entry_is() {
        for (code, detail, expected) in [
            (
                "MOVED",
                "3999 10.0.0.1:7001",
                Some(("10.0.0.1", 7001, false)),
            ),
            ("ASK", "3999 node-b.:7001", Some(("node-b.", 7001, true))),
            ("MOVED", "3999 ::1:7001", Some(("::1", 7001, false))),
            ("MOVED", "3999 :7001", Some(("cache", 7001, false))),
            ("MOVED", "3999", None),
            ("ERR", "3999 10.0.0.1:7001", None),
        ] {
            let value = redis::parse_redis_value(format!("-{code} {detail}\r\n").as_bytes());
            let error = value.unwrap().extract_error().unwrap_err();
            let expected = expected.map(|(host, port, is_on_its_way)| Elsewhere {
                host: host.to_owned(),
                port,
                is_on_its_way,
            });
            assert_eq!(
                Elsewhere::read(&error, &asked()),
                expected,
                "{code} {detail}"
            );
        }
    }

    #[test]
    fn every_node_of_every_range_is_found_once() {
        let slots = b"*2\r\n*4\r\n:0\r\n:9\r\n*3\r\n$1\r\na\r\n:1\r\n$2\r\nid\r\n\
            *3\r\n$1\r\nb\r\n:2\r\n$2\r\nid\r\n\
            *3\r\n:10\r\n:19\r\n*3\r\n$-1\r\n:3\r\n$2\r\nid\r\n";
        let slots = redis::parse_redis_value(slots).unwrap();
        let expected = [("a", 1), ("b", 2), ("cache", 3)];
        let expected = expected.map(|(host, port)| (host.to_owned(), port));
        assert_eq!(addresses(&slots, &asked()), expected.into());
        assert_eq!(addresses(&Value::Nil, &asked()), BTreeSet::new());
    }
}
