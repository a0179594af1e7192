//! What a repair changed of anybody's access, in words and as JSON.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::litellm::access::difference::Usable;
use crate::litellm::ids::ServerId;
use crate::printable::printable;
use crate::repair::access_comparison::{ComparedAccess, DifferingCaller, DifferingServer};
use crate::report::shown_text::count;

/// How many callers who differ are named in a report for a person.
const NAMED: usize = 20;

/// Says how many callers were compared and who differs, a paragraph each; `tense` is how the report
/// speaks of a difference.
pub(crate) fn paragraphs(access: &ComparedAccess, tense: Tense) -> Vec<String> {
    let mut paragraphs = vec![counts(access, tense)];
    paragraphs.extend(who_differs(access));
    paragraphs.extend(left_out(access));
    paragraphs
}

/// Says the same without names, in one paragraph.
pub(crate) fn in_short(access: &ComparedAccess, tense: Tense) -> String {
    let mut sentences = vec![counts(access, tense)];
    sentences.extend(left_out(access));
    sentences.join(" ")
}

/// Says how many callers were compared, and how many of them gain or lose something.
fn counts(access: &ComparedAccess, tense: Tense) -> String {
    if access.compared == 0 {
        return if access.not_compared == 0 {
            "Nobody's access depends on what is written.".to_owned()
        } else {
            "Access was not compared: --compare-at-most 0 compares nobody.".to_owned()
        };
    }
    let mut compared = count(access.compared, "caller");
    if access.without_deleted {
        compared.push_str(", apart from access to what is taken as deleted,");
    }
    if access.is_unchanged() {
        return format!("Access of {compared} compared: unchanged.");
    }
    let (gain, lose) = tense.verbs();
    format!(
        "Access of {compared} compared: {} {gain} servers or tools, {} {lose} any.",
        somebody(access.widened),
        somebody(access.narrowed)
    )
}

/// Lists those who gain or lose something; `None` if nobody does.
fn who_differs(access: &ComparedAccess) -> Option<String> {
    if access.compared == 0 || access.is_unchanged() {
        return None;
    }
    let named = access.differing.iter().take(NAMED);
    let named: Vec<String> = named.map(|who| printable(&who.changes())).collect();
    Some(if access.differing.len() <= NAMED {
        format!("Who: {}.", named.join("; "))
    } else {
        format!(
            "Who: {}; and others, whom --format json names.",
            named.join("; ")
        )
    })
}

/// Says how many were left out; `None` where none were, or all.
fn left_out(access: &ComparedAccess) -> Option<String> {
    (access.compared > 0 && access.not_compared > 0).then(|| {
        format!(
            "Not compared: {} owners or callers more. Raise --compare-at-most to compare them too.",
            access.not_compared
        )
    })
}

fn somebody(number: usize) -> String {
    if number == 0 {
        "nobody".to_owned()
    } else {
        number.to_string()
    }
}

/// Whether a report speaks of what was done or of what would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tense {
    /// It was committed.
    Done,
    /// It was only tried.
    Would,
}

impl Tense {
    fn verbs(self) -> (&'static str, &'static str) {
        match self {
            Self::Done => ("gained", "lost"),
            Self::Would => ("would gain", "would lose"),
        }
    }
}

/// What was compared, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct ComparedAccessV1<'a> {
    /// How many callers.
    compared: usize,
    /// How many owners or callers were left out, because there are too many.
    not_compared: usize,
    /// How many callers gain something.
    widened: usize,
    /// How many callers lose something.
    narrowed: usize,
    /// The first of these callers.
    differing: Vec<DifferingCallerV1<'a>>,
}

#[derive(Debug, Serialize)]
struct DifferingCallerV1<'a> {
    caller: &'a str,
    servers: Vec<DifferingServerV1<'a>>,
    /// What it depends on.
    #[serde(rename = "if", skip_serializing_if = "Option::is_none")]
    condition: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct DifferingServerV1<'a> {
    /// Null for a server that only a config that is not known may add.
    id: Option<&'a str>,
    name: Option<&'a str>,
    before: Option<UsableV1<'a>>,
    after: Option<UsableV1<'a>>,
}

/// The tools that may be used; null stands for all.
#[derive(Debug, Serialize)]
struct UsableV1<'a> {
    tools: Option<&'a BTreeSet<String>>,
}

impl<'a> From<&'a ComparedAccess> for ComparedAccessV1<'a> {
    fn from(access: &'a ComparedAccess) -> Self {
        Self {
            compared: access.compared,
            not_compared: access.not_compared,
            widened: access.widened,
            narrowed: access.narrowed,
            differing: access.differing.iter().map(Into::into).collect(),
        }
    }
}

impl<'a> From<&'a DifferingCaller> for DifferingCallerV1<'a> {
    fn from(differing: &'a DifferingCaller) -> Self {
        Self {
            caller: &differing.caller,
            servers: differing.servers.iter().map(Into::into).collect(),
            condition: differing.condition.as_deref(),
        }
    }
}

impl<'a> From<&'a DifferingServer> for DifferingServerV1<'a> {
    fn from(server: &'a DifferingServer) -> Self {
        fn usable(usable: &Usable) -> Option<UsableV1<'_>> {
            usable.as_ref().map(|tools| UsableV1 {
                tools: tools.as_ref(),
            })
        }
        Self {
            id: server.id.as_ref().map(ServerId::as_str),
            name: server.name.as_deref(),
            before: usable(&server.difference.before),
            after: usable(&server.difference.after),
        }
    }
}
