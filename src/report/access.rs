//! The report of `access`: one entry a caller, written as they come.

use std::io::{self, BufWriter, Write};

use serde::{Deserialize, Serialize};

use crate::database::Database;
use crate::litellm::access::registry::ServerIds;
use crate::litellm::ids::{
    AgentId, EndUserId, OrganizationId, ServerId, TeamId, ToolsetId, UserId,
};
use crate::printable::one_line;
use crate::report::access_what_if::{self, ShownWhatIf};
use crate::report::csv::Writer;
use crate::report::json::{self, DatabaseV1};
use crate::report::json_text;
use crate::report::list_format::ListFormat;
use crate::report::text_table::{DisplayOptions, Grid, GridCell, Tone};

/// What the report is of.
#[derive(Debug, Clone)]
pub(crate) struct AccessHead {
    /// The name of the run.
    pub run: String,
    /// The database.
    pub database: Database,
    /// The release whose rules were applied.
    pub release: String,
    /// The ids of the servers asked about; empty stands for all.
    pub wanted: ServerIds,
}

/// A key, as reports show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShownKey {
    /// The first characters of its hash.
    pub id: String,
    /// Its alias.
    pub name: Option<String>,
}

/// The human whom an agent names behind its call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShownHuman {
    /// The user.
    pub user: Option<UserId>,
    /// The team.
    pub team: Option<TeamId>,
}

/// A server that a caller may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShownServer {
    /// Its id.
    pub id: ServerId,
    /// What people call it.
    pub name: Option<String>,
    /// Its tools that the caller may use; null for all.
    pub tools: Option<Vec<String>>,
}

/// Why a caller may use no server.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ShownDenial {
    /// The level that denied it.
    pub level: &'static str,
    /// A sentence.
    pub reason: String,
}

/// One level of the check.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ShownStep {
    /// The level.
    pub level: &'static str,
    /// The team, organization, user, agent or end user.
    pub id: Option<String>,
    /// `none`, `grants`, `limits`, `becomes`, `not-inherited` or `denies`.
    pub effect: &'static str,
    /// What the level names, each with its verdict.
    pub names: Vec<ShownReference>,
    /// The servers left after it.
    pub left: ServerIds,
}

/// A reference, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ShownReference {
    /// The reference, expanded to an id where a server answers to it.
    pub reference: String,
    /// Its verdict, as in the report of `scan`; `live` for a server that is served.
    pub verdict: &'static str,
    /// The alias or name of the server.
    pub name: Option<String>,
}

/// How a caller comes, in the order in which callers are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Via {
    /// With a key.
    Key,
    /// In a session at the gateway.
    Session,
    /// As one of a team, without a key.
    Keyless,
}

impl Via {
    /// Returns its name in reports.
    fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Session => "session",
            Self::Keyless => "keyless",
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShownCaller {
    /// How it comes.
    pub via: Via,
    /// The key.
    pub key: Option<ShownKey>,
    /// The team.
    pub team: Option<TeamId>,
    /// The organization.
    pub organization: Option<OrganizationId>,
    /// The user.
    pub user: Option<UserId>,
    /// The agent.
    pub agent: Option<AgentId>,
    /// The end user on whose behalf it asks.
    pub end_user: Option<EndUserId>,
    /// The toolset on whose route it asks.
    pub toolset: Option<ToolsetId>,
    /// The human behind the call of an agent.
    pub on_behalf_of: Option<ShownHuman>,
}

/// A caller, and what it may use.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CallerAccess {
    /// Who asks.
    #[serde(flatten)]
    pub who: ShownCaller,
    /// The servers that it may use.
    pub servers: Vec<ShownServer>,
    /// Whether nothing that is not known may add servers or take some away.
    pub complete: bool,
    /// Why there is none, where there is none.
    pub denied_by: Option<ShownDenial>,
    /// How it came about; only where one owner or server was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<ShownStep>>,
    /// What would change for it; only where an owner was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_change: Option<ShownWhatIf>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Header(AccessHeaderV1<'a>),
    Caller(&'a CallerAccess),
    Summary { callers: usize },
}

#[derive(Serialize)]
struct AccessHeaderV1<'a> {
    version: u32,
    command: &'static str,
    run: &'a str,
    database: DatabaseV1<'a>,
    release: &'a str,
}

