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

/// An exit code, and what it means in the help of a command.
type Meaning = (&'static str, &'static str);

const ERROR: Meaning = ("1", "error; the message says what it is");

const UNWRITTEN: Meaning = (
    "1",
    "error; nothing was written, unless the message says so",
);

const REFUSED: Meaning = ("4", "a guard refused; nothing was written");

const UNFIT: Meaning = (
    "4",
    "a guard refused, such as where the schema is not LiteLLM's",
);

const CHANGED: Meaning = (
    "5",
    "changed meanwhile: rows, a server, or access; nothing was written",
);

const BUSY: Meaning = ("6", "busy: others hold locks; nothing was written");

const ENDED: Meaning = ("6", "busy: a lock timeout, or a replica ended the query");

const ACCESS: Meaning = (
    "7",
    "no connection or privilege, or a pooler that allows no transactions",
);

const USAGE: Meaning = ("64", "wrong usage; nothing was touched");

const SIGNAL: Meaning = ("128+N", "ended by signal N");

/// The exit codes of all commands together, for the help of the program.
const OF_PROGRAM: &[Meaning] = &[
    ("0", "nothing stale, or everything stale was repaired"),
    UNWRITTEN,
    (
        "2",
        "stale, unverified or dangling-toolset found; access gained or lost",
    ),
    ("3", "repaired, except references that were held"),
    REFUSED,
    CHANGED,
    BUSY,
    ACCESS,
    USAGE,
    SIGNAL,
];

/// The exit codes of each command: all that it can return, and no other. Debug builds, and so all
/// tests, stop where a command returns another one.
const OF_COMMANDS: &[(&str, &[Meaning])] = &[
    (
        "scan",
        &[
            ("0", "nothing found, except what --baseline lists"),
            ERROR,
            (
                "2",
                "stale, unverified or dangling-toolset references found",
            ),
            UNFIT,
            ENDED,
            ACCESS,
            USAGE,
            SIGNAL,
        ],
    ),
    (
        "fix",
        &[
            ("0", "nothing stale, or everything stale was repaired"),
            UNWRITTEN,
            (
                "2",
                "--dry-run, or answered with no: there is something stale",
            ),
            ("3", "repaired, except references that were held"),
            REFUSED,
            CHANGED,
            BUSY,
            ACCESS,
            USAGE,
            SIGNAL,
        ],
    ),
    (
        "undo",
        &[
            ("0", "put back, or would be, or everything is back already"),
            UNWRITTEN,
            REFUSED,
            ("5", "rows were changed since; nothing was written"),
            BUSY,
            ACCESS,
            USAGE,
            SIGNAL,
        ],
    ),
    ("history", &[("0", "listed"), ERROR, USAGE, SIGNAL]),
    ("show", &[("0", "printed"), ERROR, USAGE, SIGNAL]),
    (
        "access",
        &[
            (
                "0",
                "answered; with --since, nobody gained or lost anything",
            ),
            ERROR,
            ("2", "--since: somebody gained or lost access"),
            UNFIT,
            ENDED,
            ACCESS,
            USAGE,
            SIGNAL,
        ],
    ),
    ("ids", &[("0", "printed"), ERROR, USAGE, SIGNAL]),
    (
        "grants",
        &[("0", "printed"), ERROR, UNFIT, ENDED, ACCESS, USAGE, SIGNAL],
    ),
    (
        "doctor",
        &[
            ("0", "no check fails"),
            ("1", "a check fails, for another reason than that of 7"),
            ("7", "there is no connection, or a privilege is missing"),
            USAGE,
            SIGNAL,
        ],
    ),
    ("completions", &[("0", "printed"), ERROR, USAGE]),
    ("man", &[("0", "printed"), ERROR, USAGE]),
];

/// Returns the exit codes of a command; those of the program where no command has that name.
fn codes_of(command: &str) -> &'static [Meaning] {
    let mut commands = OF_COMMANDS.iter();
    let of_command = commands.find(|(name, _)| *name == command);
    of_command.map_or(OF_PROGRAM, |(_, codes)| codes)
}

/// Returns the end of a command's help: what `before` says, then its exit codes.
pub(crate) fn help(command: &str, before: &str) -> String {
    let codes = codes_of(command).iter();
    let rows = codes.map(|(code, meaning)| format!("\n  {code:<5}  {meaning}"));
    let exit_zero = match command {
        "scan" => "\n\n--exit-zero turns 2 into 0.",
        "fix" => "\n\n--exit-zero turns 2 and 3 into 0.",
        _ => "",
    };
    let gap = if before.is_empty() { "" } else { "\n\n" };
    format!(
        "{before}{gap}Exit codes:{}{exit_zero}",
        rows.collect::<String>()
    )
}

/// Tells whether the help of a command lists an exit code.
pub(crate) fn is_listed(command: &str, code: u8) -> bool {
    let code = match code {
        128.. => SIGNAL.0.to_owned(),
        code => code.to_string(),
    };
    codes_of(command).iter().any(|(listed, _)| *listed == code)
}

/// Returns the exit code of an outcome. [`help`] says what it means.
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

    /// Returns the exit codes of a list, as it lists them.
    fn listed(codes: &[Meaning]) -> Vec<&str> {
        codes.iter().map(|(code, _)| *code).collect()
    }

    #[test]
    fn the_readme_and_the_helps_list_every_code() {
        let mut codes: Vec<u8> = TABLE.iter().map(|row| row.1).filter(|c| *c < 128).collect();
        codes.sort_unstable();
        codes.dedup();
        let codes = codes.iter().map(u8::to_string);
        let codes: Vec<String> = codes.chain([SIGNAL.0.to_owned()]).collect();
        assert_eq!(listed(OF_PROGRAM), codes);
        let readme = include_str!("../README.md");
        let (_, table) = readme.split_once("| code | meaning |").unwrap();
        let rows = table
            .lines()
            .skip(2)
            .map_while(|row| row.strip_prefix("| "));
        let rows: Vec<&str> = rows.filter_map(|row| row.split(' ').next()).collect();
        assert_eq!(rows, codes);
        let mut of_commands = Vec::new();
        for (command, meanings) in OF_COMMANDS {
            let of_command = listed(meanings);
            // In the order of the program's, and none twice.
            let sorted = codes
                .iter()
                .filter(|code| of_command.contains(&code.as_str()));
            assert_eq!(of_command, sorted.collect::<Vec<_>>(), "{command}");
            of_commands.extend(of_command);
        }
        assert!(
            codes
                .iter()
                .all(|code| of_commands.contains(&code.as_str()))
        );
    }

    #[test]
    fn a_command_returns_no_code_that_its_help_does_not_list() {
        assert!(is_listed("fix", 3) && is_listed("fix", 130));
        assert!(!is_listed("scan", 3) && !is_listed("doctor", 4) && !is_listed("man", 130));
        for (command, codes) in OF_COMMANDS {
            let help = help(command, "Before.");
            assert!(
                help.starts_with("Before.\n\nExit codes:\n  0      "),
                "{help}"
            );
            for (code, meaning) in *codes {
                assert!(
                    help.contains(&format!("\n  {code:<5}  {meaning}")),
                    "{help}"
                );
            }
        }
    }
}
