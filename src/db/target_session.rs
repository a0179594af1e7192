//! The kind of server that libpq's `target_session_attrs` asks for.

use std::fmt;
use std::str::FromStr;

use crate::error::{ErrorKind, Failure};

/// The kind of server that a URL or a variable asks for.
///
/// Source: PostgreSQL 18 manual, 32.1.2 "Parameter Key Words", `target_session_attrs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetSession {
    /// Any server. `prefer-standby` is read as this: with one host there is nothing to prefer.
    Any,
    /// A primary whose transactions can write unless they say otherwise.
    ReadWrite,
    /// Any server that [`Self::ReadWrite`] refuses.
    ReadOnly,
    /// A server that is no replica.
    Primary,
    /// A replica.
    Standby,
}

/// What the transactions of a server may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerAccess {
    /// They write.
    Writable,
    /// They are read-only unless they say otherwise (`default_transaction_read_only`).
    ReadOnlyByDefault,
    /// They only read: the server is a replica.
    Replica,
}

impl ServerAccess {
    /// Makes it from what the server tells.
    pub(crate) fn of(is_replica: bool, is_read_only: bool) -> Self {
        match (is_replica, is_read_only) {
            (true, _) => Self::Replica,
            (false, true) => Self::ReadOnlyByDefault,
            (false, false) => Self::Writable,
        }
    }
}

/// Reads the word of libpq.
impl FromStr for TargetSession {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "any" | "prefer-standby" => Ok(Self::Any),
            "read-write" => Ok(Self::ReadWrite),
            "read-only" => Ok(Self::ReadOnly),
            "primary" => Ok(Self::Primary),
            "standby" => Ok(Self::Standby),
            _ => Err(()),
        }
    }
}

/// Writes the word of libpq.
impl fmt::Display for TargetSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Primary => "primary",
            Self::Standby => "standby",
        })
    }
}

impl TargetSession {
    /// Refuses a server of another kind.
    ///
    /// Source: PostgreSQL 18 `fe-connect.c`, `CONNECTION_CHECK_TARGET`.
    pub(crate) fn ensure(self, access: ServerAccess) -> Result<(), Failure> {
        let found = match access {
            ServerAccess::Replica => "this server is a replica",
            ServerAccess::ReadOnlyByDefault => {
                "transactions on this server are read-only by default"
            }
            ServerAccess::Writable => "this server is no replica, and can be written",
        };
        let fits = match self {
            Self::Any => true,
            Self::ReadWrite => access == ServerAccess::Writable,
            Self::ReadOnly => access != ServerAccess::Writable,
            Self::Primary => access != ServerAccess::Replica,
            Self::Standby => access == ServerAccess::Replica,
        };
        if fits {
            return Ok(());
        }
        Err(Failure::new(
            ErrorKind::Refused,
            format!("{found}, but target_session_attrs={self} asks for another kind of server"),
        )
        .hint(
            "name the server that is meant, or leave out target_session_attrs of the database URL \
             and PGTARGETSESSIONATTRS",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_another_kind_is_refused() {
        let primary = ServerAccess::of(false, false);
        let read_only = ServerAccess::of(false, true);
        let replica = ServerAccess::of(true, false);
        assert_eq!(ServerAccess::of(true, true), replica);
        for (word, fitting) in [
            ("any", &[primary, read_only, replica][..]),
            ("prefer-standby", &[primary, read_only, replica]),
            ("read-write", &[primary]),
            ("read-only", &[read_only, replica]),
            ("primary", &[primary, read_only]),
            ("standby", &[replica]),
        ] {
            let wanted: TargetSession = word.parse().unwrap();
            for server in [primary, read_only, replica] {
                let fits = wanted.ensure(server);
                assert_eq!(fits.is_ok(), fitting.contains(&server), "{word} {server:?}");
                if let Err(failure) = fits {
                    assert_eq!(failure.kind(), ErrorKind::Refused);
                    let told = format!("target_session_attrs={word} asks for another kind");
                    assert!(failure.to_string().contains(&told), "{failure}");
                }
            }
        }
        assert_eq!("Any".parse::<TargetSession>(), Err(()));
    }
}