const COLUMNS: [&str; 13] = [
    "via",
    "key",
    "key_name",
    "team",
    "organization",
    "user",
    "agent",
    "end_user",
    "toolset",
    "server",
    "server_name",
    "tools",
    "denied_by",
];

/// Writes the entries that `next` yields until it yields no more.
///
/// `next` says `Err` where the command failed on the way; the report then ends there.
///
/// # Errors
///
/// What `out` says, and where the command failed on the way: no part of a report stands for the
/// whole, but of lines each stands for itself.
pub(crate) fn write(
    head: &AccessHead,
    format: ListFormat,
    next: impl FnMut() -> Option<Result<CallerAccess, ()>>,
    mut out: &mut dyn Write,
) -> io::Result<()> {
    let mut entries = std::iter::from_fn(next);
    let cut = || io::Error::other("the command failed before the report was whole");
    match format {
        ListFormat::Table(look) => {
            let entries = entries.map(|entry| entry.map_err(|()| cut()));
            write_table(entries, head, look, out)
        }
        ListFormat::Markdown => {
            writeln!(
                out,
                "# MCP access\n\n{} (LiteLLM {})\n",
                head.database, head.release
            )?;
            writeln!(out, "| caller | servers | denied by |\n| --- | --- | --- |")?;
            for entry in entries {
                let entry = entry.map_err(|()| cut())?;
                let cells = [
                    entry.who.shown(),
                    entry.servers_shown(),
                    entry.denial_shown(),
                ];
                let cells = cells.map(|cell| one_line(&cell).replace('|', "\\|"));
                writeln!(out, "| {} |", cells.join(" | "))?;
            }
            Ok(())
        }
        ListFormat::Json => {
            let text = |value: &str| serde_json::to_string(value).map_err(io::Error::from);
            let database = json::database(&head.database);
            let database = serde_json::to_string(&database).map_err(io::Error::from)?;
            writeln!(
                out,
                "{{\n\"version\": 1,\n\"command\": \"access\",\n\"run\": {},\n\"database\": {database},\n\
                 \"release\": {},\n\"callers\": [",
                text(&head.run)?,
                text(&head.release)?
            )?;
            let mut separator: &[u8] = b"";
            for entry in entries {
                out.write_all(separator)?;
                json_text::write_compact(&entry.map_err(|()| cut())?, &mut out)?;
                separator = b",\n";
            }
            writeln!(out, "\n]}}")
        }
        ListFormat::Ndjson => {
            let header = AccessHeaderV1 {
                version: 1,
                command: "access",
                run: &head.run,
                database: json::database(&head.database),
                release: &head.release,
            };
            json_text::write_line(&Line::Header(header), out)?;
            let mut callers = 0;
            for entry in entries.by_ref() {
                // The error is the last line then.
                let Ok(entry) = entry else { return Ok(()) };
                json_text::write_line(&Line::Caller(&entry), out)?;
                callers += 1;
            }
            json_text::write_line(&Line::Summary { callers }, out)
        }
        ListFormat::Csv(cells) => {
            let mut csv = Writer::new(BufWriter::new(out), cells);
            csv.write_record(COLUMNS)?;
            for entry in entries {
                records(&entry.map_err(|()| cut())?, &mut csv)?;
            }
            csv.flush()
        }
    }
}

fn records(entry: &CallerAccess, csv: &mut Writer<impl Write>) -> io::Result<()> {
    let who = entry.who.cells();
    let denied = entry.denial_shown();
    let mut record = |server: &str, server_name: &str, tools: &str| {
        let of_server = [server, server_name, tools, &denied];
        csv.write_record(who.into_iter().chain(of_server))
    };
    if entry.servers.is_empty() {
        return record("", "", "");
    }
    for server in &entry.servers {
        let tools = match &server.tools {
            None => "*".to_owned(),
            Some(tools) => tools.join(" "),
        };
        record(
            server.id.as_str(),
            server.name.as_deref().unwrap_or_default(),
            &tools,
        )?;
    }
    Ok(())
}

