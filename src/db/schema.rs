//! Reads which tables and columns this database has, what the role may do with them, and which
//! LiteLLM release they imply.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::database::Database;
use crate::db::column_types::{self, Presence};
use crate::db::columns::{Column, Privilege, Table};
use crate::db::decode::{self, TableColumn};
use crate::db::errors::failed;
use crate::db::every_column::{AnyColumn, EVERY_COLUMN};
use crate::db::privileges::{Grant, check_usage, grant};
use crate::db::purpose::Purpose;
use crate::db::relation_kinds::{OTHER_RELATIONS, Oddity};
use crate::db::sql::{constant, constants, ident, part, statement, statement_in};
use crate::db::verification::is_bookkeeping;
use crate::error::{ErrorKind, Failure};
use crate::litellm::access_context::LitellmBehavior;
use crate::litellm::config::Derivation;
use crate::litellm::owners::{
    ACCESS_GROUP_IDS, AGENT_TABLE, AUDIT_COPIES, KEY_PARENTS, KEY_TABLE, LINK, OWNER_TABLES,
    OwnerTable, TEAM_TABLE, USER_TABLE,
};
use crate::litellm::reference_sites::{
    ACCESS_GROUP_NAME, ACCESS_GROUP_SERVERS, ACCESS_GROUPS, Choice, DEFAULTS, Group, Names,
    OAUTH_CLIENTS, PERMISSIONS, ScannedTable, Site, SiteTable, TABLES, TAGS, TOOLSET_NAME,
    TOOLSET_TOOLS, TOOLSETS,
};
use crate::litellm::release::{self, MARKERS, Release};
use crate::litellm::schema_drift::{self, SchemaDrift, TypedColumn};
use crate::litellm::server::SERVER_TABLE;
use crate::printable::one_line;
use crate::shell::quoted;

/// The primary key of [`SERVER_TABLE`], there in every LiteLLM that has the table.
pub(crate) const SERVER_ID: &str = "server_id";

/// Its other columns that are read where they exist.
///
/// Source: migrations `20250806095134_rename_alias_to_server_name_mcp_table` (before it there was
/// `alias` alone) and `20260319000000` (`approval_status`) of litellm-proxy-extras.
pub(crate) const SERVER_COLUMNS: [&str; 3] = ["server_name", "alias", "approval_status"];

/// The table in which a proxy stores its config, and the column with the name of each section. The
/// values hold secrets.
pub(crate) const CONFIG: (&str, &str) = (DEFAULTS.table, DEFAULTS.key);

/// The columns that decide what an emptied list means, if a schema has them, beside the sites of
/// [`PERMISSIONS`]. Except for the columns of owners, they are read only for rows that are related
/// to a row whose last grant would go.
///
/// Source: `schema.prisma` of litellm-proxy-extras 0.4.110.
pub(crate) const RELATED_COLUMNS: [(&str, &[&str]); 8] = [
    (SERVER_TABLE, &SERVER_SCOPE),
    (PERMISSIONS.table, &[TAGS]),
    (KEY_TABLE, &KEY_PARENTS),
    (KEY_TABLE, &[ACCESS_GROUP_IDS]),
    (TEAM_TABLE, &["organization_id", ACCESS_GROUP_IDS]),
    (USER_TABLE, &["user_role"]),
    (
        ACCESS_GROUPS.table,
        &[ACCESS_GROUPS.key, ACCESS_GROUP_SERVERS.column],
    ),
    (TOOLSETS.table, &[TOOLSETS.key, TOOLSET_TOOLS.column]),
];

/// The further columns that tell who has been given an access group.
pub(crate) const ASSIGNED: [(&str, &[&str]); 2] = [
    (
        ACCESS_GROUPS.table,
        &["assigned_team_ids", "assigned_key_ids"],
    ),
    (AGENT_TABLE, &[ACCESS_GROUP_IDS]),
];

/// The columns on which access also depends, where a schema has them; they are read by `access`,
/// by `scan --if-deleted` and for the proof of what is written.
const ACCESS: [(&str, &[&str]); 6] = [
    (SERVER_TABLE, &["submitted_by"]),
    (TEAM_TABLE, &["members_with_roles", "blocked"]),
    (USER_TABLE, &["organization_id", "teams"]),
    (AGENT_TABLE, &[ACCESS_GROUP_IDS]),
    (
        ACCESS_GROUPS.table,
        &[
            "assigned_team_ids",
            "assigned_key_ids",
            "mcp_tool_permissions",
        ],
    ),
    (TOOLSETS.table, &[TOOLSETS.key, TOOLSET_TOOLS.column]),
];

/// The tags of a server, and whether every key may use it.
pub(crate) const SERVER_SCOPE: [&str; 2] = ["mcp_access_groups", "allow_all_keys"];

/// The first version of PostgreSQL that hashes the array of `= ANY`, as `server_version_num`.
///
/// Source: PostgreSQL 14 source, `convert_saop_to_hashed_saop` in `optimizer/util/clauses.c`.
const HASHES_ARRAYS: u32 = 140_000;

