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
    /// Refuses a server of another kind. `is_read_only` tells whether its transactions are
    /// read-only unless they say otherwise (`default_transaction_read_only`).
    ///
    /// Source: PostgreSQL 18 `fe-connect.c`, `CONNECTION_CHECK_TARGET`.
    pub(crate) fn ensure(self, is_replica: bool, is_read_only: bool) -> Result<(), Failure> {
        let found = match (is_replica, is_read_only) {
            (true, _) => "this server is a replica",
            (false, true) => "transactions on this server are read-only by default",
            (false, false) => "this server is no replica, and can be written",
        };
        let fits = match self {
            Self::Any => true,
            Self::ReadWrite => !is_replica && !is_read_only,
            Self::ReadOnly => is_replica || is_read_only,
            Self::Primary => !is_replica,
            Self::Standby => is_replica,
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
        let primary = (false, false);
        let read_only = (false, true);
        let replica = (true, false);
        for (word, fitting) in [
            ("any", &[primary, read_only, replica][..]),
            ("prefer-standby", &[primary, read_only, replica]),
            ("read-write", &[primary]),
            ("read-only", &[read_only, replica]),
            ("primary", &[primary, read_only]),
            ("standby", &[replica]),
        ] {
            let wanted: TargetSession = word.parse().unwrap();
            for server in [primary, read_only, replica, (true, true)] {
                let fits = wanted.ensure(server.0, server.1);
                let expected = fitting.contains(&(server.0, server.1 && !server.0));
                assert_eq!(fits.is_ok(), expected, "{word} {server:?}");
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
