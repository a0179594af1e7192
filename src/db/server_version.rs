//! The version of the server, and which versions this program works with.

use crate::error::{ErrorKind, Failure};

/// The oldest major of PostgreSQL with every function and operator of the statements: 12 brought
/// `jsonb @?`.
///
/// Source: PostgreSQL 12 release notes, "JSON path".
const OLDEST_MAJOR: i32 = 12;

const HINT: &str = "upgrade the server; or dump its database with pg_dump, and have the dump \
                    looked at: --db-url embedded:FILE.sql";

/// The version that a server reports. An engine that speaks for PostgreSQL reports the version
/// whose functions it has, and is judged by that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerVersion {
    /// `server_version`, such as `15.4 (Debian 15.4-1)`.
    pub text: String,
    /// `server_version_num`: 15.4 is 150004, and 9.6.24 is 90624.
    pub number: i32,
}

impl ServerVersion {
    /// Refuses a server that is too old for the statements.
    ///
    /// # Errors
    ///
    /// Refused, with the version that the server reports and the oldest that works.
    pub(crate) fn ensure_supported(&self) -> Result<(), Failure> {
        if self.is_before(OLDEST_MAJOR) {
            return Err(Failure::new(
                ErrorKind::Refused,
                format!(
                    "mcp-prune needs PostgreSQL {OLDEST_MAJOR} or later, and this server says \
                     that it is {}",
                    self.text
                ),
            )
            .hint(HINT));
        }
        Ok(())
    }

    /// Tells whether the server is older than a major of PostgreSQL, 10 or later.
    pub(crate) fn is_before(&self, major: i32) -> bool {
        // A major has four more digits (PostgreSQL 17 manual, 19.17, "server_version_num").
        self.number / 10_000 < major
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str, number: i32) -> ServerVersion {
        let text = text.to_owned();
        ServerVersion { text, number }
    }

    #[test]
    fn a_server_before_the_oldest_major_is_refused_with_its_version() {
        for (text, number) in [
            ("8.0.2", 80_002),
            ("9.6.24", 90_624),
            ("10.23", 100_023),
            ("11.2-YB-2024.2.4.0-b0", 110_002),
            ("11.22", 110_022),
        ] {
            let failure = version(text, number).ensure_supported().unwrap_err();
            assert_eq!(failure.kind(), ErrorKind::Refused);
            assert_eq!(failure.advice(), Some(HINT));
            assert_eq!(
                failure.message(),
                format!(
                    "mcp-prune needs PostgreSQL 12 or later, and this server says that it is {text}"
                )
            );
        }
        for (text, number) in [
            ("12.0", 120_000),
            ("12.22", 120_022),
            ("18.4 (Debian 18.4-1)", 180_004),
            ("19devel", 190_000),
        ] {
            version(text, number).ensure_supported().unwrap();
        }
    }
}
