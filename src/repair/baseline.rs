//! The baseline of a scan: the references that an operator has acknowledged, one a line. A line
//! names table, row, column, reference and verdict, so a reference whose verdict changes is new.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::litellm::finding::{Audit, Finding, FindingKind};
use crate::litellm::reference_sites::TABLES;
use crate::printable::{is_unseen, printable};
use crate::repair::changeset::Identity;
use crate::repair::plan::RowPlan;

/// The version of the format.
const FORMAT: u32 = 1;

/// The first word of the file, before the version of the format.
const PURPOSE: &str = "mcp-prune-baseline";

/// The first word of the second line, before the database as JSON.
const DATABASE: &str = "database";

/// The verdicts for which a scan exits with 2. A baseline has no others.
const KINDS: [FindingKind; 3] = [
    FindingKind::Stale,
    FindingKind::Unverified,
    FindingKind::DanglingToolset,
];

/// How many owners the comment of a line names.
const OWNERS: usize = 3;

/// The comment above the lines.
const INTRODUCTION: &str = "\
# What scan --baseline counts and does not report. A line is one reference: table, row, column,
# reference, verdict. Without its line, a reference is reported again. A comment above a line stays
# with it; the comment at its end names the owners, and is written anew.
";

/// A baseline that was read.
#[derive(Debug)]
pub(crate) struct Baseline {
    database: Identity,
    /// In order of their text, each once.
    lines: Vec<AcknowledgedReference>,
}

/// A line of a baseline. In memory it takes the bytes of its text and its comments, and some 100
/// more.
#[derive(Debug)]
struct AcknowledgedReference {
    /// The reference, in the one way in which this program writes it.
    text: Box<str>,
    /// The comments on the lines directly above it.
    above: Option<Box<str>>,
    /// The comment at its end.
    beside: Option<Box<str>>,
    is_found: bool,
}

/// Why a text is no baseline that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadBaseline {
    /// It does not begin as a baseline does.
    Foreign,
    /// It is of another version of the format, which it names.
    OtherFormat(String),
    /// One of its lines is not as it should be.
    BadLine {
        /// The number of the line.
        line: usize,
        /// What is wrong with it, a clause.
        why: &'static str,
    },
}

/// What a run looked at. A line of the baseline about anything else cannot be told to be gone.
#[derive(Debug, Default)]
pub(crate) struct BaselineScope {
    /// The tables that were looked at, with the columns of each.
    pub sites: BTreeSet<(&'static str, &'static str)>,
    /// The references of `--reference`; any where empty.
    pub references: BTreeSet<String>,
    /// The rows of `--row`; any where empty.
    pub rows: BTreeSet<String>,
    /// Whether owners were named. Then only the rows that were read are known to be theirs.
    pub names_owners: bool,
}