/// Writes a line for each caller or, where an owner is asked about, how each answer came about. It
/// keeps the lines that it shows, and counts the others.
fn write_table(
    entries: impl Iterator<Item = io::Result<CallerAccess>>,
    head: &AccessHead,
    look: DisplayOptions,
    mut out: &mut dyn Write,
) -> io::Result<()> {
    let mut through = Grid::of_ids(["CALLER", "TOOLS", "THROUGH"], look);
    let mut briefly = Grid::of_ids(["CALLER", "SERVERS", "DENIED BY"], look);
    let mut traced = Vec::new();
    let (mut all, mut incomplete) = (0_usize, 0_usize);
    for entry in entries {
        let entry = entry?;
        all += 1;
        incomplete += usize::from(!entry.complete);
        if !head.wanted.is_empty() {
            through.add(|| {
                [
                    one_line(&entry.who.shown()).into_owned().into(),
                    one_line(&entry.tools_of(&head.wanted)).into_owned().into(),
                    entry.through(&head.wanted).into(),
                ]
            });
        } else if entry.steps.is_some() {
            traced.push(entry);
        } else {
            let tone = if entry.servers.is_empty() {
                Tone::Unsure
            } else {
                Tone::Plain
            };
            briefly.add(|| {
                [
                    one_line(&entry.who.shown()).into_owned().into(),
                    GridCell::toned(one_line(&entry.servers_shown()), tone),
                    one_line(&entry.denial_shown()).into_owned().into(),
                ]
            });
        }
    }
    if all == 0 {
        writeln!(out, "Nobody.")?;
    } else if !head.wanted.is_empty() {
        through.write(&mut out)?;
    } else if traced.is_empty() {
        briefly.write(&mut out)?;
    } else {
        for (number, entry) in traced.iter().enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            write_trace(entry, look, out)?;
        }
    }
    let release = format!("By the rules of LiteLLM {}.", head.release);
    writeln!(out, "\n{}", look.prose(&release))?;
    if incomplete > 0 {
        let note = "Name the proxy's config with --litellm-config: servers and settings that it may \
                    hold are not known, and may change this answer.";
        writeln!(out, "{}", look.prose(note))?;
    }
    Ok(())
}

/// Writes what each level does, one after the other, and what is left in the end.
fn write_trace(entry: &CallerAccess, look: DisplayOptions, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", look.heading(&one_line(&entry.who.shown())))?;
    for (number, step) in entry.steps.iter().flatten().enumerate() {
        let number = number + 1;
        let id = step.id.as_deref().map(|id| format!(" {}", one_line(id)));
        let level = format!("{}{}", level_name(step.level), id.unwrap_or_default());
        writeln!(out, "{number:>3}. {level}: {}", step.effect_shown())?;
        for name in &step.names {
            let known = match (&name.name, name.verdict) {
                (Some(known), "live") => format!("  {}", one_line(known)),
                (_, "live") => String::new(),
                (_, verdict) => format!("  ({verdict})"),
            };
            writeln!(out, "       {}{known}", one_line(&name.reference))?;
        }
        if step.effect != "none" {
            let left = match step.left.len() {
                0 => "no server".to_owned(),
                1 => "1 reference".to_owned(),
                count => format!("{count} references"),
            };
            writeln!(out, "     leaves {left}")?;
        }
    }
    if entry.servers.is_empty() {
        writeln!(out, "  => no server; {}", one_line(&entry.denial_shown()))?;
    } else {
        writeln!(out, "  => may use:")?;
    }
    for server in &entry.servers {
        let name = server.name.as_deref().unwrap_or("(no name)");
        writeln!(
            out,
            "       {}  {}",
            one_line(server.id.as_str()),
            one_line(name)
        )?;
        writeln!(out, "         {}", one_line(&tools_shown(server)))?;
    }
    match &entry.would_change {
        Some(what_if) => access_what_if::write(what_if, look, out),
        None => Ok(()),
    }
}

/// Names a level for people.
fn level_name(level: &str) -> &'static str {
    match level {
        "own" => "its own permission row",
        "team" => "team",
        "access-groups" => "its unified access groups",
        "end_user" => "end user",
        "agent" => "agent",
        "human" => "the caller behind the agent",
        "user" => "user",
        "organization" => "organization",
        "open-servers" => "servers open to every key, and those that its user submitted",
        "administrator" => "the role of an administrator, user",
        _ => "the route of the toolset",
    }
}

fn tools_shown(server: &ShownServer) -> String {
    match &server.tools {
        None => "all tools".to_owned(),
        Some(tools) if tools.is_empty() => "no tool".to_owned(),
        Some(tools) => format!("tools: {}", tools.join(", ")),
    }
}

impl ShownStep {
    fn effect_shown(&self) -> &'static str {
        match self.effect {
            "none" => "names no server, so it sets no limit",
            "grants" => "grants",
            "limits" => "leaves only",
            "becomes" => "nothing below it limits, so its own list is granted",
            "not-inherited" => {
                "grants, but a key has to declare its access (require_key_mcp_access_defined)"
            }
            _ => "denies everything",
        }
    }
}

