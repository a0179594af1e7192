//! Which tables and columns this database has, what the role may do with them, and which LiteLLM
//! that implies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection};

use super::column_types;
use super::decode::{self, TableColumn};
use super::relation_kinds::{OTHER_RELATIONS, Oddity};
use super::sql::{failed, ident, statement, statement_in};
use super::verification::is_bookkeeping;
use crate::failure::{Failure, Kind};
use crate::litellm::config::Derivation;
use crate::litellm::last_grant::Regime;
use crate::litellm::owners::{
    ACCESS_GROUP_IDS, AUDIT_COPIES, KEY_PARENTS, LINK, OWNER_TABLES, OwnerTable,
};
use crate::litellm::release::{self, MARKERS, Release};
use crate::litellm::sites::{
    ACCESS_GROUPS, Choice, Group, Names, OAUTH_CLIENTS, PERMISSIONS, Site, SiteTable, TABLES,
    TOOLSETS,
};
use crate::printable::one_line;
use crate::repair::changeset::Identity;
use crate::shell::quoted;

/// The table that says which servers exist.
pub const SERVER_TABLE: &str = "LiteLLM_MCPServerTable";

/// Its primary key, there in every LiteLLM that has the table.
pub(super) const SERVER_ID: &str = "server_id";

/// Its other columns that are read where they exist.
///
/// Source: migrations `20250806095134_rename_alias_to_server_name_mcp_table` (before it there was
/// `alias` alone) and `20260319000000` (`approval_status`) of litellm-proxy-extras.
pub(super) const SERVER_COLUMNS: [&str; 3] = ["server_name", "alias", "approval_status"];

/// The table with what a proxy keeps of its config, by section. Its values hold secrets.
pub(super) const CONFIG: (&str, &str) = ("LiteLLM_Config", "param_name");

/// The columns that tell what an emptied list would mean, where a schema has them. Besides the
/// owners' own they are read only of rows around those whose last grant would go.
///
/// Source: `schema.prisma` of litellm-proxy-extras 0.4.110.
pub(super) const AROUND: [(&str, &[&str]); 8] = [
    (SERVER_TABLE, &SERVER_SCOPE),
    (PERMISSIONS.table, &[TAGS, GRANTED_TOOLSETS]),
    (KEYS, &KEY_PARENTS),
    (KEYS, &[ACCESS_GROUP_IDS]),
    ("LiteLLM_TeamTable", &["organization_id", ACCESS_GROUP_IDS]),
    ("LiteLLM_UserTable", &["user_role"]),
    (ACCESS_GROUPS.table, &[ACCESS_GROUPS.key, GROUP_SERVERS]),
    (TOOLSETS.table, &[TOOLSETS.key, TOOLS]),
];

/// The columns that tell who has been given an access group, besides those above.
pub(super) const ASSIGNED: [(&str, &[&str]); 2] = [
    (
        ACCESS_GROUPS.table,
        &["assigned_team_ids", "assigned_key_ids"],
    ),
    (AGENTS, &[ACCESS_GROUP_IDS]),
];

/// The columns on which access hangs besides, where a schema has them; they are read by `access`
/// alone.
const ACCESS: [(&str, &[&str]); 6] = [
    (SERVER_TABLE, &["submitted_by"]),
    ("LiteLLM_TeamTable", &["members_with_roles", "blocked"]),
    ("LiteLLM_UserTable", &["organization_id", "teams"]),
    (AGENTS, &[ACCESS_GROUP_IDS]),
    (
        ACCESS_GROUPS.table,
        &[
            "assigned_team_ids",
            "assigned_key_ids",
            "mcp_tool_permissions",
        ],
    ),
    (TOOLSETS.table, &[TOOLSETS.key, TOOLS]),
];

/// The tags of a server, and whether every key may use it.
pub(super) const SERVER_SCOPE: [&str; 2] = ["mcp_access_groups", "allow_all_keys"];

/// The tags that a permission row grants.
pub(super) const TAGS: &str = "mcp_access_groups";

/// The toolsets that a permission row grants.
pub(super) const GRANTED_TOOLSETS: &str = "mcp_toolsets";

/// The table of keys.
pub(super) const KEYS: &str = "LiteLLM_VerificationToken";

/// The table of agents.
pub(super) const AGENTS: &str = "LiteLLM_AgentsTable";

/// The servers of an access group.
pub(super) const GROUP_SERVERS: &str = "access_mcp_server_ids";