/// A table that is left out although the operator did not say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The table.
    pub table: ScannedTable,
    /// Why, in words.
    pub why: &'static str,
}

/// LiteLLM's tables in this database: those that this tool knows, and those that link to permission
/// rows in another way.
#[derive(Debug)]
pub struct Schema {
    name: String,
    tables: BTreeMap<String, Table>,
    /// Relations that are no tables, foreign keys, and columns that LiteLLM makes in another way.
    oddities: Vec<Oddity>,
    unknown_links: BTreeSet<String>,
    sites: Vec<ScannedTable>,
    left_out: Vec<LeftOut>,
    /// The columns of every table of LiteLLM, known to this program or not.
    every_column: Vec<AnyColumn>,
    hashes_arrays: bool,
}

/// A schema, and the results of the checks on it.
#[derive(Debug)]
pub(crate) struct Examined {
    /// The tables, whether they are LiteLLM's or not.
    pub schema: Schema,
    /// Whether they are LiteLLM's.
    pub litellm: Result<(), Failure>,
    /// Whether the role may read what [`Purpose::Read`] needs.
    pub reading: Result<(), Failure>,
    /// Whether the role has the privileges of the purpose that was asked about if that purpose
    /// writes, else those of [`Purpose::Write`].
    pub writing: Result<(), Failure>,
    /// Whether the role sees every row.
    pub row_security: Result<(), Failure>,
}

// One statement without parameters, which goes together with the `BEGIN`: first the columns of the
// tables, then those of foreign keys. A foreign key to permission rows is a link, whatever its
// schema and column.
//
// `detail` is the type of a column, the kind of a relation, or the name of a collation.
pub(crate) const COLUMNS: &str = r"
SELECT 'column' AS subject, n.nspname::pg_catalog.text AS schema_name,
       c.relname::pg_catalog.text AS table_name, a.attname::pg_catalog.text AS column_name,
       pg_catalog.format_type(a.atttypid, NULL) AS detail, NULL::pg_catalog.bool AS links,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS may_use,
       pg_catalog.row_security_active(c.oid) AS hides_rows,
       pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT') AS may_select,
       pg_catalog.has_column_privilege(c.oid, a.attnum, 'UPDATE') AS may_update,
       pg_catalog.has_column_privilege(c.oid, a.attnum, 'INSERT') AS may_insert,
       pg_catalog.has_table_privilege(c.oid, 'DELETE') AS may_delete
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid {=} c.relnamespace
JOIN pg_catalog.pg_attribute AS a
     ON a.attrelid {=} c.oid AND a.attnum {>} 0 AND NOT a.attisdropped
WHERE n.nspname {=} {named_schema} AND c.relkind {=} ANY ('{r,p}')
      AND (c.relname {=} ANY ({known}) OR a.attname {=} {link})
UNION ALL
SELECT 'foreign key', n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
       a.attname::pg_catalog.text, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS c ON c.oid {=} k.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid {=} c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid {=} k.conrelid AND a.attnum {=} ANY (k.conkey)
JOIN pg_catalog.pg_class AS p ON p.oid {=} k.confrelid
JOIN pg_catalog.pg_namespace AS pn ON pn.oid {=} p.relnamespace
WHERE k.contype {=} 'f' AND k.conparentid {=} 0 AND pn.nspname {=} {named_schema} AND p.relname {=} {permissions}";

// The name of the schema as a text. It gets into a statement as a quoted name alone, so it is made
// the name of a column, which becomes a key of JSON.
pub(crate) const NAMED_SCHEMA: &str = "
(SELECT pg_catalog.jsonb_object_keys(pg_catalog.to_jsonb(s.*)) FROM (SELECT NULL AS {schema}) AS s)";

/// What reading the catalog is called in an error.
pub(crate) const READING: &str = "read the system catalog";

/// Returns the statement on the system catalog that [`Schema::examine`] reads the answer of.
pub(crate) fn catalog() -> String {
    let known = OWNER_TABLES
        .iter()
        .map(|owner| owner.table)
        .chain([SERVER_TABLE])
        .chain(TABLES.map(ScannedTable::name))
        .chain(RELATED_COLUMNS.iter().map(|(table, _)| *table))
        .chain(MARKERS.iter().map(|marker| marker.table));
    let fragments = [
        ("{columns}", COLUMNS.to_owned()),
        ("{others}", OTHER_RELATIONS.to_owned()),
        ("{every}", EVERY_COLUMN.to_owned()),
        ("{named_schema}", NAMED_SCHEMA.to_owned()),
        ("{known}", constants(known)),
        ("{link}", constant(LINK)),
        ("{permissions}", constant(PERMISSIONS.table)),
        ("{prefix}", constant(schema_drift::PREFIX)),
    ];
    part("{columns}{others}{every}", &fragments)
}

