//! Reads and writes changesets: what a repair changes, row by row, as lines of JSON. Journals and
//! saved plans have this format.
//!
//! The first line says what the file is. Then comes one line for each row, then a line with their
//! number. A journal whose repair was committed ends in a line that says so. Each line carries a
//! checksum over itself and all lines before it, so that a file that was cut short or edited is
//! refused, with the line. Only the line about the commit may be cut short: no change comes after
//! it.
//! `fixtures/schema/changeset.json` describes the lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use crate::litellm::config::entry::hex;
use crate::litellm::credentials::{ServerRows, WholeRow};
use crate::litellm::deleted_servers::DeletedServers;
use crate::litellm::owners::Owner;
use crate::litellm::packing::{packed_site, packed_table};
use crate::litellm::reference_sites::{
    self, Choice as SiteChoice, CredentialTable, Group, ScannedTable, Site, SiteTable,
};
use crate::litellm::server::NO_SERVERS;
use crate::litellm::server_catalog::IdHistory;
use crate::litellm::value::{Tool, Value};
use crate::printable::one_line;
use crate::repair::credentials_change::CredentialsChange;
use crate::repair::plan::Edit;
use crate::repair::policy::{OnEmpty, Policy};
use crate::repair::recorded_owner::RecordedOwner;

/// The version of the format.
const FORMAT: u32 = 1;

/// What a repair, or the undo of one, changes: the columns of a row that names servers, or the
/// credentials of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// The columns of a row.
    Row(RowChange),
    /// Whole rows of credentials.
    Credentials(CredentialsChange),
}

impl Change {
    /// Returns the table.
    #[must_use]
    pub(crate) fn table(&self) -> ScannedTable {
        match self {
            Self::Row(change) => ScannedTable::References(change.table),
            Self::Credentials(change) => ScannedTable::Credentials(change.table()),
        }
    }

    /// Returns the row's primary key, or the id of the server whose credentials change.
    #[must_use]
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Row(change) => &change.key,
            Self::Credentials(change) => change.server(),
        }
    }

    /// Returns how many rows of the database it writes.
    #[must_use]
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Row(_) => 1,
            Self::Credentials(change) => change.size(),
        }
    }

    /// Lists what each column holds before and after, as reports show it. Of credentials that is
    /// the number of rows.
    #[must_use]
    pub(crate) fn contents(&self) -> Vec<ContentChange> {
        match self {
            Self::Row(change) => change.columns.iter().map(ContentChange::from).collect(),
            Self::Credentials(change) => vec![ContentChange {
                column: change.table().server,
                before: ColumnContent::Rows(change.before()),
                after: ColumnContent::Rows(change.after()),
            }],
        }
    }
}

/// What a column holds, as reports show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ColumnContent {
    /// References.
    References(Value),
    /// Whole rows of credentials: their number.
    Rows(ServerRows),
}

/// What one column holds before and after a change, as reports show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContentChange {
    /// The column's name.
    pub column: &'static str,
    /// What it holds before.
    pub before: ColumnContent,
    /// What it holds after.
    pub after: ColumnContent,
}

impl From<&ColumnChange> for ContentChange {
    fn from(column: &ColumnChange) -> Self {
        Self {
            column: column.site.name,
            before: ColumnContent::References(column.before.clone()),
            after: ColumnContent::References(column.after.clone()),
        }
    }
}

/// What one row holds before and after a repair, or before and after the undo of one.
///
/// The fields are private so that nothing else can be written: a change is made of the edits of a
/// plan, read from a changeset, or takes another one back. It removes references, renames them or
/// leaves the deny marker in their place, or it undoes exactly that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowChange {
    #[serde(with = "packed_table")]
    table: &'static SiteTable,
    key: String,
    /// At least one, in the order of the table's sites.
    columns: Vec<ColumnChange>,
    /// Those who owned the row when it was changed; empty where that is not known.
    owners: Vec<RecordedOwner>,
}

/// What one column holds before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ColumnChange {
    #[serde(with = "packed_site")]
    site: &'static Site,
    before: Value,
    after: Value,
    /// The references that the repair renamed, each with its new name. A changeset of an older
    /// version does not tell any.
    renamed: BTreeMap<String, String>,
}

impl ColumnChange {
    /// Returns the column.
    #[must_use]
    pub(crate) fn site(&self) -> &'static Site {
        self.site
    }

    /// Returns the value that is replaced.
    #[must_use]
    pub(crate) fn before(&self) -> &Value {
        &self.before
    }

    /// Returns the value that replaces it.
    #[must_use]
    pub(crate) fn after(&self) -> &Value {
        &self.after
    }

    /// Returns the references that the repair renamed, each with its new name. A changeset of an
    /// older version does not tell any.
    #[must_use]
    pub(crate) fn renamed(&self) -> &BTreeMap<String, String> {
        &self.renamed
    }

    /// Builds the change that replaces `before` with `after`, as a part of what this one did or
    /// took back.
    #[must_use]
    pub(crate) fn with_values(&self, before: Value, after: Value) -> Self {
        Self {
            site: self.site,
            before,
            after,
            renamed: self.renamed.clone(),
        }
    }

    /// Builds the change that takes this one back.
    fn inverse(&self) -> Self {
        self.with_values(self.after.clone(), self.before.clone())
    }
}

impl From<&Edit> for ColumnChange {
    fn from(edit: &Edit) -> Self {
        Self {
            site: edit.site(),
            before: edit.before().clone(),
            after: edit.after(),
            renamed: edit.remapped().clone(),
        }
    }
}

impl RowChange {
    /// Builds the change that carries out `edits` of one row; `None` where there are none.
    #[must_use]
    pub(crate) fn of_edits(table: &'static SiteTable, key: &str, edits: &[Edit]) -> Option<Self> {
        (!edits.is_empty()).then(|| Self {
            table,
            key: key.to_owned(),
            columns: edits.iter().map(ColumnChange::from).collect(),
            owners: Vec::new(),
        })
    }