/// The tools of a toolset.
pub(super) const TOOLS: &str = "tools";

/// The database a command works on, as the server itself names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The host or socket folder that was connected to.
    pub host: String,
    /// The TCP port, or the number in the socket's name.
    pub port: u16,
    /// `current_database()`.
    pub name: String,
    /// The schema that holds LiteLLM's tables.
    pub schema: String,
    /// `current_user`.
    pub user: String,
}

impl Database {
    /// Returns what a changeset keeps of it.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            host: self.host.clone(),
            port: self.port,
            name: self.name.clone(),
            schema: self.schema.clone(),
        }
    }
}

/// `database "litellm" at db:5432, schema "public", as user "ro"`: never a password. An embedded
/// server has no port.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, as user \"{}\"",
            self.identity(),
            one_line(&self.user)
        )
    }
}

/// What the command is going to do, and so which privileges it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Only `SELECT`.
    Read,
    /// `SELECT`, and `UPDATE` on the columns that name servers; of whole rows also `INSERT` and
    /// `DELETE`.
    Write,
}

/// A table that is left out, though nobody said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The table.
    pub table: &'static SiteTable,
    /// Why, in words.
    pub why: &'static str,
}

/// LiteLLM's tables in this database: those known to this tool, and those that link unseen.
#[derive(Debug)]
pub struct Schema {
    name: String,
    tables: BTreeMap<String, Table>,
    /// What is no table, or no column as LiteLLM makes it.
    oddities: Vec<Oddity>,
    unknown_links: BTreeSet<String>,
    sites: Vec<&'static SiteTable>,
    left_out: Vec<LeftOut>,
}

/// A schema, and what stands against working on it.
#[derive(Debug)]
pub struct Examined {
    /// The tables, be they LiteLLM's or not.
    pub schema: Schema,
    /// Whether they are.
    pub litellm: Result<(), Failure>,
    /// Whether the role may read what [`Purpose::Read`] needs.
    pub reading: Result<(), Failure>,
    /// Whether the role may do what [`Purpose::Write`] needs.
    pub writing: Result<(), Failure>,
    /// Whether the role sees every row.
    pub row_security: Result<(), Failure>,
}

#[derive(Debug, Default)]
struct Table {
    columns: BTreeMap<String, Column>,
    hides_rows: bool,
}

#[derive(Debug)]
struct Column {
    sql_type: String,
    /// What this role may do with it; to delete rows is a privilege on the whole table.
    privileges: BTreeSet<Privilege>,
}

// One statement, as each takes two round trips: the columns of the tables, and after them, named with
// their schema, those of foreign keys. Whatever its schema and column, a foreign key is a link.
const COLUMNS: &str = r"
SELECT NULL, c.relname::pg_catalog.text, a.attname::pg_catalog.text,
       pg_catalog.format_type(a.atttypid, NULL),
       pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'),
       pg_catalog.has_column_privilege(c.oid, a.attnum, 'UPDATE'),
       pg_catalog.row_security_active(c.oid), pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
       pg_catalog.has_column_privilege(c.oid, a.attnum, 'INSERT'),
       pg_catalog.has_table_privilege(c.oid, 'DELETE')
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid {=} c.relnamespace
JOIN pg_catalog.pg_attribute AS a
     ON a.attrelid {=} c.oid AND a.attnum {>} 0 AND NOT a.attisdropped
WHERE n.nspname {=} $1 AND c.relkind {=} ANY ('{r,p}')
      AND (c.relname {=} ANY ($2) OR a.attname {=} $3)
UNION ALL
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, a.attname::pg_catalog.text,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS c ON c.oid {=} k.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid {=} c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid {=} k.conrelid AND a.attnum {=} ANY (k.conkey)
JOIN pg_catalog.pg_class AS p ON p.oid {=} k.confrelid
JOIN pg_catalog.pg_namespace AS pn ON pn.oid {=} p.relnamespace
WHERE k.contype {=} 'f' AND k.conparentid {=} 0 AND pn.nspname {=} $1 AND p.relname {=} $4";

const SCHEMAS_WITH: &str = r"
SELECT n.nspname::pg_catalog.text
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid {=} c.relnamespace
WHERE c.relname {=} $1 AND c.relkind {=} ANY ('{r,p}')
ORDER BY 1";