const SCHEMAS_WITH: &str = r"
SELECT n.nspname::pg_catalog.text
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid {=} c.relnamespace
WHERE c.relname {=} $1 AND c.relkind {=} ANY ('{r,p}')
ORDER BY 1";

impl Schema {
    /// Refuses where this role may not read a column on which access depends.
    ///
    /// # Errors
    ///
    /// An access failure with the `GRANT`s that would do.
    pub(crate) fn check_access_privileges(&self, database: &Database) -> Result<(), Failure> {
        let lacks = |table: &str, column: &str| !self.may_read(table, column);
        let grants = self.access_grants_where(database, &database.user, lacks);
        let Some(first) = grants.first() else {
            return Ok(());
        };
        let sql: Vec<&str> = grants.iter().map(|grant| grant.sql.as_str()).collect();
        let (role, table) = (&database.user, first.table);
        let message = format!("role \"{role}\" lacks SELECT on table \"{table}\"");
        let hint = format!("have its owner run: {}", sql.join(" "));
        Err(Failure::new(ErrorKind::Access, message).hint(hint))
    }

    /// Returns the statements that give `role` the privileges that `access` needs, and no more.
    ///
    /// The saved settings are left out, because their column holds secrets: `access` says so where
    /// they may change an answer.
    #[must_use]
    pub(crate) fn access_grants(&self, database: &Database, role: &str) -> Vec<String> {
        let needed = self.access_grants_where(database, role, |_, _| true);
        let needed = needed.into_iter().map(|grant| grant.sql);
        let signs = self.grants_of_signs(database, role);
        let usage = usage(database, role);
        std::iter::once(usage).chain(needed).chain(signs).collect()
    }

    fn access_grants_where(
        &self,
        database: &Database,
        role: &str,
        is_meant: impl Fn(&str, &str) -> bool,
    ) -> Vec<Grant> {
        let mut read = self.columns_read(Purpose::Read);
        for (table, columns) in ACCESS {
            add_columns(&mut read, table, columns);
        }
        let grants = read.into_iter().filter_map(|(table, columns)| {
            let columns = columns.into_iter();
            let columns = columns.filter(|name| self.has(table, name) && is_meant(table, name));
            let columns: Vec<String> = columns.map(ident).collect();
            let is_any = !columns.is_empty();
            is_any.then(|| grant(Privilege::Select, &columns, database, table, role))
        });
        grants.collect()
    }

    /// Reads LiteLLM's tables from the answer to [`catalog`], and checks that the role may do with
    /// the chosen tables what `purpose` takes.
    ///
    /// # Errors
    ///
    /// Refused if the tables are not LiteLLM's or if row security hides rows from this role. An
    /// access failure, with the `GRANT` that is missing, if the role lacks a privilege.
    pub(crate) async fn read(
        connection: &mut PgConnection,
        rows: Vec<PgRow>,
        database: &Database,
        purpose: Purpose,
        choice: &Choice,
    ) -> Result<Self, Failure> {
        let examined = Self::examine(connection, rows, database, purpose, choice).await?;
        examined.litellm?;
        match purpose {
            Purpose::Read => examined.reading?,
            Purpose::Write | Purpose::PutBack => examined.writing?,
        }
        examined.row_security?;
        Ok(examined.schema)
    }