impl Baseline {
    /// Reads the text of a baseline.
    pub(crate) fn parse(text: &str) -> Result<Self, BadBaseline> {
        let mut numbered = (1..).zip(text.lines().map(str::trim));
        let mut next = || numbered.find(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let format = next()
            .and_then(|(_, line)| line.strip_prefix(PURPOSE)?.strip_prefix(' '))
            .ok_or(BadBaseline::Foreign)?;
        if format.trim() != FORMAT.to_string() {
            return Err(BadBaseline::OtherFormat(format.trim().to_owned()));
        }
        // A file that ends before this line lacks its second one.
        let (number, line) = next().unwrap_or((2, ""));
        let database = line.strip_prefix(DATABASE);
        let database = database.and_then(|rest| rest.strip_prefix(' '));
        let database = database.and_then(|json| serde_json::from_str(json).ok());
        let database = database.ok_or(BadBaseline::BadLine {
            line: number,
            why: "it does not name the database",
        })?;
        let mut lines = Vec::new();
        let mut above = String::new();
        for (number, line) in numbered {
            if line.starts_with('#') {
                above.push_str(line);
                above.push('\n');
            } else if line.is_empty() {
                above.clear();
            } else {
                let read = AcknowledgedReference::parse(line, &above);
                lines.push(read.map_err(|why| BadBaseline::BadLine { line: number, why })?);
                above.clear();
            }
        }
        lines.sort_by(|one, other| one.text.cmp(&other.text));
        lines.dedup_by(|one, other| one.text == other.text);
        lines.shrink_to_fit();
        Ok(Self { database, lines })
    }

    /// Returns the database that the baseline is of.
    pub(crate) fn database(&self) -> &Identity {
        &self.database
    }

    /// Takes out of a plan what is acknowledged, and returns it. A plan that is then without
    /// findings is nothing to report.
    pub(crate) fn acknowledge(&mut self, plan: &mut RowPlan) -> Vec<Finding> {
        let audit = &mut plan.audit;
        let findings = std::mem::take(&mut audit.findings);
        let (acknowledged, new): (Vec<Finding>, Vec<Finding>) = findings
            .into_iter()
            .partition(|finding| self.has(audit, finding));
        audit.findings = new;
        if acknowledged.is_empty() {
            return acknowledged;
        }
        plan.held.retain(|held| {
            !acknowledged.iter().any(|finding| {
                finding.column == held.column
                    && finding.reference.as_deref() == Some(held.reference.as_str())
            })
        });
        if !plan.audit.is_stale() {
            plan.edits.clear();
            plan.deletion = None;
        }
        acknowledged
    }

    /// Tells whether a line names this finding, and remembers that it was found.
    fn has(&mut self, audit: &Audit, finding: &Finding) -> bool {
        let Some(text) = line_of(audit, finding) else {
            return false;
        };
        let at = self.lines.binary_search_by(|line| (*line.text).cmp(&text));
        let line = at.ok().and_then(|at| self.lines.get_mut(at));
        line.is_some_and(|line| {
            line.is_found = true;
            true
        })
    }

    /// Counts the lines that the run looked for and did not find.
    pub(crate) fn gone(&self, scope: &BaselineScope) -> usize {
        let found_rows = self.found_rows(scope);
        let missing = self.lines.iter().filter(|line| !line.is_found);
        missing
            .filter(|line| line.is_looked_at(scope, &found_rows))
            .count()
    }

    /// Lists the rows of which a line was found, where owners were named.
    fn found_rows(&self, scope: &BaselineScope) -> BTreeSet<String> {
        let lines = self.lines.iter();
        let found = lines.filter(|line| scope.names_owners && line.is_found);
        let rows = found.filter_map(|line| words_of(&line.text));
        rows.map(|([_, row, ..], _)| row).collect()
    }
}

impl AcknowledgedReference {
    /// Tells whether a run looked at what the line names. `found_rows` are those of the owners who
    /// were named: who had another row before is not known.
    fn is_looked_at(&self, scope: &BaselineScope, found_rows: &BTreeSet<String>) -> bool {
        let Some(([table, row, column, reference, _], _)) = words_of(&self.text) else {
            return false;
        };
        let any_or = |chosen: &BTreeSet<String>, one| chosen.is_empty() || chosen.contains(one);
        scope.sites.contains(&(table.as_str(), column.as_str()))
            && any_or(&scope.references, &reference)
            && any_or(&scope.rows, &row)
            && (!scope.names_owners || found_rows.contains(&row))
    }

    /// Reads a line; `above` are the comments above it.
    fn parse(line: &str, above: &str) -> Result<Self, &'static str> {
        let shape = "it is not a table, a row, a column, a reference and a verdict";
        let (words, rest) = words_of(line).ok_or(shape)?;
        let beside = match rest.trim_start() {
            "" => None,
            comment if comment.starts_with('#') => Some(comment.into()),
            _ => return Err(shape),
        };
        let [table, row, column, reference, verdict] = &words;
        if !TABLES.iter().any(|known| known.name() == table) {
            return Err("its table is none that this mcp-prune looks at");
        }
        if !KINDS.iter().any(|kind| kind.name() == verdict) {
            return Err("its verdict is none of stale, unverified and dangling-toolset");
        }
        Ok(Self {
            text: text_of([table, row, column, reference, verdict]).into(),
            above: (!above.is_empty()).then(|| above.into()),
            beside,
            is_found: false,
        })
    }
}

