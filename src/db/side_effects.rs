//! Reads what a database does by itself when rows are written: triggers, rules and generated
//! columns.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

use crate::db::decode;
use crate::db::errors::failed;
use crate::db::schema::{NAMED_SCHEMA, Schema};
use crate::db::sql::constants;
use crate::error::Failure;
use crate::litellm::reference_sites::{ScannedTable, TABLES};

// The row triggers of a partition or child table fire too, besides those of the named table.
// `session_replication_role` decides which triggers and rules are on at all.
//
// Bits of tgtype: 4 INSERT, 8 DELETE, 16 UPDATE. Types of a rule: 2 UPDATE, 3 INSERT, 4 DELETE.
// `attgenerated` came with PostgreSQL 12; JSON has no such key before and yields NULL.
//
// Source: PostgreSQL 17 manual, "System Catalogs", "pg_trigger" and "pg_rewrite"; `pg_trigger.h`.
const SIDE_EFFECTS: &str = r#"
WITH RECURSIVE family (root, oid, is_root) AS (
    SELECT c.relname, c.oid, true
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid {=} c.relnamespace
    WHERE n.nspname {=} {named_schema} AND c.relname {=} ANY ({tables})
          AND c.relkind {=} ANY (ARRAY['r', 'p']::pg_catalog."char"[])
    UNION
    SELECT f.root, i.inhrelid, false
    FROM family AS f
    JOIN pg_catalog.pg_inherits AS i ON i.inhparent {=} f.oid),
replication (enabled) AS (
    SELECT CASE WHEN pg_catalog.current_setting('session_replication_role')
                     {=} 'replica'
                THEN ARRAY['A', 'R'] ELSE ARRAY['A', 'O'] END::pg_catalog."char"[])
SELECT f.root::pg_catalog.text, 'trigger', t.tgname::pg_catalog.text
FROM family AS f
JOIN pg_catalog.pg_trigger AS t ON t.tgrelid {=} f.oid
CROSS JOIN replication AS s
WHERE NOT t.tgisinternal AND t.tgenabled {=} ANY (s.enabled)
      AND CASE WHEN f.root {=} ANY ({whole})
               THEN (t.tgtype::pg_catalog.int4 {&} 12) {<>} 0
               ELSE (t.tgtype::pg_catalog.int4 {&} 16) {<>} 0
                    AND (t.tgattr::pg_catalog.text {=} '' OR EXISTS (
                        SELECT FROM pg_catalog.pg_attribute AS a
                        WHERE a.attrelid {=} t.tgrelid
                              AND a.attnum {=} ANY (t.tgattr)
                              AND a.attname {=} ANY ({columns}))) END
UNION
SELECT f.root::pg_catalog.text, 'rule', r.rulename::pg_catalog.text
FROM family AS f
JOIN pg_catalog.pg_rewrite AS r ON r.ev_class {=} f.oid
CROSS JOIN replication AS s
WHERE f.is_root AND r.ev_enabled {=} ANY (s.enabled)
      AND r.ev_type {=} ANY (
          CASE WHEN f.root {=} ANY ({whole})
               THEN ARRAY['3', '4'] ELSE ARRAY['2'] END::pg_catalog."char"[])
UNION
SELECT f.root::pg_catalog.text, 'generated', a.attname::pg_catalog.text
FROM family AS f
JOIN pg_catalog.pg_attribute AS a ON a.attrelid {=} f.oid
WHERE f.is_root AND a.attnum {>} 0 AND a.atthasdef
      AND (pg_catalog.to_jsonb(a) {->>} 'attgenerated')
          {<>} ''
ORDER BY 1, 2 DESC, 3"#;

/// The triggers and rules that act on what a repair writes, and the generated columns beside it.
#[derive(Debug, Default)]
pub(crate) struct SideEffects {
    /// The triggers and rules of each table: `trigger "touch"`, `rule "mirror"`.
    acting: BTreeMap<String, Vec<String>>,
    /// The columns that the server itself computes, each with its table.
    generated: BTreeSet<(String, String)>,
}

impl SideEffects {
    /// Looks up what acts on the tables that a repair writes.
    ///
    /// Call it once these tables are locked for writing: nobody can add a trigger then, because
    /// that takes a stronger lock.
    ///
    /// # Errors
    ///
    /// What the server said.
    pub(crate) async fn read(
        connection: &mut PgConnection,
        schema: &Schema,
    ) -> Result<Self, Failure> {
        let (mut tables, mut whole, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        for table in TABLES.into_iter().filter(|table| table.may_change()) {
            match table {
                ScannedTable::References(table) => {
                    columns.extend(table.touched.into_iter().flat_map(|(at, by)| [at, by]));
                }
                ScannedTable::Credentials(_) if schema.site_tables().contains(&table) => {
                    whole.push(table.name());
                }
                ScannedTable::Credentials(_) => continue,
            }
            tables.push(table.name());
            columns.extend(table.columns());
        }
        let fragments = [
            ("{named_schema}", NAMED_SCHEMA.to_owned()),
            ("{tables}", constants(tables)),
            ("{whole}", constants(whole)),
            ("{columns}", constants(columns)),
        ];
        let rows = sqlx::raw_sql(schema.statement(SIDE_EFFECTS, &fragments))
            .fetch_all(connection)
            .await
            .map_err(failed("look up triggers and rules"))?;
        let mut found = Self::default();
        for row in &rows {
            let told = |at| decode::read(row, at, "the name of a trigger or rule");
            let (table, kind, name): (String, String, String) = (told(0)?, told(1)?, told(2)?);
            if kind == "generated" {
                found.generated.insert((table, name));
            } else {
                let acting = found.acting.entry(table).or_default();
                acting.push(format!("{kind} \"{name}\""));
            }
        }
        Ok(found)
    }

    /// Tells whether no trigger or rule acts on what is written.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.acting.is_empty()
    }

    /// Tells whether the server itself computes the column.
    pub(crate) fn is_generated(&self, table: &str, column: &str) -> bool {
        let column = (table.to_owned(), column.to_owned());
        self.generated.contains(&column)
    }

    /// Names the triggers and rules of each table, such as
    /// `trigger "touch", rule "mirror" on "LiteLLM_AccessGroupTable"`.
    #[must_use]
    pub(crate) fn names(&self) -> String {
        let by_table = self.acting.iter();
        let by_table =
            by_table.map(|(table, names)| format!("{} on \"{table}\"", names.join(", ")));
        by_table.collect::<Vec<_>>().join("; ")
    }
}