    /// Asks the system catalog for LiteLLM's tables, and checks what the role may do with them.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub(crate) async fn ask(
        connection: &mut PgConnection,
        database: &Database,
        purpose: Purpose,
        choice: &Choice,
    ) -> Result<Examined, Failure> {
        let fragments = [("{catalog}", catalog())];
        let rows = sqlx::raw_sql(statement_in(&database.schema, "{catalog}", &fragments))
            .fetch_all(&mut *connection)
            .await
            .map_err(failed(READING))?;
        Self::examine(connection, rows, database, purpose, choice).await
    }

    /// Reads LiteLLM's tables from the answer to [`catalog`], and checks what the role may do with
    /// them.
    ///
    /// # Errors
    ///
    /// What the server said.
    async fn examine(
        connection: &mut PgConnection,
        rows: Vec<PgRow>,
        database: &Database,
        purpose: Purpose,
        choice: &Choice,
    ) -> Result<Examined, Failure> {
        let mut tables: BTreeMap<String, Table> = BTreeMap::new();
        let mut oddities = Vec::new();
        let mut every_column = Vec::new();
        let mut may_use = false;
        for row in rows {
            if is_of_another_schema(&row, database)? {
                continue;
            }
            if let Some(column) = AnyColumn::read(&row)? {
                every_column.push(column);
                continue;
            }
            if let Some(oddity) = oddity(&row)? {
                oddities.push(oddity);
                continue;
            }
            may_use = decode::read(&row, "may_use", CATALOG)?;
            let table = tables
                .entry(decode::read(&row, "table_name", CATALOG)?)
                .or_default();
            table.hides_rows = decode::read(&row, "hides_rows", CATALOG)?;
            let column = decode::read(&row, "column_name", CATALOG)?;
            table.columns.insert(column, Column::read(&row)?);
        }
        let mut schema = Self {
            name: database.schema.clone(),
            tables,
            oddities,
            unknown_links: BTreeSet::new(),
            sites: Vec::new(),
            left_out: Vec::new(),
            every_column,
            hashes_arrays: connection.server_version_num() >= Some(HASHES_ARRAYS),
        };
        schema.choose(choice, purpose);
        let litellm = match schema.check_litellm() {
            Ok(()) => Ok(()),
            Err(unlike) => Err(not_litellm(connection, database, unlike).await),
        };
        schema.unknown_links = schema.links_unknown(database);
        let may = |purpose| {
            check_usage(may_use, database)?;
            schema.check_privileges(database, purpose)
        };
        Ok(Examined {
            litellm,
            reading: may(Purpose::Read),
            writing: may(if purpose.writes() {
                purpose
            } else {
                Purpose::Write
            }),
            row_security: schema.check_row_security(database),
            schema,
        })
    }

    /// Chooses the tables that are looked at: the chosen ones that this database has.
    ///
    /// A table whose columns hold secrets besides its sites is left out if this role may not read
    /// it, unless the operator named it.
    fn choose(&mut self, choice: &Choice, purpose: Purpose) {
        for table in TABLES {
            if !choice.groups.contains(&table.group()) {
                continue;
            }
            let why = if table.columns().iter().all(|c| !self.has(table.name(), c)) {
                Some("this LiteLLM has no such table")
            } else if !table.may_change() && !choice.configs_known {
                Some("which servers a config.yaml names is not known")
            } else if choice.by_name || table.group() != Group::Defaults {
                None
            } else if !self.may(table, purpose) {
                Some(
                    "this role may not read them, because their column holds secrets too; \
                     `grants --sites permissions,access-groups,toolsets,defaults` prints what it needs",
                )
            } else {
                None
            };
            match why {
                None => self.sites.push(table),
                Some(why) => self.left_out.push(LeftOut { table, why }),
            }
        }
    }

    fn may(&self, table: ScannedTable, purpose: Purpose) -> bool {
        let may = |column: &str, privilege: Privilege| {
            let column = self.column(table.name(), column);
            column.is_none_or(|column| column.privileges.contains(&privilege))
        };
        let reads = |column: &str| may(column, Privilege::Select);
        let writes = |column: &str| !purpose.writes() || may(column, Privilege::Update);
        let mut columns = table.columns().into_iter();
        reads(table.key()) && columns.all(|column| reads(column) && writes(column))
    }

    /// Returns the name of the schema.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Tells whether the server looks a text up in a long array by its hash. Others compare it with
    /// each element. A server that does not tell its version is taken for one of them.
    pub(crate) fn hashes_arrays(&self) -> bool {
        self.hashes_arrays
    }

    /// Fills a template of a statement on the tables of this schema: see [`statement_in`].
    pub(crate) fn statement(
        &self,
        template: &'static str,
        fragments: &[(&'static str, String)],
    ) -> AssertSqlSafe<String> {
        statement_in(&self.name, template, fragments)
    }

    /// Returns the tables that are looked at.
    #[must_use]
    pub fn site_tables(&self) -> &[ScannedTable] {
        &self.sites
    }

    /// Returns the tables that are left out although the operator did not say so.
    #[must_use]
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Returns the sites of `table` that this database has.
    #[must_use]
    pub fn sites(&self, table: &'static SiteTable) -> Vec<&'static Site> {
        let has = |site: &&Site| {
            self.has(table.table, site.column)
                && (site.names != Names::Toolsets || self.has(TOOLSETS.table, TOOLSETS.key))
        };
        table.sites.iter().filter(has).collect()
    }

    /// Returns the columns of `table` that tell when and by whom a row was last written.
    pub(crate) fn touched(
        &self,
        table: &'static SiteTable,
    ) -> Option<(&'static str, &'static str)> {
        let has = |(at, by): &(&str, &str)| self.has(table.table, at) && self.has(table.table, by);
        table.touched.filter(has)
    }

    /// Returns the columns of `table` that a repair does not write and that this role may read.
    pub(crate) fn columns_beside(&self, table: &'static SiteTable) -> Vec<&str> {
        let is_site = |name: &str| {
            table.sites.iter().any(|site| site.column == name)
                || table
                    .touched
                    .is_some_and(|(at, by)| name == at || name == by)
        };
        let mut columns = self.readable(table.table);
        columns.retain(|name| !is_site(name));
        columns
    }

    /// Returns the columns of a table that this role may read.
    pub(crate) fn readable(&self, table: &str) -> Vec<&str> {
        let mut columns = self.columns(table);
        columns.retain(|name| self.may_read(table, name));
        columns
    }

    /// Tells whether a column says when, how often or by whom a row was written.
    pub(crate) fn is_bookkeeping(&self, table: &str, column: &str) -> bool {
        self.column(table, column)
            .is_some_and(|found| is_bookkeeping(column, &found.sql_type))
    }

    /// Returns the names of all known tables that this database has.
    pub(crate) fn table_names(&self) -> Vec<&str> {
        self.tables.keys().map(String::as_str).collect()
    }

    /// Returns the tables in which this role may read at least one column and sees every row.
    pub(crate) fn readable_tables(&self) -> impl Iterator<Item = &str> {
        let may_read = |column: &Column| column.privileges.contains(&Privilege::Select);
        let readable = self
            .tables
            .iter()
            .filter(move |(_, table)| !table.hides_rows && table.columns.values().any(may_read));
        readable.map(|(name, _)| name.as_str())
    }

    /// Returns the owner tables of this database that link to permission rows.
    pub(crate) fn owner_tables(&self) -> impl Iterator<Item = &'static OwnerTable> {
        OWNER_TABLES
            .iter()
            .filter(|owner| self.has(owner.table, LINK))
    }

    /// Tells whether this role may read the column and sees every row of its table; `false` if this
    /// database does not have it.
    pub(crate) fn may_read(&self, table: &str, column: &str) -> bool {
        let sees_all = self.tables.get(table).is_some_and(|t| !t.hides_rows);
        let column = self.column(table, column);
        sees_all && column.is_some_and(|column| column.privileges.contains(&Privilege::Select))
    }

    /// Refuses if this role may not read a column that only this question needs.
    pub(crate) fn check_may_read(
        &self,
        database: &Database,
        table: &'static str,
        column: &str,
    ) -> Result<(), Failure> {
        if self.may_read(table, column) {
            return Ok(());
        }
        let role = &database.user;
        let columns = [ident(column)];
        let grant = grant(Privilege::Select, &columns, database, table, role);
        let message = format!("role \"{role}\" lacks SELECT on \"{column}\" of table \"{table}\"");
        Err(Failure::new(ErrorKind::Access, message).hint(format!(
            "name it by its id, or have the table's owner run: {}",
            grant.sql
        )))
    }

    /// Tells whether this database has the table with the column.
    pub(crate) fn has(&self, table: &str, column: &str) -> bool {
        self.column(table, column).is_some()
    }

    /// Returns the oldest LiteLLM release that can have made this schema.
    #[must_use]
    pub fn release(&self) -> Release {
        release::implied(|table, column| match column {
            None => self.tables.contains_key(table),
            Some(column) => self.has(table, column),
        })
    }

    /// Returns the columns of every table of LiteLLM, known to this program or not.
    pub(crate) fn every_column(&self) -> &[AnyColumn] {
        &self.every_column
    }

    /// Compares this schema with those of all known releases.
    #[must_use]
    pub(crate) fn drift(&self) -> SchemaDrift {
        let columns = self.every_column.iter();
        let columns: Vec<TypedColumn> = columns.map(|any| any.column.clone()).collect();
        SchemaDrift::of(&columns)
    }

    /// Returns how the LiteLLM of this schema behaves, as far as its tables tell.
    #[must_use]
    pub fn behavior(&self) -> LitellmBehavior {
        LitellmBehavior {
            release: self.release(),
            owners_known: self.unknown_links.is_empty(),
        }
    }

    /// Returns the ways in which the LiteLLM of this schema may derive the id of a config server.
    ///
    /// Source: LiteLLM `mcp_server/mcp_server_manager.py`, `_generate_stable_server_id`. The hash
    /// of 1.77.1 has the protocol's version in it, that of 1.77.4 has not; no schema marker is
    /// closer to them than that of 1.80.0. Up to 1.85.7, `load_servers_from_config` applied
    /// `mcp_aliases` twice; the next schema marker is that of 1.87.0. Pinned ids came with 1.101.0.
    #[must_use]
    pub fn derivation(&self) -> Derivation {
        Derivation {
            may_be_old: self.release() < Release::FAILS_CLOSED,
            may_map_twice: self.release() < Release::MAPS_ALIASES_ONCE,
            pins: self.release() >= Release::PINS_IDS,
        }
    }

    /// Returns the tables that link to permission rows in a way that this tool does not know.
    #[must_use]
    pub fn unknown_links(&self) -> &BTreeSet<String> {
        &self.unknown_links
    }

    fn links_unknown(&self, database: &Database) -> BTreeSet<String> {
        let is_known = |table: &str, column: &str| {
            column == LINK
                && (AUDIT_COPIES.contains(&table) || OWNER_TABLES.iter().any(|o| o.table == table))
        };
        let by_name = self
            .tables
            .keys()
            .filter(|name| *name != PERMISSIONS.table && self.has(name, LINK))
            .filter(|name| !is_known(name, LINK))
            .cloned();
        let mut unknown: BTreeSet<String> = by_name.collect();
        for oddity in &self.oddities {
            let table = match oddity {
                Oddity::ForeignKey(schema, table, column) => {
                    let known = *schema == database.schema && is_known(table, column);
                    Some(table).filter(|_| !known)
                }
                Oddity::Relation { name, links, .. } => {
                    Some(name).filter(|name| *links && !is_known(name, LINK))
                }
                Oddity::Collation { .. } => None,
            };
            unknown.extend(table.cloned());
        }
        unknown
    }

    fn column(&self, table: &str, column: &str) -> Option<&Column> {
        self.tables.get(table)?.columns.get(column)
    }

    fn check_litellm(&self) -> Result<(), Unlike> {
        let expected = column_types::expected(&self.sites);
        for oddity in &self.oddities {
            let is_litellms = |table: &str| expected.iter().any(|(known, ..)| *known == table);
            match oddity {
                Oddity::Relation { name, kind, .. } if is_litellms(name) => {
                    return Err(Unlike::Made {
                        found: format!("\"{name}\" is {kind}, not a table"),
                        hint: "point --schema at the schema that holds the table itself: the rows of \
                               anything else may be hidden, and cannot be locked",
                    });
                }
                Oddity::Collation {
                    table,
                    column,
                    collation,
                } if expected.iter().any(|(t, c, ..)| t == table && c == column) => {
                    return Err(Unlike::Made {
                        found: format!(
                            "{} has the collation \"{collation}\", which takes different texts \
                             for equal",
                            TableColumn(table, column)
                        ),
                        hint: "give the column the default collation of the database, as LiteLLM does: \
                               it compares texts byte by byte",
                    });
                }
                Oddity::Relation { .. } | Oddity::Collation { .. } | Oddity::ForeignKey(..) => {}
            }
        }
        for (table, name, sql_type, presence) in expected {
            let required = presence == Presence::Always;
            if required && !self.tables.contains_key(table) {
                return Err(Unlike::Lacks(format!("table \"{table}\" does not exist")));
            }
            match self.column(table, name) {
                None if required => {
                    let lack = format!("table \"{table}\" has no column \"{name}\"");
                    return Err(Unlike::Lacks(lack));
                }
                Some(column) if column.sql_type != sql_type => {
                    return Err(Unlike::Made {
                        found: format!(
                            "{} is of type {}, not {sql_type}",
                            TableColumn(table, name),
                            column.sql_type
                        ),
                        hint: "give the column the type that LiteLLM's migrations give it; no other is \
                               read or written",
                    });
                }
                None | Some(_) => {}
            }
        }
        Ok(())
    }

    /// Lists the tables that are read, each with the columns that `purpose` reads of it.
    fn columns_read(&self, purpose: Purpose) -> Vec<(&'static str, Vec<&str>)> {
        let mut read = vec![(
            SERVER_TABLE,
            [SERVER_ID].into_iter().chain(SERVER_COLUMNS).collect(),
        )];
        for table in TABLES {
            if self.sites.contains(&table) || table == ScannedTable::References(&PERMISSIONS) {
                let mut columns = vec![table.key()];
                columns.extend(table.columns());
                columns.dedup();
                if purpose.writes() && writes_whole_rows(table) {
                    columns = self.columns(table.name());
                }
                read.push((table.name(), columns));
            }
        }
        for owner in self.owner_tables() {
            read.push((owner.table, vec![LINK, owner.id, owner.name]));
        }
        let groups = ScannedTable::References(&ACCESS_GROUPS);
        let groups = self.sites.contains(&groups);
        let assigned = ASSIGNED.into_iter().filter(|_| groups);
        for (table, columns) in RELATED_COLUMNS.into_iter().chain(assigned) {
            add_columns(&mut read, table, columns);
        }
        let grants_access = |table: &ScannedTable| match table.group() {
            Group::Permissions | Group::AccessGroups | Group::Toolsets => true,
            Group::Defaults | Group::Credentials => false,
        };
        // What is written is proven to change nobody's access.
        if purpose == Purpose::Write && self.sites.iter().any(grants_access) {
            for (table, columns) in ACCESS {
                add_columns(&mut read, table, columns);
            }
        }
        read
    }

    /// Checks that the role may read the columns on which access depends, for a transaction that
    /// writes without them.
    ///
    /// # Errors
    ///
    /// An access failure, with the `GRANT` that is missing.
    pub(crate) fn check_may_compare(&self, database: &Database) -> Result<(), Failure> {
        self.check_privileges(database, Purpose::Write)
    }

    fn check_privileges(&self, database: &Database, purpose: Purpose) -> Result<(), Failure> {
        let lacking =
            |column: &Column, privilege: Privilege| !column.privileges.contains(&privilege);
        let grants = self.grants_where(database, purpose, &database.user, lacking);
        let Some(first) = grants.first() else {
            return Ok(());
        };
        let sql: Vec<&str> = grants.iter().map(|grant| grant.sql.as_str()).collect();
        Err(Failure::new(
            ErrorKind::Access,
            format!(
                "role \"{}\" lacks {} on table \"{}\"",
                database.user,
                first.privilege.sql(),
                first.table
            ),
        )
        .hint(format!("have its owner run: {}", sql.join(" "))))
    }

    /// Returns the statements that give `role` the privileges that `purpose` needs, and no more.
    ///
    /// They cover the columns that are read and those that are written, and signs of config
    /// servers. To write, they also cover the other columns of the written rows, which are compared
    /// before the commit.
    #[must_use]
    pub fn grants(&self, database: &Database, purpose: Purpose, role: &str) -> Vec<String> {
        let mut grants = vec![usage(database, role)];
        let needed = self.grants_where(database, purpose, role, |_, _| true);
        grants.extend(needed.into_iter().map(|grant| grant.sql));
        grants.extend(self.grants_of_signs(database, role));
        if purpose.writes() {
            let beside = self.sites.iter().filter_map(|table| match table {
                ScannedTable::References(table) => Some((table.table, self.columns_beside(table))),
                ScannedTable::Credentials(_) => None,
            });
            grants.extend(self.grants_to_read(beside, database, role));
        }
        grants
    }

    /// Returns the statements that let `role` read the signs of config servers, and the names of
    /// access groups and toolsets.
    fn grants_of_signs(&self, database: &Database, role: &str) -> Vec<String> {
        let clients = (OAUTH_CLIENTS.table, vec![OAUTH_CLIENTS.server]);
        let config = (CONFIG.0, vec![CONFIG.1]);
        let names = [
            (ACCESS_GROUPS.table, vec![ACCESS_GROUP_NAME]),
            (TOOLSETS.table, vec![TOOLSET_NAME]),
        ];
        let signs = [clients, config].into_iter().chain(names);
        self.grants_to_read(signs, database, role)
    }

    /// Returns the statements that let `role` read those of the columns that this database has.
    fn grants_to_read<'c>(
        &self,
        tables: impl IntoIterator<Item = (&'static str, Vec<&'c str>)>,
        database: &Database,
        role: &str,
    ) -> Vec<String> {
        let mut grants = Vec::new();
        for (table, columns) in tables {
            let columns = columns.into_iter().filter(|name| self.has(table, name));
            let columns: Vec<String> = columns.map(ident).collect();
            if !columns.is_empty() {
                let grant = grant(Privilege::Select, &columns, database, table, role);
                grants.push(grant.sql);
            }
        }
        grants
    }

    fn grants_where(
        &self,
        database: &Database,
        purpose: Purpose,
        role: &str,
        is_meant: impl Fn(&Column, Privilege) -> bool,
    ) -> Vec<Grant> {
        let mut grants = Vec::new();
        for (table, read) in self.columns_read(purpose) {
            let of_table = self.sites.iter().find(|site| site.name() == table).copied();
            let mut needed = vec![(Privilege::Select, read)];
            if let Some(table) = of_table.filter(|_| purpose.writes()) {
                // `FOR UPDATE` on a whole row needs UPDATE on one of its columns.
                needed.push((Privilege::Update, self.written(table)));
                if writes_whole_rows(table) {
                    needed.push((Privilege::Insert, self.columns(table.name())));
                    needed.push((Privilege::Delete, vec![table.key()]));
                }
            }
            for (privilege, columns) in needed {
                let columns = columns.into_iter().filter(|name| {
                    let column = self.column(table, name);
                    column.is_some_and(|column| is_meant(column, privilege))
                });
                let columns: Vec<String> = columns.map(ident).collect();
                if !columns.is_empty() {
                    grants.push(grant(privilege, &columns, database, table, role));
                }
            }
        }
        grants
    }

    /// Returns every column of a table.
    fn columns(&self, table: &str) -> Vec<&str> {
        let columns = self.tables.get(table).into_iter();
        columns
            .flat_map(|table| table.columns.keys())
            .map(String::as_str)
            .collect()
    }

    /// Returns the columns of `table` that a repair may write, or that the lock of a row needs.
    fn written(&self, table: ScannedTable) -> Vec<&'static str> {
        let table = match table {
            ScannedTable::References(table) => table,
            ScannedTable::Credentials(table) if table.names.may_change() => {
                return vec![table.server];
            }
            ScannedTable::Credentials(_) => return Vec::new(),
        };
        let sites = table.sites.iter().filter(|site| site.may_change());
        let mut written: Vec<&str> = sites.map(|site| site.column).collect();
        written.dedup();
        if let Some((at, by)) = self.touched(table) {
            written.extend([at, by]);
        }
        written
    }

    /// Refuses if row security hides rows from this role: a hidden server would look deleted, and a
    /// hidden grant would never be looked at.
    fn check_row_security(&self, database: &Database) -> Result<(), Failure> {
        let hidden = self
            .columns_read(Purpose::Read)
            .into_iter()
            .map(|(table, _)| table)
            .find(|table| self.tables.get(*table).is_some_and(|t| t.hides_rows));
        let Some(table) = hidden else {
            return Ok(());
        };
        Err(Failure::new(
            ErrorKind::Refused,
            format!(
                "row-level security on \"{table}\" can hide rows from role \"{}\"",
                database.user
            ),
        )
        .hint("use the tables' owner or a role with BYPASSRLS: a hidden server would look deleted"))
    }
}

