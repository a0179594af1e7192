//! What a scan says of the baselines that it read and wrote.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::command_line::CommandLine;
use crate::litellm::finding::FindingKind;
use crate::printable::printable;
use crate::report::Report;
use crate::report::shown_text::count;
use crate::report::summary::FindingGroup;

/// The baselines of a scan, at least one.
#[derive(Debug)]
pub(crate) struct BaselineFacts {
    /// The file of `--baseline`.
    pub read: Option<ReadBaseline>,
    /// The file of `--write-baseline`.
    pub written: Option<WrittenBaseline>,
}

/// A baseline that a scan was compared with.
#[derive(Debug)]
pub(crate) struct ReadBaseline {
    /// The file.
    pub file: String,
    /// The findings that it lists, which the report only counts.
    pub acknowledged: BTreeMap<FindingGroup, usize>,
    /// How many of its lines the scan looked for and did not find.
    pub gone: usize,
    /// The scan that writes it again.
    pub renew: CommandLine,
}

/// A baseline that a scan wrote.
#[derive(Debug)]
pub(crate) struct WrittenBaseline {
    /// The file.
    pub file: String,
    /// How many references it lists.
    pub references: usize,
}

impl ReadBaseline {
    pub(crate) fn of_kind(&self, kind: FindingKind) -> usize {
        let found = self.acknowledged.iter();
        let found = found.filter(|(group, _)| group.kind == kind.name());
        found.map(|(_, count)| count).sum()
    }
}

/// The baselines in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct BaselineV1<'a> {
    /// Null without `--baseline`, as are the two numbers.
    file: Option<&'a str>,
    acknowledged: Option<AcknowledgedV1>,
    gone: Option<usize>,
    /// Null without `--write-baseline`.
    written: Option<WrittenBaselineV1<'a>>,
}

#[derive(Debug, Serialize)]
struct AcknowledgedV1 {
    stale: usize,
    unverified: usize,
    dangling_toolsets: usize,
}

#[derive(Debug, Serialize)]
struct WrittenBaselineV1<'a> {
    file: &'a str,
    references: usize,
}

impl<'a> From<&'a BaselineFacts> for BaselineV1<'a> {
    fn from(facts: &'a BaselineFacts) -> Self {
        let BaselineFacts { read, written } = facts;
        Self {
            file: read.as_ref().map(|read| read.file.as_str()),
            acknowledged: read.as_ref().map(|read| AcknowledgedV1 {
                stale: read.of_kind(FindingKind::Stale),
                unverified: read.of_kind(FindingKind::Unverified),
                dangling_toolsets: read.of_kind(FindingKind::DanglingToolset),
            }),
            gone: read.as_ref().map(|read| read.gone),
            written: written.as_ref().map(|written| WrittenBaselineV1 {
                file: &written.file,
                references: written.references,
            }),
        }
    }
}

/// Returns what a report for people says of the baselines, a sentence or two each.
pub(crate) fn in_words(report: &Report) -> Vec<String> {
    let Some(BaselineFacts { read, written }) = &report.facts.baseline else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    if let Some(read) = read {
        let file = printable(&read.file);
        let kinds = [
            FindingKind::Stale,
            FindingKind::Unverified,
            FindingKind::DanglingToolset,
        ];
        let counts = kinds.map(|kind| (read.of_kind(kind), kind.name()));
        let counts = counts.iter().filter(|(number, _)| *number > 0);
        let counts: Vec<String> = counts.map(|(n, kind)| format!("{n} {kind}")).collect();
        lines.push(match counts.as_slice() {
            [] => format!("Nothing found is acknowledged in {file}."),
            counts => format!(
                "Not listed, because {file} acknowledges it: {}.",
                counts.join(", ")
            ),
        });
        if read.gone > 0 {
            let (are, it) = if read.gone == 1 {
                ("is", "it")
            } else {
                ("are", "them")
            };
            lines.push(format!(
                "{} of the baseline {are} gone. Write the baseline again to drop {it}.",
                count(read.gone, "reference")
            ));
        }
    }
    if let Some(written) = written {
        lines.push(format!(
            "Wrote the baseline {}, which acknowledges {}.",
            printable(&written.file),
            count(written.references, "reference")
        ));
    }
    lines
}

/// Returns the scan that writes the baseline again, if that would change it and was not done.
pub(crate) fn renewal(report: &Report) -> Option<&CommandLine> {
    let BaselineFacts { read, written } = report.facts.baseline.as_ref()?;
    let read = read.as_ref().filter(|_| written.is_none())?;
    let changes = read.gone > 0 || report.summary().needs_attention();
    changes.then_some(&read.renew)
}