impl ShownCaller {
    /// Returns the cells that tell who asks, in the order of the first columns as CSV.
    pub(crate) fn cells(&self) -> [&str; 9] {
        let key = self.key.as_ref();
        let name = key.and_then(|key| key.name.as_deref());
        [
            Some(self.via.name()),
            key.map(|key| key.id.as_str()),
            name,
            self.team.as_ref().map(TeamId::as_str),
            self.organization.as_ref().map(OrganizationId::as_str),
            self.user.as_ref().map(UserId::as_str),
            self.agent.as_ref().map(AgentId::as_str),
            self.end_user.as_ref().map(EndUserId::as_str),
            self.toolset.as_ref().map(ToolsetId::as_str),
        ]
        .map(Option::unwrap_or_default)
    }

    /// Names the caller for people.
    pub(crate) fn shown(&self) -> String {
        let mut shown = match (&self.key, self.via) {
            (Some(key), _) => match &key.name {
                Some(name) => format!("key {name} ({})", key.id),
                None => format!("key {}", key.id),
            },
            (None, Via::Session) => {
                let user = self.user.as_ref().map_or("?", UserId::as_str);
                format!("session of {user}")
            }
            (None, _) => "caller without a key".to_owned(),
        };
        let user = self.user.as_ref().filter(|_| self.via != Via::Session);
        let organization = self.organization.as_ref();
        let parts = [
            ("team", self.team.as_ref().map(TeamId::as_str)),
            ("organization", organization.map(OrganizationId::as_str)),
            ("user", user.map(UserId::as_str)),
            ("agent", self.agent.as_ref().map(AgentId::as_str)),
            ("end user", self.end_user.as_ref().map(EndUserId::as_str)),
            ("toolset", self.toolset.as_ref().map(ToolsetId::as_str)),
        ];
        for (kind, id) in parts {
            if let Some(id) = id {
                shown = format!("{shown}, {kind} {id}");
            }
        }
        if let Some(human) = &self.on_behalf_of {
            let parts = [
                ("user", human.user.as_ref().map(UserId::as_str)),
                ("team", human.team.as_ref().map(TeamId::as_str)),
            ];
            for (kind, id) in parts {
                if let Some(id) = id {
                    shown = format!("{shown}, behind it {kind} {id}");
                }
            }
        }
        shown
    }
}

impl CallerAccess {
    fn servers_shown(&self) -> String {
        let servers = self.servers.iter().map(|server| {
            let name = server.name.as_deref().unwrap_or(server.id.as_str());
            match &server.tools {
                None => name.to_owned(),
                Some(tools) if tools.is_empty() => format!("{name} (no tool)"),
                Some(tools) => format!("{name} ({})", tools.join(", ")),
            }
        });
        let servers: Vec<String> = servers.collect();
        if servers.is_empty() {
            "none".to_owned()
        } else {
            servers.join(", ")
        }
    }

    /// Shows the tools that the caller may use of the servers asked about.
    fn tools_of(&self, wanted: &ServerIds) -> String {
        let servers = self.servers.iter().filter(|s| wanted.contains(&s.id));
        let shown = servers.map(|server| {
            let tools = tools_shown(server);
            if wanted.len() == 1 {
                return tools;
            }
            let name = server.name.as_deref().unwrap_or(server.id.as_str());
            format!("{name}: {tools}")
        });
        shown.collect::<Vec<_>>().join("; ")
    }

    /// Names the levels that grant one of the servers asked about.
    fn through(&self, wanted: &ServerIds) -> String {
        let grants = |step: &&ShownStep| {
            matches!(step.effect, "grants" | "becomes")
                && step
                    .names
                    .iter()
                    .any(|name| wanted.contains(name.reference.as_str()))
        };
        let steps = self.steps.iter().flatten().filter(grants);
        let mut levels: Vec<String> = steps
            .map(|step| step.level.replace(['_', '-'], " "))
            .collect();
        levels.dedup();
        levels.join(", ")
    }

    fn denial_shown(&self) -> String {
        let denial = self.denied_by.as_ref();
        denial.map_or_else(String::new, |denial| {
            format!(
                "{}: {}",
                denial.level.replace(['_', '-'], " "),
                denial.reason
            )
        })
    }
}
