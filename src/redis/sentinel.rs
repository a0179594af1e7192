//! Redis Sentinel: asks for the current primary of a service, also while it changes.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use redis::{ConnectionInfo, RedisConnectionInfo};

use crate::redis::address;
use crate::redis::node::{Deadline, RedisNode, Role};

/// How long to wait before the Sentinels are asked again for a primary that does not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// The Sentinels of a service.
#[derive(Debug)]
pub(crate) struct Sentinels {
    /// How to connect to each.
    pub(super) watchers: Vec<ConnectionInfo>,
    /// The name under which they watch the primary: LiteLLM's `service_name`.
    pub(super) service: String,
    /// How to log in to the primary itself.
    pub(super) redis: RedisConnectionInfo,
}

impl Sentinels {
    /// Connects to the current primary.
    ///
    /// While a primary fails, the Sentinels name it until they have chosen another one. So they are
    /// asked again until the primary that they name answers as one, or no time is left.
    pub(super) fn primary(&self, deadline: Deadline) -> anyhow::Result<RedisNode> {
        loop {
            let named = self.named_primary(deadline)?;
            let answered = RedisNode::connect(&named, deadline).and_then(|mut node| {
                if node.role() == Role::Primary {
                    Ok(node)
                } else {
                    Err(anyhow!("{} is no primary now", named.addr()))
                }
            });
            match answered {
                Ok(node) => return Ok(node),
                Err(_) if deadline.allows(PAUSE) => thread::sleep(PAUSE),
                Err(error) => {
                    return Err(error).context(format!(
                        "the Sentinels name {} as the primary of {:?}",
                        named.addr(),
                        self.service
                    ));
                }
            }
        }
    }

    /// Returns how to connect to the server that the first Sentinel with an answer names.
    fn named_primary(&self, deadline: Deadline) -> anyhow::Result<ConnectionInfo> {
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.service);
        let (mut is_answered, mut reasons) = (false, Vec::new());
        for sentinel in &self.watchers {
            let answer = RedisNode::connect(sentinel, deadline)
                .and_then(|mut node| node.ask::<Option<(String, u16)>>(&question));
            match answer {
                Ok(Some((host, port))) => {
                    let server = address::at(sentinel, &host, port);
                    return Ok(server.set_redis_settings(self.redis.clone()));
                }
                Ok(None) => is_answered = true,
                Err(error) => reasons.push(error.to_string()),
            }
        }
        let mut why = if is_answered {
            format!("no Sentinel knows the service {:?}", self.service)
        } else {
            "no Sentinel can be asked for the primary".to_owned()
        };
        if !reasons.is_empty() {
            why = format!("{why}: {}", reasons.join("; "));
        }
        Err(anyhow!(why))
    }
}
