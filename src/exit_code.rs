//! The exit-code table.

use crate::error::ErrorKind;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing was to be written: `scan`, `access`, `fix --dry-run`, or a prompt that was answered
    /// with no.
    Looked {
        /// Whether a stale or an unverified reference was found, or somebody gained or lost access.
        found: bool,
    },
    /// A repair was committed and verified, or there was nothing to commit.
    Repaired {
        /// Whether a stale reference was held.
        held: bool,
    },
    /// The tool could not do its work.
    Failed(ErrorKind),
}

impl Outcome {
    /// Tells whether the command did its work, whatever it found or held.
    #[must_use]
    pub(crate) fn succeeded(self) -> bool {
        match self {
            Self::Looked { .. } | Self::Repaired { .. } | Self::Failed(ErrorKind::BrokenPipe) => {
                true
            }
            Self::Failed(_) => false,
        }
    }

    /// Treats findings and held references as success, as `--exit-zero` asks.
    #[must_use]
    pub(crate) fn with_exit_zero(self) -> Self {
        match self {
            Self::Looked { .. } => Self::Looked { found: false },
            Self::Repaired { .. } => Self::Repaired { held: false },
            Self::Failed(kind) => Self::Failed(kind),
        }
    }
}

/// Returns the exit code of an outcome.
///
/// | code | meaning |
/// |---|---|
/// | 0 | nothing stale, or everything stale was repaired and verified |
/// | 1 | error; nothing was written, unless the message says so |
/// | 2 | stale or unverified references found, or access gained or lost; nothing written |
/// | 3 | repaired, but some references were held |
/// | 4 | a guard refused |
/// | 5 | a plan no longer matches the database |
/// | 6 | busy |
/// | 7 | cannot connect, authenticate or begin a transaction, or lacks a privilege |
/// | 64 | usage error |
/// | 128+N | ended by signal N |
#[must_use]
pub(crate) fn code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Looked { found: false }
        | Outcome::Repaired { held: false }
        | Outcome::Failed(ErrorKind::BrokenPipe) => 0,
        Outcome::Looked { found: true } => 2,
        Outcome::Repaired { held: true } => 3,
        Outcome::Failed(ErrorKind::Error) => 1,
        Outcome::Failed(ErrorKind::Refused) => 4,
        Outcome::Failed(ErrorKind::Moved) => 5,
        Outcome::Failed(ErrorKind::Busy | ErrorKind::Collided | ErrorKind::Taken) => 6,
        Outcome::Failed(ErrorKind::Access) => 7,
        Outcome::Failed(ErrorKind::Usage) => 64,
        Outcome::Failed(ErrorKind::Interrupted(signal)) => 128 + signal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every outcome, its code, and its code under `--exit-zero`.
    const TABLE: [(Outcome, u8, u8); 16] = [
        (Outcome::Looked { found: false }, 0, 0),
        (Outcome::Looked { found: true }, 2, 0),
        (Outcome::Repaired { held: false }, 0, 0),
        (Outcome::Repaired { held: true }, 3, 0),
        (Outcome::Failed(ErrorKind::BrokenPipe), 0, 0),
        (Outcome::Failed(ErrorKind::Error), 1, 1),
        (Outcome::Failed(ErrorKind::Refused), 4, 4),
        (Outcome::Failed(ErrorKind::Moved), 5, 5),
        (Outcome::Failed(ErrorKind::Busy), 6, 6),
        (Outcome::Failed(ErrorKind::Collided), 6, 6),
        (Outcome::Failed(ErrorKind::Taken), 6, 6),
        (Outcome::Failed(ErrorKind::Access), 7, 7),
        (Outcome::Failed(ErrorKind::Usage), 64, 64),
        (Outcome::Failed(ErrorKind::Interrupted(2)), 130, 130),
        (Outcome::Failed(ErrorKind::Interrupted(13)), 141, 141),
        (Outcome::Failed(ErrorKind::Interrupted(15)), 143, 143),
    ];

    #[test]
    fn every_outcome_has_its_code() {
        for (outcome, plain, exit_zero) in TABLE {
            assert_eq!(code(outcome), plain, "{outcome:?}");
            let accepted = code(outcome.with_exit_zero());
            assert_eq!(accepted, exit_zero, "{outcome:?} --exit-zero");
        }
    }

    #[test]
    fn the_readme_lists_every_code() {
        let readme = include_str!("../README.md");
        let listed: Vec<u8> = readme
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok())
            .collect();
        let mut codes: Vec<u8> = TABLE.iter().map(|row| row.1).filter(|c| *c < 128).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(listed, codes);
        assert!(readme.contains("| 128+N |"));
    }
}