impl Schema {
    /// Asks the catalog for LiteLLM's tables and checks that `purpose` can be served at the places
    /// chosen.
    ///
    /// # Errors
    ///
    /// Refused where the tables are not LiteLLM's or row security hides rows from this role, and
    /// an access failure, with the `GRANT` that would do, where a privilege is missing.
    pub async fn read(
        connection: &mut PgConnection,
        database: &Database,
        purpose: Purpose,
        choice: &Choice,
    ) -> Result<Self, Failure> {
        let examined = Self::examine(connection, database, purpose, choice).await?;
        examined.litellm?;
        match purpose {
            Purpose::Read => examined.reading?,
            Purpose::Write => examined.writing?,
        }
        examined.row_security?;
        Ok(examined.schema)
    }

    /// Asks the catalog for LiteLLM's tables, and what may be done with them at the places chosen for
    /// `purpose`.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub async fn examine(
        connection: &mut PgConnection,
        database: &Database,
        purpose: Purpose,
        choice: &Choice,
    ) -> Result<Examined, Failure> {
        let known: Vec<&str> = OWNER_TABLES
            .iter()
            .map(|owner| owner.table)
            .chain([SERVER_TABLE])
            .chain(TABLES.map(|table| table.table))
            .chain(AROUND.iter().map(|(table, _)| *table))
            .chain(MARKERS.iter().map(|marker| marker.table))
            .collect();
        let fragments = [
            ("{columns}", COLUMNS.to_owned()),
            ("{others}", OTHER_RELATIONS.to_owned()),
        ];
        let rows = sqlx::query(statement_in("pg_catalog", "{columns}{others}", &fragments))
            .persistent(false)
            .bind(&database.schema)
            .bind(known)
            .bind(LINK)
            .bind(PERMISSIONS.table)
            .fetch_all(&mut *connection)
            .await
            .map_err(failed("read the system catalog"))?;
        let mut tables: BTreeMap<String, Table> = BTreeMap::new();
        let mut oddities = Vec::new();
        let mut may_use = false;
        for row in rows {
            if let Some(oddity) = oddity(&row)? {
                oddities.push(oddity);
                continue;
            }
            let told = |at| decode::read(&row, at, CATALOG);
            let [table, column]: [String; 2] = [
                decode::read(&row, 1, CATALOG)?,
                decode::read(&row, 2, CATALOG)?,
            ];
            may_use = told(7)?;
            let table = tables.entry(table).or_default();
            table.hides_rows = told(6)?;
            let asked = [
                (4, Privilege::Select),
                (5, Privilege::Update),
                (8, Privilege::Insert),
                (9, Privilege::Delete),
            ];
            let mut privileges = BTreeSet::new();
            for (at, privilege) in asked {
                if told(at)? {
                    privileges.insert(privilege);
                }
            }
            let sql_type = decode::read(&row, 3, CATALOG)?;
            let of_column = Column {
                sql_type,
                privileges,
            };
            table.columns.insert(column, of_column);
        }
        let mut schema = Self {
            name: database.schema.clone(),
            tables,
            oddities,
            unknown_links: BTreeSet::new(),
            sites: Vec::new(),
            left_out: Vec::new(),
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
            writing: may(Purpose::Write),
            row_security: schema.check_row_security(database),
            schema,
        })
    }

    /// Settles which tables are looked at: those chosen that are here. One that nobody named and
    /// that this role may not look at is left out where its columns hold more than places.
    fn choose(&mut self, choice: &Choice, purpose: Purpose) {
        for table in TABLES {
            if !choice.groups.contains(&table.group) {
                continue;
            }
            let why = if table.sites.iter().all(|s| !self.has(table.table, s.column)) {
                Some("this LiteLLM has no such table")
            } else if !table.may_change() && !choice.configs_known {
                Some("which servers a config.yaml names is not known")
            } else if choice.by_name || table.group != Group::Defaults {
                None
            } else if !self.may(table, purpose) {
                Some(
                    "this role may not, and they are within a column that holds secrets besides; \
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

    fn may(&self, table: &SiteTable, purpose: Purpose) -> bool {
        let may = |column: &str, privilege: Privilege| {
            let column = self.column(table.table, column);
            column.is_none_or(|column| column.privileges.contains(&privilege))
        };
        let reads = |column: &str| may(column, Privilege::Select);
        let writes = |column: &str| purpose == Purpose::Read || may(column, Privilege::Update);
        let mut columns = table.sites.iter().map(|site| site.column);
        reads(table.key) && columns.all(|column| reads(column) && writes(column))
    }

    /// The name of the schema.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Fills a template of a statement on the tables of this schema: see [`statement_in`].
    pub(super) fn statement(
        &self,
        template: &'static str,
        fragments: &[(&'static str, String)],
    ) -> AssertSqlSafe<String> {
        statement_in(&self.name, template, fragments)
    }

    /// The tables that are looked at.
    #[must_use]
    pub fn site_tables(&self) -> &[&'static SiteTable] {
        &self.sites
    }

    /// The tables that are left out, though nobody said so.
    #[must_use]
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// The places of `table` that this database has.
    #[must_use]
    pub fn sites(&self, table: &'static SiteTable) -> Vec<&'static Site> {
        let has = |site: &&Site| {
            self.has(table.table, site.column)
                && (site.names != Names::Toolsets || self.has(TOOLSETS.table, TOOLSETS.key))
        };
        table.sites.iter().filter(has).collect()
    }

    /// The columns of `table` that tell when and by whom a row was last written.
    pub(super) fn touched(
        &self,
        table: &'static SiteTable,
    ) -> Option<(&'static str, &'static str)> {
        let has = |(at, by): &(&str, &str)| self.has(table.table, at) && self.has(table.table, by);
        table.touched.filter(has)
    }

    /// The columns of `table` that a repair does not write and that this role may read.
    pub(super) fn columns_beside(&self, table: &'static SiteTable) -> Vec<&str> {
        let is_site = |name: &str| {
            table.sites.iter().any(|site| site.column == name)
                || table
                    .touched
                    .is_some_and(|(at, by)| name == at || name == by)
        };
        let columns = self.tables.get(table.table).into_iter();
        columns
            .flat_map(|table| &table.columns)
            .filter(|(name, _)| self.may_read(table.table, name) && !is_site(name))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Whether a column tells when, how often or by whom a row was written.
    pub(super) fn is_bookkeeping(&self, table: &str, column: &str) -> bool {
        self.column(table, column)
            .is_some_and(|found| is_bookkeeping(column, &found.sql_type))
    }

    /// The names of all tables that are here.
    pub(super) fn table_names(&self) -> Vec<&str> {
        self.tables.keys().map(String::as_str).collect()
    }

    /// The tables of which this role may read anything, and sees every row.
    pub(super) fn readable_tables(&self) -> impl Iterator<Item = &str> {
        let may_read = |column: &Column| column.privileges.contains(&Privilege::Select);
        let readable = self
            .tables
            .iter()
            .filter(move |(_, table)| !table.hides_rows && table.columns.values().any(may_read));
        readable.map(|(name, _)| name.as_str())
    }

    /// The owner tables that this database has and that link to permission rows.
    pub(super) fn owner_tables(&self) -> impl Iterator<Item = &'static OwnerTable> {
        OWNER_TABLES
            .iter()
            .filter(|owner| self.has(owner.table, LINK))
    }

    /// Whether the table is here, has the column, and this role may read it and sees every row.
    pub(super) fn may_read(&self, table: &str, column: &str) -> bool {
        let sees_all = self.tables.get(table).is_some_and(|t| !t.hides_rows);
        let column = self.column(table, column);
        sees_all && column.is_some_and(|column| column.privileges.contains(&Privilege::Select))
    }

    /// Refuses where this role may not read a column that only what was asked for takes.
    pub(super) fn check_may_read(
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
        Err(Failure::new(Kind::Access, message).hint(format!(
            "name it by its id, or have the table's owner run: {}",
            grant.sql
        )))
    }

    /// Refuses where this role may not read a column on which access hangs.
    ///
    /// # Errors
    ///
    /// An access failure with the `GRANT`s that would do.
    pub fn check_access_privileges(&self, database: &Database) -> Result<(), Failure> {
        let mut grants = Vec::new();
        for (table, columns) in ACCESS {
            let lacks = |name: &&&str| self.has(table, name) && !self.may_read(table, name);
            let columns: Vec<String> = columns.iter().filter(lacks).copied().map(ident).collect();
            if !columns.is_empty() {
                let role = &database.user;
                grants.push(grant(Privilege::Select, &columns, database, table, role));
            }
        }
        let Some(first) = grants.first() else {
            return Ok(());
        };
        let sql: Vec<&str> = grants.iter().map(|grant| grant.sql.as_str()).collect();
        let (role, table) = (&database.user, first.table);
        let message = format!("role \"{role}\" lacks SELECT on table \"{table}\"");
        let hint = format!("have its owner run: {}", sql.join(" "));
        Err(Failure::new(Kind::Access, message).hint(hint))
    }

    /// Whether the table is here and has the column.
    pub(super) fn has(&self, table: &str, column: &str) -> bool {
        self.column(table, column).is_some()
    }

    /// The least LiteLLM that has migrated this schema.
    #[must_use]
    pub fn release(&self) -> Release {
        release::implied(|table, column| match column {
            None => self.tables.contains_key(table),
            Some(column) => self.has(table, column),
        })
    }

    /// What the tables tell of the LiteLLM beside them.
    #[must_use]
    pub fn regime(&self) -> Regime {
        Regime {
            release: self.release(),
            owners_known: self.unknown_links.is_empty(),
        }
    }

    /// Which ways to derive the id of a config server are in use beside this schema.
    ///
    /// Source: LiteLLM `mcp_server/mcp_server_manager.py`, `_generate_stable_server_id`: 1.77.1 has the
    /// protocol's version in the hash and 1.77.4 has not, and no marker of the schema is closer than
    /// 1.80.0; 1.101.0 brought pinned ids.
    #[must_use]
    pub fn derivation(&self) -> Derivation {
        Derivation {
            may_be_old: self.release() < Release::FAILS_CLOSED,
            pins: self.release() >= Release::PINS_IDS,
        }
    }

    /// Tables that link to permission rows in a way that this tool does not know.
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
                        hint: "point --schema at the schema that holds the table itself: rows behind \
                               it may be hidden, and cannot be locked",
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
                        hint: "give the column the collation that LiteLLM gives it, the database's: \
                               LiteLLM compares texts byte by byte",
                    });
                }
                Oddity::Relation { .. } | Oddity::Collation { .. } | Oddity::ForeignKey(..) => {}
            }
        }
        for (table, name, sql_type, required) in expected {
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

    /// Every column that is read of a table that is here.
    fn columns_read(&self, purpose: Purpose) -> Vec<(&'static str, Vec<&str>)> {
        let mut read = vec![(
            SERVER_TABLE,
            [SERVER_ID].into_iter().chain(SERVER_COLUMNS).collect(),
        )];
        for table in TABLES {
            if self.sites.contains(&table) || *table == PERMISSIONS {
                let mut columns = vec![table.key];
                columns.extend(table.sites.iter().map(|site| site.column));
                columns.dedup();
                if purpose == Purpose::Write && writes_whole_rows(table) {
                    columns = self.columns(table.table);
                }
                read.push((table.table, columns));
            }
        }
        for owner in self.owner_tables() {
            read.push((owner.table, vec![LINK, owner.id, owner.name]));
        }
        let groups = self.sites.contains(&&ACCESS_GROUPS);
        let assigned = ASSIGNED.into_iter().filter(|_| groups);
        for (table, columns) in AROUND.into_iter().chain(assigned) {
            match read.iter_mut().find(|(read, _)| *read == table) {
                Some((_, read)) => {
                    let more: Vec<&str> = columns
                        .iter()
                        .filter(|c| !read.contains(c))
                        .copied()
                        .collect();
                    read.extend(more);
                }
                None => read.push((table, columns.to_vec())),
            }
        }
        read
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
            Kind::Access,
            format!(
                "role \"{}\" lacks {} on table \"{}\"",
                database.user,
                first.privilege.sql(),
                first.table
            ),
        )
        .hint(format!("have its owner run: {}", sql.join(" "))))
    }

    /// The statements that give `role` what `purpose` needs and no more: the columns that are read, and
    /// those that are written. To write, also the other columns of the rows written, which are
    /// compared before the commit, and where this role may see them, signs of config servers.
    #[must_use]
    pub fn grants(&self, database: &Database, purpose: Purpose, role: &str) -> Vec<String> {
        let schema = ident(&database.schema);
        let mut grants = vec![format!(
            "GRANT USAGE ON SCHEMA {schema} TO {};",
            ident(role)
        )];
        let needed = self.grants_where(database, purpose, role, |_, _| true);
        grants.extend(needed.into_iter().map(|grant| grant.sql));
        let clients = (OAUTH_CLIENTS.table, vec![OAUTH_CLIENTS.key]);
        let mut also = vec![clients, (CONFIG.0, vec![CONFIG.1])];
        if purpose == Purpose::Write {
            let beside = |table: &&'static SiteTable| (table.table, self.columns_beside(table));
            let lists = self.sites.iter().filter(|table| table.each().is_none());
            also.extend(lists.map(beside));
        }
        for (table, columns) in also {
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
            let of_table = self.sites.iter().find(|site| site.table == table);
            let mut needed = vec![(Privilege::Select, read)];
            if let Some(table) = of_table.filter(|_| purpose == Purpose::Write) {
                // To lock a whole row takes UPDATE on a column of it.
                needed.push((Privilege::Update, self.written(table)));
                if writes_whole_rows(table) {
                    needed.push((Privilege::Insert, self.columns(table.table)));
                    needed.push((Privilege::Delete, vec![table.key]));
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

    /// Every column of a table.
    fn columns(&self, table: &str) -> Vec<&str> {
        let columns = self.tables.get(table).into_iter();
        columns
            .flat_map(|table| table.columns.keys())
            .map(String::as_str)
            .collect()
    }

    /// The columns of `table` that a repair may write.
    fn written(&self, table: &'static SiteTable) -> Vec<&'static str> {
        let sites = table.sites.iter().filter(|site| site.may_change());
        let mut written: Vec<&str> = sites.map(|site| site.column).collect();
        written.dedup();
        if let Some((at, by)) = self.touched(table) {
            written.extend([at, by]);
        }
        written
    }

    /// A row that row security hides is a server taken for deleted, or a grant never looked at.
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
            Kind::Refused,
            format!(
                "row-level security on \"{table}\" can hide rows from role \"{}\"",
                database.user
            ),
        )
        .hint("use the tables' owner or a role with BYPASSRLS: a hidden server would look deleted"))
    }
}

/// Whether a repair deletes rows of the table.
fn writes_whole_rows(table: &SiteTable) -> bool {
    table.each().is_some() && table.may_change()
}

/// A statement that gives a role something on a table.
struct Grant {
    table: &'static str,
    privilege: Privilege,
    sql: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Privilege {
    Select,
    Update,
    Insert,
    Delete,
}

impl Privilege {
    fn sql(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Update => "UPDATE",
            Self::Insert => "INSERT",
            Self::Delete => "DELETE",
        }
    }
}

fn grant(
    privilege: Privilege,
    columns: &[String],
    database: &Database,
    table: &'static str,
    role: &str,
) -> Grant {
    let columns = match privilege {
        Privilege::Select | Privilege::Update | Privilege::Insert => {
            format!(" ({})", columns.join(", "))
        }
        Privilege::Delete => String::new(),
    };
    let sql = format!(
        "GRANT {}{columns} ON {}.{} TO {};",
        privilege.sql(),
        ident(&database.schema),
        ident(table),
        ident(role)
    );
    Grant {
        table,
        privilege,
        sql,
    }
}

/// What the errors call an answer of the system catalog.
const CATALOG: &str = "the system catalog";

/// Reads a row of the catalog's answer that tells of no column of a table.
fn oddity(row: &PgRow) -> Result<Option<Oddity>, Failure> {
    let Some(schema) = decode::read(row, 0, CATALOG)? else {
        return Ok(None);
    };
    let name: String = decode::read(row, 1, CATALOG)?;
    let column: Option<String> = decode::read(row, 2, CATALOG)?;
    let what: Option<String> = decode::read(row, 3, CATALOG)?;
    let links: Option<bool> = decode::read(row, 4, CATALOG)?;
    Ok(Some(match (column, what) {
        (Some(column), None) => Oddity::ForeignKey(schema, name, column),
        (Some(column), Some(collation)) => Oddity::Collation {
            table: name,
            column,
            collation,
        },
        (None, kind) => Oddity::Relation {
            name,
            kind: kind.unwrap_or_else(|| "no table".to_owned()),
            links: links.unwrap_or(true),
        },
    }))
}

/// How a schema is not as LiteLLM makes it.
enum Unlike {
    /// A table or a required column is not there: it may be another schema.
    Lacks(String),
    /// It is there, and is something else.
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
        Kind::Refused,
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

fn check_usage(may_use: bool, database: &Database) -> Result<(), Failure> {
    if may_use {
        return Ok(());
    }
    Err(Failure::new(
        Kind::Access,
        format!(
            "role \"{}\" lacks USAGE on schema \"{}\"",
            database.user, database.schema
        ),
    )
    .hint(format!(
        "have its owner run: GRANT USAGE ON SCHEMA {} TO {};",
        ident(&database.schema),
        ident(&database.user)
    )))
}
