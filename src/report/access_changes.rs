//! The report of `access --since`: who gained, who lost, who is new and who is gone.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use serde::Serialize;

use crate::litellm::ids::ServerId;
use crate::printable::one_line;
use crate::report::access::{AccessHead, ShownCaller, ShownDenial};
use crate::report::count;
use crate::report::csv::Writer;
use crate::report::json::{self, DatabaseV1};
use crate::report::json_text;
use crate::report::list_format::ListFormat;
use crate::report::text_table::{DisplayOptions, Grid};

/// A server that is gained or lost, whole or in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ShownServerDifference {
    /// The id of the server.
    pub id: ServerId,
    /// What people call it.
    pub name: Option<String>,
    /// The tools; null for all.
    pub tools: Option<Vec<String>>,
    /// The tools that stay as they were, where all others are gained or lost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

/// What became of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CallerFate {
    /// It was there and is there, and may use other servers or tools.
    Changed,
    /// It was not there.
    New,
    /// It is not there any more.
    Gone,
}

impl CallerFate {
    fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::New => "new",
            Self::Gone => "gone",
        }
    }
}

/// Whether nothing that is not known may change an answer; null where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct CompleteAnswers {
    /// Then.
    pub then: Option<bool>,
    /// Now.
    pub now: Option<bool>,
}

impl CompleteAnswers {
    /// Tells whether one of the answers may be another.
    pub(crate) fn lack_something(self) -> bool {
        self.then == Some(false) || self.now == Some(false)
    }
}

/// A caller who may not use what it could use then.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CallerChange {
    /// Who asks.
    #[serde(flatten)]
    pub who: ShownCaller,
    /// What became of it.
    pub change: CallerFate,
    /// What it may use now and could not then.
    pub gained: Vec<ShownServerDifference>,
    /// What it could use then and may not now.
    pub lost: Vec<ShownServerDifference>,
    /// Whether both answers are complete.
    pub complete: CompleteAnswers,
    /// Why it may use no server now.
    pub denied_by: Option<ShownDenial>,
}

/// How many callers there are of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ChangeCounts {
    /// Callers now.
    pub callers: usize,
    /// Callers then.
    pub callers_then: usize,
    /// Callers whose access is as it was.
    pub unchanged: usize,
    /// Callers who gained something, new ones with servers too.
    pub gained: usize,
    /// Callers who lost something, gone ones with servers too.
    pub lost: usize,
    /// Callers who were not there then.
    pub new: usize,
    /// Callers who are not there now.
    pub gone: usize,
    /// Callers whose answer may be another, then or now.
    pub incomplete: usize,
}

impl ChangeCounts {
    /// Tells whether anybody gained or lost anything.
    pub(crate) fn tell_a_change(self) -> bool {
        self.gained > 0 || self.lost > 0
    }
}

/// What the answers of one side depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ComparedBasis {
    /// The release whose rules were applied.
    pub release: String,
    /// Whether the servers of every `config.yaml` were known.
    pub configs_known: bool,
    /// The settings by name; null for one that was not known.
    pub settings: BTreeMap<String, Option<bool>>,
}

/// The file that access is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ComparedFile {
    /// Its path.
    pub file: String,
    /// The run that saved it.
    pub run: String,
    /// When that was.
    pub time: String,
    /// What its answers depend on.
    #[serde(flatten)]
    pub basis: ComparedBasis,
}

/// What the report is of.
#[derive(Debug, Clone)]
pub(crate) struct ChangesHead {
    /// The run and its database.
    pub head: AccessHead,
    /// What was then.
    pub then: ComparedFile,
    /// What the answers of now depend on.
    pub now: ComparedBasis,
    /// Whether `--litellm-version` named the release of now.
    pub release_is_named: bool,
}

/// The next part of a report.
pub(crate) enum ChangeStep {
    /// A caller who gained or lost something, or is new or gone.
    Changed(Box<CallerChange>),
    /// All were compared.
    End(ChangeCounts),
    /// The command failed on the way.
    Cut,
}

#[derive(Serialize)]
struct ChangesHeader<'a> {
    version: u32,
    command: &'static str,
    run: &'a str,
    database: DatabaseV1<'a>,
    release: &'a str,
    since: &'a ComparedFile,
}