/// Adds those of the columns that are not in the list of the table yet.
fn add_columns(
    read: &mut Vec<(&'static str, Vec<&str>)>,
    table: &'static str,
    columns: &'static [&'static str],
) {
    match read.iter_mut().find(|(known, _)| *known == table) {
        Some((_, known)) => {
            let more = columns.iter().copied();
            let more: Vec<&str> = more.filter(|column| !known.contains(column)).collect();
            known.extend(more);
        }
        None => read.push((table, columns.to_vec())),
    }
}

/// Returns the statement that lets a role use the schema.
fn usage(database: &Database, role: &str) -> String {
    let (schema, role) = (ident(&database.schema), ident(role));
    format!("GRANT USAGE ON SCHEMA {schema} TO {role};")
}

/// Tells whether a repair deletes rows of the table.
fn writes_whole_rows(table: ScannedTable) -> bool {
    matches!(table, ScannedTable::Credentials(_)) && table.may_change()
}

/// What the errors call an answer of the system catalog.
pub(crate) const CATALOG: &str = "the system catalog";

/// Tells whether a row is about a relation of another schema. Only foreign keys may be: a name that
/// is too long for PostgreSQL is cut, and is then that of another schema.
fn is_of_another_schema(row: &PgRow, database: &Database) -> Result<bool, Failure> {
    let subject: &str = decode::read(row, "subject", CATALOG)?;
    let schema: &str = decode::read(row, "schema_name", CATALOG)?;
    Ok(subject != "foreign key" && schema != database.schema)
}

