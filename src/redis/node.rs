//! One Redis server: how it is reached, what it says of itself, and why it did not answer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use redis::{
    Client, Cmd, Connection, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, RedisError,
    Value,
};

/// How long one step may take: to connect, or to be answered.
const PATIENCE: Duration = Duration::from_secs(5);

/// When the work has to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(super) fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// Returns the earlier one: this, or in `limit` from now.
    pub(super) fn within(self, limit: Duration) -> Self {
        Self(self.0.min(Instant::now() + limit))
    }

    /// Tells whether time would be left after a pause.
    pub(super) fn allows(self, pause: Duration) -> bool {
        Instant::now() + pause < self.0
    }

    /// Returns how long the next step may take; `None` if no time is left.
    pub(super) fn step(self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        Some(left.min(PATIENCE)).filter(|step| !step.is_zero())
    }
}

/// The part that a server plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The primary of its data, or a server alone.
    Primary,
    /// A replica: its messages do not reach who listens at the primary.
    Replica,
    /// A node of a Redis Cluster, whose messages reach who listens at any node.
    ClusterNode,
    /// A Sentinel, which has no data.
    Sentinel,
}

/// A connection to one server.
pub(super) struct RedisNode {
    connection: Connection,
    info: ConnectionInfo,
}

impl RedisNode {
    /// Connects and logs in.
    pub(super) fn connect(info: &ConnectionInfo, deadline: Deadline) -> anyhow::Result<Self> {
        let Some(step) = deadline.step() else {
            return Err(anyhow!("no time was left to ask {}", info.addr()));
        };
        let opened = Client::open(info.clone())
            .and_then(|client| client.get_connection_with_timeout(step))
            .and_then(|connection| {
                connection.set_read_timeout(Some(step))?;
                connection.set_write_timeout(Some(step))?;
                Ok(connection)
            });
        match opened {
            Ok(connection) => Ok(Self {
                connection,
                info: info.clone(),
            }),
            Err(error) => Err(explain(info, &error)),
        }
    }

    /// Connects to the first server that answers.
    pub(super) fn connect_to_any(
        servers: &[ConnectionInfo],
        deadline: Deadline,
    ) -> anyhow::Result<Self> {
        let mut reasons = Vec::new();
        for server in servers {
            match Self::connect(server, deadline) {
                Ok(node) => return Ok(node),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        Err(anyhow!(reasons.join("; ")))
    }

    /// Returns how the server was reached.
    pub(super) fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// Sends one command.
    pub(super) fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> anyhow::Result<T> {
        let answer = command.query(&mut self.connection);
        answer.map_err(|error| explain(&self.info, &error))
    }

    /// Sends commands in one round trip; returns the answer to each.
    pub(super) fn ask_each(
        &mut self,
        commands: impl IntoIterator<Item = Cmd>,
    ) -> anyhow::Result<Vec<Result<Value, RedisError>>> {
        let mut pipe = redis::pipe();
        for command in commands {
            pipe.add_command(command);
        }
        let answers: Vec<Value> = pipe
            .ignore_errors()
            .query(&mut self.connection)
            .map_err(|error| self.explain(&error))?;
        Ok(answers.into_iter().map(Value::extract_error).collect())
    }

    /// Returns which part the server plays.
    ///
    /// Every user may send `HELLO`, whatever its privileges are. Servers before Redis 6 have no
    /// `HELLO`, and no privileges. What answers to neither is taken for a server alone.
    pub(super) fn role(&mut self) -> Role {
        let hello: HashMap<String, Value> = redis::cmd("HELLO")
            .query(&mut self.connection)
            .unwrap_or_default();
        let mut said: Vec<(String, String)> = hello
            .into_iter()
            .filter_map(|(name, value)| Some((name, text(&value)?)))
            .collect();
        if said.is_empty() {
            let info: String = redis::cmd("INFO")
                .query(&mut self.connection)
                .unwrap_or_default();
            let lines = info.lines().filter_map(|line| line.split_once(':'));
            said.extend(lines.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        let says = |names: [&str; 2], values: [&str; 2]| {
            said.iter().any(|(name, value)| {
                names.contains(&name.as_str()) && values.contains(&value.as_str())
            })
        };
        let mode = ["mode", "redis_mode"];
        if says(mode, ["sentinel"; 2]) {
            Role::Sentinel
        } else if says(mode, ["cluster"; 2]) {
            Role::ClusterNode
        } else if says(["role"; 2], ["replica", "slave"]) {
            Role::Replica
        } else {
            Role::Primary
        }
    }

    /// Says in plain words why the server did not do what it was asked.
    pub(super) fn explain(&self, error: &RedisError) -> anyhow::Error {
        explain(&self.info, error)
    }
}

/// Returns the text of a string in an answer.
pub(super) fn text(value: &Value) -> Option<String> {
    redis::from_redis_value_ref(value).ok()
}

/// Says in plain words why a server was not reached, or refused.
fn explain(info: &ConnectionInfo, error: &RedisError) -> anyhow::Error {
    let (address, said) = (info.addr(), error.to_string());
    let detail = error.detail().unwrap_or_default();
    if error.is_timeout() {
        let is_tls = matches!(address, ConnectionAddr::TcpTls { .. });
        let why = if is_tls {
            "; perhaps it has no TLS"
        } else {
            ""
        };
        anyhow!("{address} gave no answer in time{why}")
    } else if error.kind() == ErrorKind::AuthenticationFailed {
        anyhow!("{address} does not accept the user or the password of the URL")
    } else if detail.contains("not allowed in cluster mode") {
        anyhow!(
            "{address} is a node of a Redis Cluster, which has no database but 0: leave the number \
             out of the URL"
        )
    } else if let Some(code) = error.code() {
        anyhow!("{address} answers {code}: {detail}")
    } else if let Some((_, reason)) = said.split_once("invalid peer certificate: ") {
        anyhow!(
            "the certificate of {address} cannot be trusted ({reason}); SSL_CERT_FILE may name the \
             file of its authority"
        )
    } else if error.is_io_error() {
        anyhow!("the connection to {address} failed: {said}")
    } else {
        anyhow!("{address}: {said}")
    }
}