impl<'a> ChangesHeader<'a> {
    fn of(head: &'a ChangesHead) -> Self {
        Self {
            version: 1,
            command: "access",
            run: &head.head.run,
            database: json::database(&head.head.database),
            release: &head.head.release,
            since: &head.then,
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum ChangesLine<'a> {
    Header(ChangesHeader<'a>),
    AccessChange(&'a CallerChange),
    Summary(ChangeCounts),
}

const COLUMNS: [&str; 15] = [
    "via",
    "key",
    "key_name",
    "team",
    "organization",
    "user",
    "agent",
    "end_user",
    "toolset",
    "change",
    "effect",
    "server",
    "server_name",
    "tools",
    "except",
];

/// Writes the changes that `next` yields until it yields no more.
///
/// # Errors
///
/// What `out` says, and where the command failed on the way.
pub(crate) fn write(
    head: &ChangesHead,
    format: ListFormat,
    mut next: impl FnMut() -> ChangeStep,
    mut out: &mut dyn Write,
) -> io::Result<()> {
    let cut = || io::Error::other("the command failed before the report was whole");
    match format {
        ListFormat::Table(look) => write_table(head, look, next, out),
        ListFormat::Markdown => {
            writeln!(out, "# MCP access: who gained and who lost\n")?;
            writeln!(out, "{}\n", one_line(&head.head.database.to_string()))?;
            writeln!(out, "| caller | change | gained | lost |")?;
            writeln!(out, "| --- | --- | --- | --- |")?;
            let counts = loop {
                let change = match next() {
                    ChangeStep::Changed(change) => change,
                    ChangeStep::End(counts) => break counts,
                    ChangeStep::Cut => return Err(cut()),
                };
                let cells = [
                    change.who.shown(),
                    change.change.name().to_owned(),
                    shown(&change.gained, "; "),
                    shown(&change.lost, "; "),
                ];
                let cells = cells.map(|cell| one_line(&cell).replace('|', "\\|"));
                writeln!(out, "| {} |", cells.join(" | "))?;
            };
            for sentence in sentences(head, counts) {
                writeln!(out, "\n{}", one_line(&sentence))?;
            }
            Ok(())
        }
        ListFormat::Json => {
            let header = serde_json::to_value(ChangesHeader::of(head))?;
            writeln!(out, "{{")?;
            for (name, value) in header.as_object().into_iter().flatten() {
                write!(out, "\"{name}\": ")?;
                json_text::write_compact(value, &mut out)?;
                writeln!(out, ",")?;
            }
            writeln!(out, "\"changes\": [")?;
            let mut separator: &[u8] = b"";
            let counts = loop {
                match next() {
                    ChangeStep::Changed(change) => {
                        out.write_all(separator)?;
                        json_text::write_compact(&change, &mut out)?;
                        separator = b",\n";
                    }
                    ChangeStep::End(counts) => break counts,
                    ChangeStep::Cut => return Err(cut()),
                }
            };
            write!(out, "\n],\n\"summary\": ")?;
            json_text::write_compact(&counts, &mut out)?;
            writeln!(out, "\n}}")
        }
        ListFormat::Ndjson => {
            json_text::write_line(&ChangesLine::Header(ChangesHeader::of(head)), out)?;
            loop {
                match next() {
                    ChangeStep::Changed(change) => {
                        json_text::write_line(&ChangesLine::AccessChange(&change), out)?;
                    }
                    ChangeStep::End(counts) => {
                        return json_text::write_line(&ChangesLine::Summary(counts), out);
                    }
                    // The error is the last line then.
                    ChangeStep::Cut => return Ok(()),
                }
            }
        }
        ListFormat::Csv(cells) => {
            let mut csv = Writer::new(BufWriter::new(out), cells);
            csv.write_record(COLUMNS)?;
            loop {
                match next() {
                    ChangeStep::Changed(change) => records(&change, &mut csv)?,
                    ChangeStep::End(_) => return csv.flush(),
                    ChangeStep::Cut => return Err(cut()),
                }
            }
        }
    }
}

/// Writes a line for each server that a caller gained or lost; one where there is none.
fn records(change: &CallerChange, csv: &mut Writer<impl Write>) -> io::Result<()> {
    let who = change.who.cells();
    let mut record = |effect: &str, server: Option<&ShownServerDifference>| {
        let tools = match server.map(|server| &server.tools) {
            None => String::new(),
            Some(None) => "*".to_owned(),
            Some(Some(tools)) => tools.join(" "),
        };
        let except = server.map(|server| server.except.join(" "));
        let of_server = [
            change.change.name(),
            effect,
            server.map_or("", |server| server.id.as_str()),
            server
                .and_then(|server| server.name.as_deref())
                .unwrap_or_default(),
            &tools,
            except.as_deref().unwrap_or_default(),
        ];
        csv.write_record(who.into_iter().chain(of_server))
    };
    if change.gained.is_empty() && change.lost.is_empty() {
        return record("", None);
    }
    for (effect, servers) in [("gained", &change.gained), ("lost", &change.lost)] {
        for server in servers {
            record(effect, Some(server))?;
        }
    }
    Ok(())
}

/// Writes a table of who gained and lost what; not more rows are kept than are shown.
fn write_table(
    head: &ChangesHead,
    look: DisplayOptions,
    mut next: impl FnMut() -> ChangeStep,
    mut out: &mut dyn Write,
) -> io::Result<()> {
    let mut rows = Grid::of_ids(["CALLER", "CHANGE", "GAINED", "LOST"], look);
    let mut is_any = false;
    let counts = loop {
        let change = match next() {
            ChangeStep::Changed(change) => change,
            ChangeStep::End(counts) => break counts,
            ChangeStep::Cut => {
                return Err(io::Error::other(
                    "the command failed before the report was whole",
                ));
            }
        };
        is_any = true;
        if rows.room() == 0 {
            rows.leave_out(1);
            continue;
        }
        let lines = |servers: &[ShownServerDifference]| shown(servers, "\n");
        rows.row([
            one_line(&change.who.shown()).into_owned().into(),
            change.change.name().into(),
            lines(&change.gained).into(),
            lines(&change.lost).into(),
        ]);
    };
    if is_any {
        rows.write(&mut out)?;
    } else {
        writeln!(out, "Nobody gained or lost a server or a tool.")?;
    }
    for sentence in sentences(head, counts) {
        writeln!(out, "\n{}", look.prose(&sentence))?;
    }
    Ok(())
}

/// Shows what was gained or lost: "github (search), jira".
pub(crate) fn shown(servers: &[ShownServerDifference], separator: &str) -> String {
    let shown = servers.iter().map(|server| {
        let name = server.name.as_deref().unwrap_or(server.id.as_str());
        let name = one_line(name);
        match &server.tools {
            None if server.except.is_empty() => name.into_owned(),
            None => {
                let except = server.except.join(", ");
                format!("{name} (all tools but {})", one_line(&except))
            }
            Some(tools) if tools.is_empty() => format!("{name} (no tool)"),
            Some(tools) => format!("{name} ({})", one_line(&tools.join(", "))),
        }
    });
    shown.collect::<Vec<String>>().join(separator)
}

/// Tells in words what was compared with what, and what is not known.
fn sentences(head: &ChangesHead, counts: ChangeCounts) -> Vec<String> {
    let ChangeCounts {
        callers,
        callers_then,
        unchanged,
        gained,
        lost,
        new,
        gone,
        incomplete,
    } = counts;
    let ComparedFile {
        file,
        run,
        time,
        basis,
        ..
    } = &head.then;
    let compared = format!(
        "Compared with {file}, saved at {time} by run {run}: {} then, {callers} now. Of these, \
         {gained} gained, {lost} lost, {new} are new, {gone} are gone, {unchanged} have what they \
         had.",
        count(callers_then, "caller")
    );
    let (then, now) = (&basis.release, &head.now.release);
    let named = if head.release_is_named {
        " (--litellm-version)"
    } else {
        ""
    };
    let rules = if then == now {
        format!("By the rules of LiteLLM {now}{named}, then and now.")
    } else {
        format!("By the rules of LiteLLM {then} then, and of {now}{named} now.")
    };
    let mut sentences = vec![compared, rules];
    let state = |value: Option<&Option<bool>>| match value {
        Some(Some(true)) => "on",
        Some(Some(false)) => "off",
        Some(None) | None => "not known",
    };
    for (setting, now) in &head.now.settings {
        let (then, now) = (state(basis.settings.get(setting)), state(Some(now)));
        if then != now {
            sentences.push(format!(
                "The setting {setting} was {then} then and is {now} now."
            ));
        }
    }
    if incomplete > 0 {
        let side = match (basis.configs_known, head.now.configs_known) {
            (true, false) => "now",
            (false, true) => "then",
            (true, true) | (false, false) => "then or now",
        };
        sentences.push(format!(
            "Not certain for {}: servers and settings of a config.yaml that was not named {side} \
             may change the answer. Name the proxy's config with --litellm-config both when you \
             save and when you compare.",
            count(incomplete, "caller")
        ));
    }
    sentences
}