    /// Records who owns the row.
    #[must_use]
    pub(crate) fn with_owners<'o>(self, owners: impl Iterator<Item = &'o Owner>) -> Self {
        Self {
            owners: owners.map(RecordedOwner::from).collect(),
            ..self
        }
    }

    /// Returns the same without a record of the owners.
    #[must_use]
    pub(crate) fn without_owners(&self) -> Self {
        Self {
            owners: Vec::new(),
            ..self.clone()
        }
    }

    /// Returns the row's table.
    #[must_use]
    pub(crate) fn table(&self) -> &'static SiteTable {
        self.table
    }

    /// Returns the row's primary key.
    #[must_use]
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Returns the columns that change, in the order of the table's sites; at least one.
    #[must_use]
    pub(crate) fn columns(&self) -> &[ColumnChange] {
        &self.columns
    }

    /// Returns those who owned the row when it was changed; none where that is not known.
    #[must_use]
    pub(crate) fn owners(&self) -> &[RecordedOwner] {
        &self.owners
    }

    /// Builds the change of the same row that changes `columns`; `None` where there are none.
    #[must_use]
    pub(crate) fn with_columns(&self, columns: Vec<ColumnChange>) -> Option<Self> {
        (!columns.is_empty()).then(|| Self {
            table: self.table,
            key: self.key.clone(),
            columns,
            owners: self.owners.clone(),
        })
    }

    /// Builds the change that takes this one back.
    #[must_use]
    pub(crate) fn inverse(&self) -> Self {
        Self {
            columns: self.columns.iter().map(ColumnChange::inverse).collect(),
            ..self.clone()
        }
    }
}

/// Tells whether a repair may replace `before` with `after`: it removes references, renames some,
/// or leaves the deny marker alone.
///
/// What stays keeps its order and its tools. A name that is new takes the place of one that went,
/// and brings no tool but those of the ones that went.
pub(crate) fn is_repair(before: &Value, after: &Value) -> bool {
    let old: BTreeSet<&str> = before.references().collect();
    let left: BTreeSet<&str> = after.references().collect();
    let gone = old.difference(&left).count();
    let new = left.difference(&old).count();
    let stays = match (before, after) {
        (Value::Array(_), Value::Array(only)) if *only == [NO_SERVERS] => true,
        (Value::Array(before), Value::Array(after)) => {
            let stayed = before.iter().filter(|r| left.contains(r.as_str()));
            let found = after.iter().filter(|r| old.contains(r.as_str()));
            stayed.eq(found) && after.len() <= before.len()
        }
        (Value::Keys(before), Value::Keys(after)) => {
            let of_gone = before.iter().filter(|(key, _)| !after.contains_key(*key));
            let of_gone: BTreeSet<&String> = of_gone.flat_map(|(_, tools)| tools).collect();
            after.iter().all(|(key, tools)| {
                let own = before.get(key).map(Vec::as_slice).unwrap_or_default();
                let brought = tools.strip_prefix(own);
                brought.is_some_and(|brought| brought.iter().all(|t| of_gone.contains(t)))
            })
        }
        (Value::Tools(before), Value::Tools(after)) => {
            let pair = |tool: &'_ Tool| (tool.server_id.clone(), tool.tool_name.clone());
            let there: BTreeSet<(String, String)> = before.iter().map(pair).collect();
            let is_left = |tool: &&Tool| left.contains(tool.server_id.as_str());
            let of_gone = before.iter().filter(|tool| !is_left(tool));
            let of_gone: BTreeSet<&str> = of_gone.map(|tool| tool.tool_name.as_str()).collect();
            let mut brought = after.iter().filter(|tool| !there.contains(&pair(tool)));
            let found = after.iter().filter(|tool| there.contains(&pair(tool)));
            before.iter().filter(is_left).eq(found)
                && brought.all(|tool| of_gone.contains(tool.tool_name.as_str()))
        }
        (Value::Array(_) | Value::Keys(_) | Value::Tools(_), _) => false,
    };
    stays && new <= gone
}

/// The purpose of a changeset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChangesetPurpose {
    /// It says what `fix --dry-run` would do.
    Plan,
    /// It says what `fix` did, if that was committed.
    Fix,
    /// It says what `undo` did, if that was committed.
    Undo,
}

/// The database that a changeset was made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The host that was connected to.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The database.
    pub name: String,
    /// The schema.
    pub schema: String,
}

impl Identity {
    /// Tells whether `other` may be the same database, as far as the names tell. All names of this
    /// machine count as one.
    #[must_use]
    pub fn may_be(&self, other: &Self) -> bool {
        let is_this_machine = |host: &str| ["localhost", "127.0.0.1", "::1"].contains(&host);
        let [here, there] = [&self.host, &other.host].map(|host| host.to_ascii_lowercase());
        let same_host = here == there || is_this_machine(&here) && is_this_machine(&there);
        same_host
            && self.port == other.port
            && self.name == other.name
            && self.schema == other.schema
    }
}

/// "database "litellm" at db:5432, schema "public"". An embedded server has no port.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            port,
            name,
            schema,
        } = self;
        write!(f, "database \"{}\" at {}", one_line(name), one_line(host))?;
        if *port != 0 {
            write!(f, ":{port}")?;
        }
        write!(f, ", schema \"{}\"", one_line(schema))
    }
}

/// The options that a plan was made with, besides those that the header has fields for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PlannedWith {
    /// The groups of sites that the operator named.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub sites: BTreeSet<String>,
    /// The owners asked about, as `--owner` takes them; never a key itself.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub owners: BTreeSet<String>,
    /// The references asked about.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub references: BTreeSet<String>,
    /// The rows asked about, by primary key.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub rows: BTreeSet<String>,
    /// The config files given with `--litellm-config`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub configs: Vec<ConfigName>,
    /// The config files given with `--previous-litellm-config`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub previous_configs: Vec<ConfigName>,
    /// Whether `--no-config-servers` was given.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_config_servers: bool,
}

/// A config file as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ConfigName {
    /// The file, as the operator named it.
    pub file: String,
    /// The SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
}