/// Reads a row of the catalog's answer that is not about a column of a table.
fn oddity(row: &PgRow) -> Result<Option<Oddity>, Failure> {
    let subject: &str = decode::read(row, "subject", CATALOG)?;
    let text = |name| decode::read(row, name, CATALOG);
    Ok(match subject {
        "foreign key" => Some(Oddity::ForeignKey(
            text("schema_name")?,
            text("table_name")?,
            text("column_name")?,
        )),
        "relation" => Some(Oddity::Relation {
            name: text("table_name")?,
            kind: text("detail")?,
            links: decode::read(row, "links", CATALOG)?,
        }),
        "collation" => Some(Oddity::Collation {
            table: text("table_name")?,
            column: text("column_name")?,
            collation: text("detail")?,
        }),
        _ => None,
    })
}

/// The way in which a schema differs from LiteLLM's.
enum Unlike {
    /// A table or a required column is missing, so this may be the wrong schema.
    Lacks(String),
    /// A table or column has the right name and is something else.
    Made { found: String, hint: &'static str },
}

async fn not_litellm(
    connection: &mut PgConnection,
    database: &Database,
    unlike: Unlike,
) -> Failure {
    let (why, hint) = match unlike {
        Unlike::Lacks(lack) => (lack, None),
        Unlike::Made { found, hint } => (found, Some(hint)),
    };
    let refused = Failure::new(
        ErrorKind::Refused,
        format!(
            "schema \"{}\" of database \"{}\" is not one of LiteLLM: {why}",
            database.schema, database.name
        ),
    );
    if let Some(hint) = hint {
        return refused.hint(hint);
    }
    let elsewhere: Result<Vec<String>, _> = sqlx::query_scalar(statement(SCHEMAS_WITH))
        .persistent(false)
        .bind(PERMISSIONS.table)
        .fetch_all(connection)
        .await;
    match elsewhere.unwrap_or_default().first() {
        Some(schema) if *schema != database.schema => refused.hint(format!(
            "the table is in schema \"{}\": use --schema {}",
            one_line(schema),
            quoted(schema)
        )),
        Some(_) | None => refused.hint(
            "check the database name, and ?schema= or --schema; \
             LiteLLM has these tables from version 1.68.2 on",
        ),
    }
}

#[cfg(test)]
impl Schema {
    /// Makes a schema of these columns, each of them a table and a name.
    pub(crate) fn of_columns(
        columns: impl IntoIterator<Item = (&'static str, &'static str)>,
    ) -> Self {
        let mut tables: BTreeMap<String, Table> = BTreeMap::new();
        for (table, column) in columns {
            let columns = &mut tables.entry(table.to_owned()).or_default().columns;
            let any = Column {
                sql_type: String::new(),
                privileges: BTreeSet::new(),
            };
            columns.insert(column.to_owned(), any);
        }
        Self {
            name: "public".to_owned(),
            tables,
            oddities: Vec::new(),
            unknown_links: BTreeSet::new(),
            sites: Vec::new(),
            left_out: Vec::new(),
            every_column: Vec::new(),
            hashes_arrays: true,
        }
    }

    /// Makes a schema that has every column of a table of sites, and toolsets.
    pub(crate) fn of_table(table: &'static SiteTable) -> Self {
        let sites = table.sites.iter().map(|site| (table.table, site.column));
        Self::of_columns(sites.chain([(table.table, TAGS), (TOOLSETS.table, TOOLSETS.key)]))
    }
}
