//! What a repair changes of anybody's access: how many callers were compared, and who differs.

use std::fmt;

use crate::litellm::access::difference::{AccessDifference, ServerDifference};
use crate::litellm::access::possible::is_made_up;
use crate::litellm::access::registry::Registry;
use crate::litellm::ids::ServerId;

/// How many callers who differ are named; the others are counted.
pub(crate) const MOST_NAMED: usize = 1_000;

/// What a caller may use of a server, before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DifferingServer {
    /// The id; `None` for one that only a `config.yaml` that is not known may add.
    pub id: Option<ServerId>,
    /// Its alias, or its name.
    pub name: Option<String>,
    /// What it may use.
    pub difference: ServerDifference,
}

/// A caller whose access differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DifferingCaller {
    /// Who it is: "key ci-bot (ab12cd34)".
    pub caller: String,
    /// The servers that it gains or loses, whole or in part.
    pub servers: Vec<DifferingServer>,
    /// Whether it gains anything by any possible config, setting or release.
    pub widens: bool,
    /// Whether it loses anything, likewise.
    pub narrows: bool,
    /// What the difference depends on; `None` if it follows from what is known.
    pub condition: Option<String>,
}

impl DifferingCaller {
    /// Names a caller, and its servers by the names in `registry`.
    #[must_use]
    pub(crate) fn new(
        caller: String,
        difference: AccessDifference,
        registry: &Registry,
        condition: Option<String>,
    ) -> Self {
        let (widens, narrows) = (difference.widens(), difference.narrows());
        let servers = difference.0.into_iter().map(|(id, difference)| {
            let server = registry.get(&id);
            let name = server.and_then(|s| s.alias.clone().or_else(|| s.name.clone()));
            DifferingServer {
                id: (!is_made_up(&id)).then_some(id),
                name,
                difference,
            }
        });
        Self {
            caller,
            servers: servers.collect(),
            widens,
            narrows,
            condition,
        }
    }

    /// Tells whether the operator accepted the difference.
    #[must_use]
    pub(crate) fn is_accepted(&self, accepted: AcceptedDifferences) -> bool {
        (!self.widens || accepted.widening) && (!self.narrows || accepted.narrowing)
    }

    /// Says what the caller would gain and lose: "would gain github".
    #[must_use]
    pub(crate) fn would(&self) -> String {
        format!("would {}", self.in_words("gain", "lose"))
    }

    /// Says what the caller gains and loses: "key ci-bot (ab12cd34) gains github".
    #[must_use]
    pub(crate) fn changes(&self) -> String {
        format!("{} {}", self.caller, self.in_words("gains", "loses"))
    }

    fn in_words(&self, gains: &str, loses: &str) -> String {
        let names = |is_such: fn(&ServerDifference) -> bool| -> Vec<String> {
            let such = self.servers.iter().filter(|s| is_such(&s.difference));
            such.map(ToString::to_string).collect()
        };
        let (gained, lost) = (
            names(ServerDifference::widens),
            names(ServerDifference::narrows),
        );
        let mut parts = Vec::new();
        if !gained.is_empty() {
            parts.push(format!("{gains} {}", few(&gained)));
        }
        if !lost.is_empty() {
            parts.push(format!("{loses} {}", few(&lost)));
        }
        let words = parts.join(" and ");
        match &self.condition {
            Some(condition) => format!("{words}, {condition}"),
            None => words,
        }
    }
}

/// Joins names: the first three, and how many more there are.
fn few(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// "github", or "the tools read, write of github".
impl fmt::Display for DifferingServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServerDifference { before, after } = &self.difference;
        let tools = match (before, after) {
            (Some(Some(before)), Some(Some(after))) => {
                let differing = before.symmetric_difference(after);
                Some(differing.cloned().collect::<Vec<_>>())
            }
            (Some(Some(few)), Some(None)) | (Some(None), Some(Some(few))) => {
                return write!(f, "tools of {} besides {}", self.label(), listed(few));
            }
            (None, _) | (_, None) | (Some(None), Some(None)) => None,
        };
        match tools {
            Some(tools) => write!(f, "{} of {}", few(&tools), self.label()),
            None => f.write_str(self.label()),
        }
    }
}

impl DifferingServer {
    fn label(&self) -> &str {
        let name = self
            .name
            .as_deref()
            .or(self.id.as_ref().map(ServerId::as_str));
        name.unwrap_or("a server of a config.yaml")
    }
}

fn listed(tools: &std::collections::BTreeSet<String>) -> String {
    if tools.is_empty() {
        return "none".to_owned();
    }
    few(&tools.iter().cloned().collect::<Vec<_>>())
}

/// "key ci-bot (ab12cd34) would gain github".
impl fmt::Display for DifferingCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.caller, self.would())
    }
}

/// The access of all callers that a change affects, before and after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ComparedAccess {
    /// How many callers were compared.
    pub compared: usize,
    /// How many owners or callers were left out, because there are too many.
    pub not_compared: usize,
    /// Whether servers that are taken as deleted are left out on both sides.
    pub without_deleted: bool,
    /// How many gain something.
    pub widened: usize,
    /// How many lose something.
    pub narrowed: usize,
    /// The callers who differ, the first [`MOST_NAMED`] of them.
    pub differing: Vec<DifferingCaller>,
}

impl ComparedAccess {
    /// Adds a caller, and how it differs.
    pub(crate) fn add(&mut self, differing: Option<DifferingCaller>) {
        self.compared += 1;
        let Some(differing) = differing else { return };
        self.widened += usize::from(differing.widens);
        self.narrowed += usize::from(differing.narrows);
        if self.differing.len() < MOST_NAMED {
            self.differing.push(differing);
        }
    }

    /// Tells whether nobody differs.
    #[must_use]
    pub(crate) fn is_unchanged(&self) -> bool {
        self.widened == 0 && self.narrowed == 0
    }

    /// Tells whether the operator accepted every difference.
    #[must_use]
    pub(crate) fn is_accepted(&self, accepted: AcceptedDifferences) -> bool {
        (self.widened == 0 || accepted.widening) && (self.narrowed == 0 || accepted.narrowing)
    }
}

/// The differences that the operator accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AcceptedDifferences {
    /// `--accept-widening`.
    pub widening: bool,
    /// `--accept-narrowing`.
    pub narrowing: bool,
}