impl ConfigName {
    /// Tells whether `files` have the same contents as `others`, wherever they are.
    #[must_use]
    pub(crate) fn are_same(files: &[Self], others: &[Self]) -> bool {
        let contents = |files: &[Self]| -> BTreeSet<String> {
            files.iter().map(|file| file.sha256.clone()).collect()
        };
        contents(files) == contents(others)
    }
}

/// The first line of a changeset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// [`FORMAT`].
    format: u32,
    /// The purpose of the changeset.
    pub purpose: ChangesetPurpose,
    /// The version of the tool that wrote it.
    pub tool: String,
    /// The run that wrote it.
    pub run: String,
    /// The time when it was written, in UTC.
    pub time: String,
    /// The database that it was made for.
    pub database: Identity,
    /// The role that wrote to the database; `None` where an older version wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The run that an undo takes back; `None` in any other changeset, and where an older version
    /// wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<UndoneRun>,
    /// The operator's choice for lists that run empty; `None` in an undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_empty: Option<EmptyChoice>,
    /// Whether the operator said `--delete-rows`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete_rows: bool,
    /// The remaps: the new server for each deleted one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub remaps: BTreeMap<String, String>,
    /// What the operator said about ids that no config yields.
    #[serde(default, skip_serializing_if = "IdHistory::is_empty")]
    pub id_history: IdHistory,
    /// The servers that were taken as deleted, as they were then.
    #[serde(default, skip_serializing_if = "DeletedServers::is_empty")]
    pub if_deleted: DeletedServers,
    /// The digest of the servers that references were resolved against; `None` in an undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub servers: Option<String>,
    /// The options that a plan was made with; `None` in a journal, and in a plan that an older
    /// version wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_with: Option<PlannedWith>,
}

/// The run that an undo takes back, whole or in part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UndoneRun {
    /// The name of the run.
    pub run: String,
    /// The owners whose rows it was limited to, as `--owner` takes them; never a key itself.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub owners: BTreeSet<String>,
    /// The references that it was limited to.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub references: BTreeSet<String>,
    /// The rows that it was limited to, by primary key.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub rows: BTreeSet<String>,
}

impl UndoneRun {
    /// Tells whether the undo was limited to a part of the run.
    #[must_use]
    pub(crate) fn is_partial(&self) -> bool {
        !(self.owners.is_empty() && self.references.is_empty() && self.rows.is_empty())
    }

    /// Writes the options that limited the undo: "--owner team:platform --row 1".
    #[must_use]
    pub(crate) fn part(&self) -> String {
        let options = [
            ("--owner", &self.owners),
            ("--reference", &self.references),
            ("--row", &self.rows),
        ];
        let each = options.iter().flat_map(|(option, values)| {
            values.iter().map(move |value| format!("{option} {value}"))
        });
        each.collect::<Vec<_>>().join(" ")
    }
}

/// The choice of [`OnEmpty`] as a changeset keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EmptyChoice {
    /// Leave them.
    Hold,
    /// Write the deny marker where that changes nobody's access.
    Deny,
    /// Write the deny marker also where that may take access away.
    DenyNarrowing,
    /// Empty them, or write the deny marker, where that changes nobody's access.
    Unchanged,
    /// Empty them.
    Clear,
}

/// Writes the options that make this choice.
impl fmt::Display for EmptyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hold => "--on-empty hold",
            Self::Deny => "--on-empty deny",
            Self::DenyNarrowing => "--on-empty deny --accept-narrowing",
            Self::Unchanged => "--on-empty unchanged",
            Self::Clear => "--on-empty clear --accept-widening",
        })
    }
}

impl From<Policy> for EmptyChoice {
    fn from(policy: Policy) -> Self {
        match policy.on_empty {
            OnEmpty::Hold => Self::Hold,
            OnEmpty::Deny {
                accept_narrowing: false,
            } => Self::Deny,
            OnEmpty::Deny {
                accept_narrowing: true,
            } => Self::DenyNarrowing,
            OnEmpty::Unchanged => Self::Unchanged,
            OnEmpty::Clear => Self::Clear,
        }
    }
}

impl From<EmptyChoice> for Policy {
    fn from(choice: EmptyChoice) -> Self {
        let on_empty = match choice {
            EmptyChoice::Hold => OnEmpty::Hold,
            EmptyChoice::Deny | EmptyChoice::DenyNarrowing => OnEmpty::Deny {
                accept_narrowing: choice == EmptyChoice::DenyNarrowing,
            },
            EmptyChoice::Unchanged => OnEmpty::Unchanged,
            EmptyChoice::Clear => OnEmpty::Clear,
        };
        Self {
            on_empty,
            delete_rows: false,
        }
    }
}

