//! Which database a run works on.

use std::fmt;

use crate::printable::one_line;
use crate::repair::changeset::Identity;

/// The database a command works on, as the server itself names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The host or socket folder that was connected to.
    pub host: String,
    /// The TCP port, or the number in the socket's name.
    pub port: u16,
    /// `current_database()`.
    pub name: String,
    /// The schema that holds LiteLLM's tables.
    pub schema: String,
    /// `current_user`.
    pub user: String,
}

impl Database {
    /// Returns what a changeset stores to recognize this database.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            host: self.host.clone(),
            port: self.port,
            name: self.name.clone(),
            schema: self.schema.clone(),
        }
    }
}

/// `database "litellm" at db:5432, schema "public", as user "ro"`: never a password. An embedded
/// server has no port.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, as user \"{}\"",
            self.identity(),
            one_line(&self.user)
        )
    }
}