/// The lines of a baseline to be written, in memory as long as the scan.
#[derive(Debug, Default)]
pub(crate) struct NewBaseline {
    /// Each line, and the comment at its end.
    lines: Vec<(Box<str>, Box<str>)>,
}

impl NewBaseline {
    /// Adds the findings of a row.
    pub(crate) fn add(&mut self, audit: &Audit) {
        let texts = audit.findings.iter().filter_map(|f| line_of(audit, f));
        let mut texts = texts.peekable();
        if texts.peek().is_none() {
            return;
        }
        let owners = owners_of(audit);
        self.lines
            .extend(texts.map(|text| (text.into(), owners.as_str().into())));
    }

    /// Adds the lines of the baseline that was read, as far as the run did not look at them.
    pub(crate) fn keep_unseen(&mut self, read: &Baseline, scope: &BaselineScope) {
        let found_rows = read.found_rows(scope);
        let missing = read.lines.iter().filter(|line| !line.is_found);
        let unseen = missing.filter(|line| !line.is_looked_at(scope, &found_rows));
        self.lines.extend(unseen.map(|line| {
            let beside = line.beside.clone().unwrap_or_default();
            (line.text.clone(), beside)
        }));
    }

    /// Returns the text of the file, and how many references it has. `narrowed` are the options
    /// that limit what it covers; `read` is the baseline whose comments stay.
    pub(crate) fn text(
        mut self,
        database: &Identity,
        narrowed: Option<&str>,
        read: Option<&Baseline>,
    ) -> Result<(String, usize), serde_json::Error> {
        self.lines.sort_unstable();
        self.lines.dedup_by(|one, other| one.0 == other.0);
        let database = serde_json::to_string(database)?;
        let mut text = format!("{PURPOSE} {FORMAT}\n{DATABASE} {database}\n{INTRODUCTION}");
        if let Some(options) = narrowed {
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "# It was written with {options}, and covers nothing else."
            );
        }
        text.push('\n');
        for (line, beside) in &self.lines {
            let before = read.and_then(|read| {
                let at = read.lines.binary_search_by(|known| known.text.cmp(line));
                read.lines[at.ok()?].above.as_deref()
            });
            text.push_str(before.unwrap_or_default());
            text.push_str(line);
            if !beside.is_empty() {
                text.push_str("  ");
                text.push_str(beside);
            }
            text.push('\n');
        }
        Ok((text, self.lines.len()))
    }
}

/// Returns the line of a finding; `None` if a scan does not exit with 2 for its verdict.
fn line_of(audit: &Audit, finding: &Finding) -> Option<String> {
    let reference = finding.reference.as_deref()?;
    let (table, kind) = (audit.table.name(), finding.kind);
    KINDS
        .contains(&kind)
        .then(|| text_of([table, &audit.row, finding.column, reference, kind.name()]))
}

fn text_of(words: [&str; 5]) -> String {
    words.map(word).join(" ")
}

/// Returns text as a word of a line: as it is if it cannot be mistaken for anything else, otherwise
/// as a string of JSON.
fn word(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@+".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if is_unseen(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String does not fail.
                    let _ = write!(quoted, "\\u{unit:04x}");
                }
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Cow::Owned(quoted)
}

/// Reads the five words of a line, and returns what follows them.
fn words_of(line: &str) -> Option<([String; 5], &str)> {
    let mut words: [String; 5] = Default::default();
    let mut rest = line;
    for read in &mut words {
        rest = rest.trim_start();
        let end = if rest.starts_with('"') {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            *read = values.next()?.ok()?;
            values.byte_offset()
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            rest[..end].clone_into(read);
            if end == 0 || read.contains(['"', '#']) {
                return None;
            }
            end
        };
        rest = &rest[end..];
        if !(rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            return None;
        }
    }
    Some((words, rest))
}