impl Header {
    /// Builds the first line of a changeset that this version writes.
    #[must_use]
    pub(crate) fn new(
        purpose: ChangesetPurpose,
        run: String,
        time: String,
        database: Identity,
    ) -> Self {
        Self {
            format: FORMAT,
            purpose,
            tool: crate::build_info::VERSION.to_owned(),
            run,
            time,
            database,
            user: None,
            undoes: None,
            on_empty: None,
            delete_rows: false,
            id_history: IdHistory::default(),
            if_deleted: DeletedServers::default(),
            remaps: BTreeMap::new(),
            servers: None,
            planned_with: None,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum ChangesetLine {
    Changeset(Box<Header>),
    Row(RowLine),
    End {
        rows: u64,
        #[serde(default, skip_serializing_if = "is_zero")]
        left: u64,
    },
    Committed {
        time: String,
    },
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A change as a line of a changeset.
#[derive(Serialize, Deserialize)]
pub(crate) struct RowLine {
    table: String,
    key: String,
    columns: BTreeMap<String, ColumnLine>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    owners: Vec<RecordedOwner>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rows: Vec<RowText>,
}

/// A whole row as text, so that it stays as PostgreSQL wrote it.
#[derive(Serialize)]
struct RowText(String);

/// Written by hand, because the error of a derived one would show the row.
impl<'de> Deserialize<'de> for RowText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)? {
            Json::String(text) => Ok(Self(text)),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
                Err(D::Error::custom("a row is not the text of its JSON"))
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct ColumnLine {
    before: Json,
    after: Json,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    renamed: BTreeMap<String, String>,
}

impl From<&RowChange> for RowLine {
    fn from(change: &RowChange) -> Self {
        let column = |column: &ColumnChange| {
            let line = ColumnLine {
                before: column.before.to_json(),
                after: column.after.to_json(),
                renamed: column.renamed.clone(),
            };
            (column.site.name.to_owned(), line)
        };
        Self {
            table: change.table.table.to_owned(),
            key: change.key.clone(),
            columns: change.columns.iter().map(column).collect(),
            owners: change.owners.clone(),
            rows: Vec::new(),
        }
    }
}

impl From<&CredentialsChange> for RowLine {
    fn from(change: &CredentialsChange) -> Self {
        let line = ColumnLine {
            before: serde_json::json!(change.before().by_server()),
            after: serde_json::json!(change.after().by_server()),
            renamed: BTreeMap::new(),
        };
        let rows = change.rows().iter();
        Self {
            table: change.table().table.to_owned(),
            key: change.server().to_owned(),
            columns: BTreeMap::from([(change.table().server.to_owned(), line)]),
            owners: Vec::new(),
            rows: rows.map(|row| RowText(row.json().to_owned())).collect(),
        }
    }
}

#[cfg(test)]
impl From<&Change> for RowLine {
    fn from(change: &Change) -> Self {
        match change {
            Change::Row(change) => change.into(),
            Change::Credentials(change) => change.into(),
        }
    }
}

impl RowLine {
    /// Reads the change from a line of a changeset for `purpose`.
    fn change(self, purpose: ChangesetPurpose) -> Result<Change, String> {
        let table = reference_sites::table(&self.table)
            .ok_or_else(|| format!("this mcp-prune does not repair table \"{}\"", self.table))?;
        match table {
            ScannedTable::References(table) => self.row_change(table, purpose).map(Change::Row),
            ScannedTable::Credentials(table) => self
                .credentials_change(table, purpose)
                .map(Change::Credentials),
        }
    }

    fn row_change(
        self,
        table: &'static SiteTable,
        purpose: ChangesetPurpose,
    ) -> Result<RowChange, String> {
        let mut columns = Vec::new();
        for site in table.sites {
            let Some(line) = self.columns.get(site.name) else {
                continue;
            };
            let value = |json: &Json| {
                Value::from_json(site.shape, json.clone())
                    .map_err(|malformed| format!("\"{}\": {malformed}", site.name))
            };
            columns.push(ColumnChange {
                site,
                before: value(&line.before)?,
                after: value(&line.after)?,
                renamed: line.renamed.clone(),
            });
        }
        if columns.len() != self.columns.len() || columns.is_empty() {
            return Err(self.names_an_unknown_column());
        }
        let directions = Directions {
            repairs: columns.iter().all(|c| is_repair(&c.before, &c.after)),
            undoes: columns.iter().all(|c| is_repair(&c.after, &c.before)),
        };
        self.check_purpose(purpose, directions)?;
        self.check_rows(0)?;
        Ok(RowChange {
            table,
            key: self.key,
            columns,
            owners: self.owners,
        })
    }

    fn credentials_change(
        self,
        table: &'static CredentialTable,
        purpose: ChangesetPurpose,
    ) -> Result<CredentialsChange, String> {
        let Some(line) = self
            .columns
            .get(table.server)
            .filter(|_| self.columns.len() == 1)
        else {
            return Err(self.names_an_unknown_column());
        };
        let number = |json: &Json| -> Result<BTreeMap<String, u64>, String> {
            let numbers: Option<_> = serde_json::from_value(json.clone())
                .map_err(|_| format!("\"{}\" does not hold the number of rows", table.server))?;
            Ok(numbers.unwrap_or_default())
        };
        let numbers = [number(&line.before)?, number(&line.after)?];
        let of_this_server = numbers.iter().all(|n| n.keys().all(|s| *s == self.key));
        let [before, after] = numbers.map(|n| n.get(&self.key).copied().unwrap_or_default());
        let directions = Directions {
            repairs: of_this_server && after <= before,
            undoes: of_this_server && before <= after,
        };
        self.check_purpose(purpose, directions)?;
        self.check_rows(match purpose {
            ChangesetPurpose::Plan => 0,
            ChangesetPurpose::Fix | ChangesetPurpose::Undo => before.abs_diff(after),
        })?;
        let rows = self.rows.into_iter().map(|row| WholeRow::new(row.0));
        let rows = rows.collect();
        Ok(CredentialsChange::of_line(
            table,
            self.key,
            [before, after],
            rows,
        ))
    }

    fn names_an_unknown_column(&self) -> String {
        format!(
            "this mcp-prune does not repair every column named of \"{}\"",
            self.table
        )
    }

    /// Fails if the change neither repairs nor undoes, as its purpose has it.
    fn check_purpose(
        &self,
        purpose: ChangesetPurpose,
        Directions { repairs, undoes }: Directions,
    ) -> Result<(), String> {
        let is_meant = match purpose {
            ChangesetPurpose::Plan | ChangesetPurpose::Fix => repairs,
            // The undo of an undo repairs again.
            ChangesetPurpose::Undo => repairs || undoes,
        };
        if is_meant {
            return Ok(());
        }
        Err(format!(
            "the change of row {} of \"{}\" does more than remove, rename or mark references, so \
             mcp-prune did not write it",
            one_line(&self.key),
            self.table
        ))
    }

    /// Fails if the line has another number of whole rows.
    fn check_rows(&self, expected: u64) -> Result<(), String> {
        if u64::try_from(self.rows.len()) == Ok(expected) {
            return Ok(());
        }
        Err(format!(
            "it has {} rows of \"{}\" where there should be {expected}",
            self.rows.len(),
            self.table
        ))
    }
}

/// What a change is, read forwards and backwards.
#[derive(Debug, Clone, Copy)]
struct Directions {
    /// It only takes away, renames or marks references.
    repairs: bool,
    /// Taken back, it would do so.
    undoes: bool,
}

/// Writes the lines of a changeset.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    sum: String,
    rows: u64,
    left: u64,
    is_plan: bool,
}

impl Encoder {
    /// Builds the first line.
    #[must_use]
    pub(crate) fn header(&mut self, header: Header) -> String {
        self.is_plan = header.purpose == ChangesetPurpose::Plan;
        self.line(&ChangesetLine::Changeset(Box::new(header)))
    }

    /// Tells whether the changeset is a plan.
    #[must_use]
    pub(crate) fn is_plan(&self) -> bool {
        self.is_plan
    }

    /// Builds the line of a row. In a plan it tells only the number of whole rows.
    #[must_use]
    pub(crate) fn row(&mut self, change: impl Into<RowLine>) -> String {
        self.rows += 1;
        let mut line = change.into();
        if self.is_plan {
            line.rows.clear();
        }
        self.line(&ChangesetLine::Row(line))
    }

    /// Notes how many columns an undo leaves as they are, because they were changed since.
    pub(crate) fn leave(&mut self, columns: u64) {
        self.left = columns;
    }

    /// Builds the line after the last row.
    #[must_use]
    pub(crate) fn end(&mut self) -> String {
        let Self { rows, left, .. } = *self;
        self.line(&ChangesetLine::End { rows, left })
    }

    /// Builds the line that says that the repair was committed.
    #[must_use]
    pub(crate) fn committed(&mut self, time: String) -> String {
        self.line(&ChangesetLine::Committed { time })
    }

    /// Encodes the line with its checksum and the newline.
    fn line(&mut self, line: &ChangesetLine) -> String {
        let body = serde_json::json!(line).to_string();
        self.sum = sum(&self.sum, &body);
        let open = body.strip_suffix('}').unwrap_or(&body);
        format!("{open},{SUM}{}\"}}\n", self.sum)
    }
}

const SUM: &str = "\"sum\":\"";

/// Computes the first 16 hexadecimal digits of the SHA-256 of the checksum before and the line.
fn sum(before: &str, body: &str) -> String {
    let digest = Sha256::new().chain_update(before).chain_update(body);
    hex(&digest.finalize()[..8])
}

/// The fault of a changeset, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The number of the line, from 1.
    pub line: u64,
    /// The fault, in words.
    pub what: String,
}

/// "line 3: ..."
impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// Reads the lines of a changeset.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    line: u64,
    sum: String,
    changes: u64,
    rows: u64,
    header: Option<Header>,
    groups: BTreeSet<Group>,
    left: u64,
    ended: bool,
    committed: bool,
}

impl Decoder {
    /// Returns the first line, once it was read.
    #[must_use]
    pub(crate) fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Returns how many rows of the database the changes write that were read so far.
    #[must_use]
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Reads the next line, without its newline; a row yields its change.
    ///
    /// # Errors
    ///
    /// Fails where the line is damaged or out of place.
    pub(crate) fn line(&mut self, text: &str) -> Result<Option<Change>, Damage> {
        self.line += 1;
        let damage = |what: String| Damage {
            line: self.line,
            what,
        };
        let (open, rest) = text.rsplit_once(&format!(",{SUM}")).ok_or_else(|| {
            damage("this is not a line of a changeset, or it was cut short".into())
        })?;
        let body = format!("{open}}}");
        let expected = sum(&self.sum, &body);
        if rest.strip_suffix("\"}") != Some(expected.as_str()) {
            return Err(damage(
                "this line or one before it was changed or removed after it was written".into(),
            ));
        }
        let line = serde_json::from_str(&body)
            // The checksum fits, so another version wrote it so: serde's details help nobody.
            .map_err(|_| {
                damage("this mcp-prune cannot read the line; another version wrote it".into())
            })?;
        let change = match line {
            ChangesetLine::Changeset(header) if self.line == 1 && header.format == FORMAT => {
                self.header = Some(*header);
                None
            }
            ChangesetLine::Changeset(header) if self.line == 1 => {
                return Err(damage(format!(
                    "the format is version {}, and this mcp-prune reads version {FORMAT}",
                    header.format
                )));
            }
            ChangesetLine::Row(row)
                if let Some(header) = &self.header
                    && !self.ended =>
            {
                self.changes += 1;
                let change = row.change(header.purpose).map_err(damage)?;
                self.rows += u64::try_from(change.size()).unwrap_or(u64::MAX);
                self.groups.insert(change.table().group());
                Some(change)
            }
            ChangesetLine::End { rows, left }
                if self.header.is_some() && !self.ended && rows == self.changes =>
            {
                self.ended = true;
                self.left = left;
                None
            }
            ChangesetLine::Committed { .. } if self.ended && !self.committed => {
                self.committed = true;
                None
            }
            ChangesetLine::Changeset(_)
            | ChangesetLine::Row(_)
            | ChangesetLine::End { .. }
            | ChangesetLine::Committed { .. } => {
                return Err(damage("the line is out of place here".into()));
            }
        };
        self.sum = expected;
        Ok(change)
    }

    /// Reads a last line that has no newline at its end.
    ///
    /// After the closing line of a journal such a line is no damage: the run was stopped while it
    /// wrote that it was committed, so all changes are there. The contents do not say then that it
    /// was committed.
    ///
    /// # Errors
    ///
    /// Fails where any other line is damaged, cut short or out of place.
    pub(crate) fn last_line(&mut self, text: &str) -> Result<Option<Change>, Damage> {
        let header = self.header.as_ref();
        let is_journal = header.is_some_and(|header| header.purpose != ChangesetPurpose::Plan);
        match self.line(text) {
            Err(_) if is_journal && self.ended && !self.committed => Ok(None),
            read => read,
        }
    }

    /// Returns the contents, once there are no more lines.
    ///
    /// # Errors
    ///
    /// Fails where the closing line is missing.
    pub(crate) fn finish(self) -> Result<Contents, Damage> {
        match self.header {
            Some(header) if self.ended => Ok(Contents {
                header,
                rows: self.rows,
                groups: self.groups,
                left: self.left,
                committed: self.committed,
            }),
            Some(_) | None => Err(Damage {
                line: self.line + 1,
                what: "the file ends here, before its closing line: the run that wrote it did not \
                       get to its commit"
                    .to_owned(),
            }),
        }
    }
}

/// The contents of a whole changeset, besides its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The first line.
    pub header: Header,
    /// How many rows of the database the changes write.
    pub rows: u64,
    /// The groups of sites that change.
    pub groups: BTreeSet<Group>,
    /// How many columns an undo left as they were, because they were changed since.
    pub left: u64,
    /// Whether it says that it was committed. The line is written after the commit, so it may be
    /// missing or cut short although the commit was made.
    pub committed: bool,
}