/// Returns a comment with the first owners of a row, in order; empty without any.
fn owners_of(audit: &Audit) -> String {
    let owners: BTreeSet<String> = audit.owners().map(ToString::to_string).collect();
    let named: Vec<String> = owners.iter().take(OWNERS).map(|o| printable(o)).collect();
    match owners.len().saturating_sub(OWNERS) {
        _ if named.is_empty() => String::new(),
        0 => format!("# {}", named.join(", ")),
        more => format!("# {} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::access_context::{AccessContext, RelatedGrants};
    use crate::litellm::owners::OwnerKind;
    use crate::litellm::reference_sites::PERMISSIONS;
    use crate::litellm::row::Row;
    use crate::litellm::test_support::{BEHAVIOR, GONE, Standing, catalog, owner, row};
    use crate::repair::policy::Policy;
    use proptest::prelude::*;

    fn identity() -> Identity {
        Identity {
            host: "db".to_owned(),
            port: 5432,
            name: "litellm".to_owned(),
            schema: "public".to_owned(),
        }
    }

    /// Plans a row that names a live server and two deleted ones.
    fn plan() -> RowPlan {
        let context = AccessContext {
            behavior: BEHAVIOR,
            catalog: &catalog(),
            related: &RelatedGrants::default(),
            all_cleared: false,
        };
        let row = Row {
            key: "perm 1".to_owned(),
            owners: vec![owner(OwnerKind::Team, Standing::InTeam)],
            ..row(&format!(r#"["id-1","{GONE}","a name"]"#), "null")
        };
        RowPlan::of(&PERMISSIONS, &row, context, Policy::default().into())
    }

    fn scope() -> BaselineScope {
        let sites = PERMISSIONS.sites.iter();
        BaselineScope {
            sites: sites.map(|site| (PERMISSIONS.table, site.name)).collect(),
            ..BaselineScope::default()
        }
    }

    fn written(plan: &RowPlan) -> String {
        let mut new = NewBaseline::default();
        new.add(&plan.audit);
        new.text(&identity(), None, None).unwrap().0
    }

    #[test]
    fn what_was_written_is_acknowledged_and_nothing_else() {
        let mut plan = plan();
        let text = written(&plan);
        let lines: Vec<&str> = text.lines().skip(6).collect();
        let owner = plan.audit.owners().next().unwrap().to_string();
        assert_eq!(
            lines,
            [
                format!(
                    "LiteLLM_ObjectPermissionTable \"perm 1\" mcp_servers \"a name\" stale  \
                     # {owner}"
                ),
                format!(
                    "LiteLLM_ObjectPermissionTable \"perm 1\" mcp_servers {GONE} stale  # {owner}"
                ),
            ]
        );
        let mut baseline = Baseline::parse(&text).unwrap();
        assert_eq!(baseline.database(), &identity());
        assert_eq!(baseline.gone(&scope()), 2);
        let acknowledged = baseline.acknowledge(&mut plan);
        assert_eq!(acknowledged.len(), 2);
        assert!(plan.audit.findings.is_empty() && plan.held.is_empty());
        assert!(!plan.changes_something());
        assert_eq!(baseline.gone(&scope()), 0);
    }

    #[test]
    fn another_verdict_is_new_and_the_old_one_is_gone() {
        let mut plan = plan();
        let text = written(&plan).replacen(" stale", " unverified", 1);
        let mut baseline = Baseline::parse(&text).unwrap();
        assert_eq!(baseline.acknowledge(&mut plan).len(), 1);
        let new = &plan.audit.findings[0];
        assert_eq!(new.reference.as_deref(), Some("a name"));
        assert_eq!(baseline.gone(&scope()), 1);
    }

    #[test]
    fn what_was_not_looked_at_is_not_gone_and_is_kept() {
        let read = Baseline::parse(&written(&plan())).unwrap();
        let set = |text: &str| BTreeSet::from([text.to_owned()]);
        let narrowed = [
            BaselineScope::default(),
            BaselineScope {
                references: set("other"),
                ..scope()
            },
            BaselineScope {
                rows: set("other"),
                ..scope()
            },
            BaselineScope {
                names_owners: true,
                ..scope()
            },
        ];
        for scope in narrowed {
            assert_eq!(read.gone(&scope), 0, "{scope:?}");
            let mut new = NewBaseline::default();
            new.keep_unseen(&read, &scope);
            let (text, _) = new.text(&identity(), None, Some(&read)).unwrap();
            assert_eq!(text, written(&plan()), "{scope:?}");
        }
        let named = BaselineScope {
            references: set(GONE),
            rows: set("perm 1"),
            ..scope()
        };
        assert_eq!(read.gone(&named), 1);
    }

    #[test]
    fn comments_above_a_line_stay_with_it() {
        let text = written(&plan());
        let line = format!("LiteLLM_ObjectPermissionTable \"perm 1\" mcp_servers {GONE}");
        let commented = text.replace(&line, &format!("# accepted by Ann\n# see OPS-1\n{line}"));
        assert_ne!(commented, text);
        let read = Baseline::parse(&commented).unwrap();
        let mut new = NewBaseline::default();
        new.add(&plan().audit);
        let (text, _) = new.text(&identity(), None, Some(&read)).unwrap();
        assert_eq!(text, commented);
    }

    #[test]
    fn what_is_no_baseline_is_refused() {
        for foreign in [
            "",
            "{\"version\": 1}",
            "general_settings:\n  a: b\n",
            "# only comments\n",
            "mcp-prune-baselines 1",
        ] {
            let refused = Baseline::parse(foreign).unwrap_err();
            assert_eq!(refused, BadBaseline::Foreign, "{foreign}");
        }
        let text = written(&plan());
        let newer = text.replace("baseline 1", "baseline 2");
        let refused = Baseline::parse(&newer).unwrap_err();
        assert_eq!(refused, BadBaseline::OtherFormat("2".to_owned()));
        for (old, new, line) in [
            ("database", "db", 2),
            ("database", "# a note\n\ndb", 4),
            ("LiteLLM_Object", "LiteLLM_Objects", 7),
            (" stale", " stall", 7),
            (" stale", " stale 1", 7),
            (" stale", "", 7),
            ("\"perm 1\"", "perm 1", 7),
            ("\"perm 1\"", "\"perm 1\"x", 7),
        ] {
            let refused = Baseline::parse(&text.replace(old, new)).unwrap_err();
            let BadBaseline::BadLine { line: told, .. } = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(told, line, "{new}");
        }
    }

    #[test]
    fn lines_may_be_edited_by_hand() {
        let text = written(&plan());
        let mut lines: Vec<&str> = text.lines().collect();
        lines[6..].reverse();
        let edited = lines.join("\r\n").replace("  #", "    #") + "\r\n\r\n# the end";
        let edited = edited.replace("mcp_servers", "\t\"mcp_servers\"");
        let mut baseline = Baseline::parse(&edited).unwrap();
        assert_eq!(baseline.acknowledge(&mut plan()).len(), 2);
    }

    proptest! {
        #[test]
        fn every_line_is_one_line_and_is_read_as_it_was_meant(
            row in any::<String>(),
            reference in any::<String>(),
        ) {
            let words = [PERMISSIONS.table, &row, "mcp_servers", &reference, "stale"];
            let text = text_of(words);
            prop_assert_eq!(text.lines().count(), 1);
            prop_assert!(!text.chars().any(is_unseen));
            let (read, rest) = words_of(&text).unwrap();
            prop_assert_eq!(read, words.map(str::to_owned));
            prop_assert_eq!(rest, "");
        }
    }
}