impl Contents {
    /// Returns the sites that the changeset changes.
    #[must_use]
    pub(crate) fn sites(&self) -> SiteChoice {
        SiteChoice {
            groups: self.groups.clone(),
            by_name: true,
            configs_known: false,
        }
    }
}

#[cfg(test)]
impl RowChange {
    /// Builds a change of one column, from the first value to the second.
    pub(crate) fn of_column(
        table: &'static SiteTable,
        key: &str,
        site: &'static Site,
        [before, after]: [Value; 2],
    ) -> Self {
        Self {
            table,
            key: key.to_owned(),
            columns: vec![ColumnChange {
                site,
                before,
                after,
                renamed: BTreeMap::new(),
            }],
            owners: Vec::new(),
        }
    }

    /// Notes the references of its only column that were renamed.
    pub(crate) fn with_renamed(mut self, renamed: &[(&str, &str)]) -> Self {
        let pairs = renamed.iter();
        let owned = pairs.map(|(old, new)| ((*old).to_owned(), (*new).to_owned()));
        self.columns[0].renamed = owned.collect();
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::litellm::reference_sites::{
        MCP_SERVERS, MCP_TOOL_PERMISSIONS, PERMISSIONS, TABLES, USER_CREDENTIALS,
    };
    use crate::litellm::test_support::value;

    fn header() -> Header {
        let database = Identity {
            host: "db".to_owned(),
            port: 5432,
            name: "litellm".to_owned(),
            schema: "public".to_owned(),
        };
        let time = "2026-01-02T03:04:05Z".to_owned();
        Header::new(ChangesetPurpose::Fix, "1a2b3c4d".to_owned(), time, database)
    }

    fn array(references: &[&str]) -> Value {
        Value::Array(references.iter().map(|r| (*r).to_owned()).collect())
    }

    fn change(key: &str, before: Value, after: Value) -> Change {
        let values = [before, after];
        Change::Row(RowChange::of_column(
            &PERMISSIONS,
            key,
            &MCP_SERVERS,
            values,
        ))
    }

    fn written(changes: &[Change]) -> Vec<String> {
        written_for(ChangesetPurpose::Fix, changes)
    }

    fn written_for(purpose: ChangesetPurpose, changes: &[Change]) -> Vec<String> {
        let mut encoder = Encoder::default();
        let header = Header {
            purpose,
            ..header()
        };
        let mut lines = vec![encoder.header(header)];
        lines.extend(changes.iter().map(|change| encoder.row(change)));
        lines.push(encoder.end());
        lines.push(encoder.committed("2026-01-02T03:04:06Z".to_owned()));
        lines
    }

    fn read(lines: &[String]) -> Result<(Vec<Change>, Contents), Damage> {
        let mut decoder = Decoder::default();
        let mut changes = Vec::new();
        for line in lines {
            changes.extend(decoder.line(line.trim_end_matches('\n'))?);
        }
        Ok((changes, decoder.finish()?))
    }

    fn two() -> Vec<Change> {
        vec![
            change("p-1", array(&["a", "gone", "a"]), array(&["a", "a"])),
            change("p-\u{e9}\n\"", array(&["gone"]), array(&[])),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let lines = written(&two());
        assert_eq!(lines.len(), 5);
        assert!(lines.iter().all(|line| line.matches('\n').count() == 1));
        let (changes, contents) = read(&lines).unwrap();
        assert_eq!(changes, two());
        let expected = Contents {
            header: header(),
            rows: 2,
            groups: BTreeSet::from([Group::Permissions]),
            left: 0,
            committed: true,
        };
        assert_eq!(contents, expected);
        assert!(!read(&lines[..4]).unwrap().1.committed);
    }

    #[test]
    fn a_database_is_known_by_its_names() {
        let database = header().database;
        let with = |edit: fn(&mut Identity)| {
            let mut other = database.clone();
            edit(&mut other);
            database.may_be(&other) && other.may_be(&database)
        };
        assert!(with(|_| ()));
        assert!(with(|other| other.host = "DB".to_owned()));
        assert!(!with(|other| other.host = "db2".to_owned()));
        assert!(!with(|other| other.port = 5433));
        assert!(!with(|other| other.name = "Litellm".to_owned()));
        assert!(!with(|other| other.schema = "other".to_owned()));
        let local = |host: &str| Identity {
            host: host.to_owned(),
            ..database.clone()
        };
        assert!(local("localhost").may_be(&local("127.0.0.1")));
        assert!(!local("localhost").may_be(&database));
    }

    #[test]
    fn what_a_plan_was_made_with_is_read_and_may_be_missing() {
        let mut encoder = Encoder::default();
        let planned_with = PlannedWith {
            owners: BTreeSet::from(["key:784395b4".to_owned()]),
            configs: vec![ConfigName {
                file: "config.yaml".to_owned(),
                sha256: "00".to_owned(),
            }],
            no_config_servers: true,
            ..PlannedWith::default()
        };
        let header = Header {
            purpose: ChangesetPurpose::Plan,
            planned_with: Some(planned_with),
            ..header()
        };
        let lines = [encoder.header(header.clone()), encoder.end()];
        assert_eq!(read(&lines).unwrap().1.header, header);
        let older = written_for(ChangesetPurpose::Plan, &two());
        assert!(!older[0].contains("planned_with"));
        assert_eq!(read(&older[..4]).unwrap().1.header.planned_with, None);
    }

    #[test]
    fn a_file_cut_short_is_refused_where_it_ends() {
        let lines = written(&two());
        for end in 0..4 {
            let damage = read(&lines[..end]).unwrap_err();
            assert_eq!(damage.line, u64::try_from(end).unwrap() + 1, "{damage}");
        }
        let mut half = lines[..3].to_vec();
        half[2].truncate(30);
        assert_eq!(read(&half).unwrap_err().line, 3);
    }

    #[test]
    fn a_journal_is_whole_although_its_line_about_the_commit_is_cut_short() {
        let last_line = |lines: &[String], last: &str| {
            let mut decoder = Decoder::default();
            for line in lines {
                decoder.line(line.trim_end_matches('\n'))?;
            }
            decoder.last_line(last)?;
            decoder.finish().map(|contents| contents.committed)
        };
        let lines = written(&two());
        let (line, before) = lines.split_last().unwrap();
        let line = line.trim_end_matches('\n');
        for length in 1..line.len() {
            assert_eq!(last_line(before, &line[..length]), Ok(false), "{length}");
        }
        assert_eq!(last_line(before, line), Ok(true));
        // A file system may have kept the length of the line without its bytes.
        assert_eq!(last_line(before, "\0\0\0"), Ok(false));
        // No other line may be cut short.
        assert_eq!(
            last_line(&before[..3], &before[3][..9]).unwrap_err().line,
            4
        );
        assert_eq!(last_line(&lines, &line[..9]).unwrap_err().line, 6);
        let plan = written_for(ChangesetPurpose::Plan, &two());
        assert_eq!(last_line(&plan[..4], &line[..9]).unwrap_err().line, 5);
    }

    #[test]
    fn an_edited_file_is_refused_at_the_line() {
        let lines = written(&two());
        let mut edited = lines.clone();
        edited[1] = edited[1].replace("\"gone\"", "\"other\"");
        assert_eq!(read(&edited).unwrap_err().line, 2);
        let mut without = lines.clone();
        without.remove(1);
        assert_eq!(read(&without).unwrap_err().line, 2);
        let mut swapped = lines.clone();
        swapped.swap(1, 2);
        assert_eq!(read(&swapped).unwrap_err().line, 2);
        let mut more = lines;
        more.push(more[3].clone());
        assert_eq!(read(&more).unwrap_err().line, 6);
    }

    #[test]
    fn another_format_and_an_unknown_place_are_named() {
        let later = Header {
            format: 2,
            ..header()
        };
        let line = Encoder::default().header(later);
        let damage = read(&[line]).unwrap_err();
        assert!(damage.to_string().contains("version 2"), "{damage}");

        let mut encoder = Encoder::default();
        let mut lines = vec![encoder.header(header())];
        let elsewhere = RowLine {
            table: "LiteLLM_Elsewhere".to_owned(),
            ..RowLine::from(&two()[0])
        };
        lines.push(encoder.line(&ChangesetLine::Row(elsewhere)));
        let damage = read(&lines).unwrap_err();
        assert_eq!(damage.line, 2);
        assert!(damage.what.contains("LiteLLM_Elsewhere"), "{damage}");
    }

    /// Builds the deletion of all rows of a server.
    fn deletion(rows: &[String]) -> CredentialsChange {
        let number = u64::try_from(rows.len()).unwrap();
        let rows = rows.iter().cloned().map(WholeRow::new).collect();
        CredentialsChange::of_line(&USER_CREDENTIALS, "gone".to_owned(), [number, 0], rows)
    }

    /// Leaves out what whole rows hold.
    fn into_report(change: &Change) -> Change {
        match change {
            Change::Row(_) => change.clone(),
            Change::Credentials(change) => Change::Credentials(change.clone().into_report()),
        }
    }

    /// Builds the change that takes `change` back.
    fn inverse(change: &Change) -> Change {
        match change {
            Change::Row(change) => Change::Row(change.inverse()),
            Change::Credentials(change) => Change::Credentials(change.inverse()),
        }
    }

    #[test]
    fn a_plan_tells_the_number_of_rows_and_a_journal_holds_them() {
        let rows = [r#"{"credential_b64": "s3cret"}"#, "{}"];
        let deletion = Change::Credentials(deletion(&rows.map(str::to_owned)));
        let plan = written_for(ChangesetPurpose::Plan, std::slice::from_ref(&deletion));
        assert!(!plan.concat().contains("s3cret"), "{plan:?}");
        let (changes, contents) = read(&plan).unwrap();
        assert_eq!(changes, [into_report(&deletion)]);
        assert_eq!((changes[0].size(), contents.rows), (2, 2));

        let journal = written(std::slice::from_ref(&deletion));
        let (changes, contents) = read(&journal).unwrap();
        assert_eq!(changes, std::slice::from_ref(&deletion));
        assert_eq!(contents.rows, 2);
        let damage = read(&written(&[into_report(&deletion)])).unwrap_err();
        assert!(
            damage.what.contains("0 rows of") && damage.what.contains("should be 2"),
            "{damage}"
        );
    }

    #[test]
    fn what_is_wrong_with_a_row_is_told_without_it() {
        let damage = serde_json::from_str::<RowText>(r#"["s3cret"]"#)
            .err()
            .unwrap();
        assert!(!damage.to_string().contains("s3cret"), "{damage}");
    }

    /// Generates a change of every site of a table, in every shape but whole rows.
    fn changes() -> impl Strategy<Value = RowChange> {
        let tables = TABLES.into_iter().filter_map(|table| match table {
            ScannedTable::References(table) => Some(table),
            ScannedTable::Credentials(_) => None,
        });
        let table = prop::sample::select(tables.collect::<Vec<_>>());
        table.prop_flat_map(|table| {
            let values = |site: &Site| value(site.shape, ".*", ".*");
            let columns: Vec<_> = table
                .sites
                .iter()
                .map(|site| values(site).prop_map(|before| (repaired(&before), before)))
                .collect();
            (".*", columns).prop_map(move |(key, columns)| {
                let columns = table.sites.iter().zip(columns);
                let columns = columns.map(|(site, (after, before))| ColumnChange {
                    site,
                    before,
                    after,
                    renamed: BTreeMap::from([(key.clone(), "new".to_owned())]),
                });
                RowChange {
                    table,
                    columns: columns.collect(),
                    owners: vec![RecordedOwner {
                        kind: "end_user".to_owned(),
                        id: key.clone(),
                        name: None,
                    }],
                    key,
                }
            })
        })
    }

    /// Removes a third of the references and renames another third.
    fn repaired(value: &Value) -> Value {
        let third = |r: &str| r.chars().count() % 3;
        let left = value.without(|r| third(r) == 0);
        left.renamed(|r| (third(r) == 1).then_some("the one that took its place"))
    }

    #[test]
    fn only_what_a_repair_does_is_read_from_a_plan_or_a_journal() {
        let keys = |keys: &[(&str, &[&str])]| {
            let keys = keys.iter().map(|(key, tools)| {
                let tools = tools.iter().map(|tool| (*tool).to_owned()).collect();
                ((*key).to_owned(), tools)
            });
            Value::Keys(keys.collect())
        };
        let change = |before, after| change("p-1", before, after);
        let of_keys = |before, after| {
            let values = [keys(before), keys(after)];
            let change = RowChange::of_column(&PERMISSIONS, "p-1", &MCP_TOOL_PERMISSIONS, values);
            Change::Row(change)
        };
        for (change, is_repair) in [
            (change(array(&["a", "gone", "a"]), array(&["a", "a"])), true),
            (change(array(&["a", "gone"]), array(&["a", "new"])), true),
            (change(array(&["gone", "a"]), array(&["a"])), true),
            (change(array(&["gone"]), array(&["no-mcp-servers"])), true),
            (change(array(&["gone"]), array(&[])), true),
            (change(array(&["a"]), array(&["a", "b"])), false),
            (change(array(&["gone"]), array(&["a", "b"])), false),
            (change(array(&[]), array(&["no-mcp-servers"])), false),
            (
                change(array(&["a", "b", "gone"]), array(&["b", "a"])),
                false,
            ),
            (change(array(&["a", "gone"]), array(&["a", "a"])), false),
            (
                of_keys(&[("a", &["x"]), ("gone", &["y"])], &[("a", &["x"])]),
                true,
            ),
            (
                of_keys(&[("a", &["x"]), ("gone", &["y"])], &[("a", &["x", "y"])]),
                true,
            ),
            (of_keys(&[("gone", &["y"])], &[("new", &["y"])]), true),
            (of_keys(&[("a", &["x"])], &[("a", &["x", "y"])]), false),
            (of_keys(&[("a", &["x", "y"])], &[("a", &["x"])]), false),
            (of_keys(&[("gone", &["y"])], &[("new", &["*"])]), false),
        ] {
            let there = [change];
            for purpose in [ChangesetPurpose::Plan, ChangesetPurpose::Fix] {
                let read = read(&written_for(purpose, &there));
                assert_eq!(read.is_ok(), is_repair, "{purpose:?} {there:?}");
            }
            let back = there.clone().map(|change| inverse(&change));
            // An undo puts back what a repair took, and the undo of an undo repairs again.
            for changes in [there, back] {
                let read = read(&written_for(ChangesetPurpose::Undo, &changes));
                assert!(read.is_ok() || !is_repair, "{changes:?}");
            }
        }
        // A repair does not put back; the inverse of a rename is a rename.
        let puts_back = change(array(&["a"]), array(&["a", "gone"]));
        let damage = read(&written(&[puts_back])).unwrap_err();
        assert_eq!(damage.line, 2);
        assert!(damage.what.contains("row p-1 of"), "{damage}");
    }

    // mcp-prune 0.1.0 wrote the files, before a change was checked when it is read.
    #[test]
    fn files_of_earlier_programs_are_read() {
        let [plan, fix, undo, again] = [
            include_str!("../../fixtures/changesets/plan.ndjson"),
            include_str!("../../fixtures/changesets/fix.ndjson"),
            include_str!("../../fixtures/changesets/undo.ndjson"),
            include_str!("../../fixtures/changesets/undo-of-undo.ndjson"),
        ]
        .map(|text| {
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            read(&lines).unwrap()
        });
        let purposes = [&plan, &fix, &undo, &again].map(|(_, contents)| contents.header.purpose);
        let undone = ChangesetPurpose::Undo;
        assert_eq!(
            purposes,
            [
                ChangesetPurpose::Plan,
                ChangesetPurpose::Fix,
                undone,
                undone
            ]
        );
        assert_eq!((fix.1.rows, fix.1.committed), (5, true));
        let reported: Vec<Change> = fix.0.iter().map(into_report).collect();
        assert_eq!(reported, plan.0);
        let back: Vec<Change> = fix.0.iter().map(inverse).collect();
        assert_eq!((undo.0, &again.0), (back, &fix.0));
    }

    proptest! {
        #[test]
        fn any_rows_survive_and_their_deletion_inverted_puts_them_back(
            rows in prop::collection::vec(".*", 1..4),
        ) {
            let deletion = deletion(&rows);
            prop_assert!(deletion.deletes() && !deletion.inverse().deletes());
            prop_assert_eq!(&deletion.inverse().inverse(), &deletion);
            for change in [deletion.inverse(), deletion].map(Change::Credentials) {
                let lines = written_for(ChangesetPurpose::Undo, std::slice::from_ref(&change));
                let (read, _) = read(&lines).unwrap();
                prop_assert_eq!(read, vec![change]);
            }
        }

        #[test]
        fn any_change_survives_and_its_inverse_inverted_is_itself(change in changes()) {
            let inverse = change.inverse();
            prop_assert_eq!(&inverse.inverse(), &change);
            for (back, column) in inverse.columns.iter().zip(&change.columns) {
                prop_assert_eq!((&back.before, &back.after), (&column.after, &column.before));
            }
            let changes = vec![Change::Row(change)];
            let (read, _) = read(&written(&changes)).unwrap();
            prop_assert_eq!(read, changes);
        }
    }
}
