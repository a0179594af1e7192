//! Finds relations that are not the tables that LiteLLM makes: views, materialized views, foreign
//! tables, and columns whose collation takes different texts for equal.
//!
//! The rows of a view may be hidden, and cannot be locked. If an owner were hidden, a permission
//! row would look as if nobody had it.

// Appended to the statement that reads the columns.
//
// A view that selects the link column is one of LiteLLM's own (`LiteLLM_VerificationTokenView`
// selects all of the keys) if every link that it reads is from a relation in the same schema, which
// is checked itself. Any other view may hold links that are seen nowhere else, and so may a foreign
// table.
//
// `collisdeterministic` came with PostgreSQL 12; JSON has no such key before and yields NULL.
pub(crate) const OTHER_RELATIONS: &str = r#"
UNION ALL
SELECT 'relation', n.nspname::pg_catalog.text, c.relname::pg_catalog.text, NULL,
       CASE WHEN c.relkind {=} 'v' THEN 'a view' WHEN c.relkind {=} 'm'
            THEN 'a materialized view' ELSE 'a foreign table' END,
       l.has_link AND (c.relkind {=} 'f' OR coalesce((
           SELECT NOT pg_catalog.bool_and(b.relnamespace {=} c.relnamespace)
           FROM pg_catalog.pg_rewrite AS r
           JOIN pg_catalog.pg_depend AS d
                ON d.classid {=} 'pg_catalog.pg_rewrite'::pg_catalog.regclass
                AND d.objid {=} r.oid
                AND d.refclassid {=} 'pg_catalog.pg_class'::pg_catalog.regclass
           JOIN pg_catalog.pg_class AS b ON b.oid {=} d.refobjid
           JOIN pg_catalog.pg_attribute AS ba
                ON ba.attrelid {=} b.oid
                AND ba.attnum {=} d.refobjsubid
           WHERE r.ev_class {=} c.oid
                 AND b.oid {<>} c.oid
                 AND ba.attname {=} {link}), true)),
       NULL, NULL, NULL, NULL, NULL, NULL
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid {=} c.relnamespace
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
                   WHERE a.attrelid {=} c.oid AND NOT a.attisdropped
                         AND a.attname {=} {link})) AS l (has_link)
WHERE n.nspname {=} {named_schema}
      AND c.relkind {=} ANY (ARRAY['v', 'm', 'f']::pg_catalog."char"[])
      AND (c.relname {=} ANY ({known}) OR l.has_link)
UNION ALL
SELECT 'collation', n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
       a.attname::pg_catalog.text, co.collname::pg_catalog.text,
       NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid {=} c.relnamespace
JOIN pg_catalog.pg_attribute AS a
     ON a.attrelid {=} c.oid AND a.attnum {>} 0
     AND NOT a.attisdropped
JOIN pg_catalog.pg_collation AS co ON co.oid {=} a.attcollation
WHERE n.nspname {=} {named_schema} AND c.relname {=} ANY ({known})
      AND co.collprovider {=} 'i'
      AND (pg_catalog.to_jsonb(co) {->>} 'collisdeterministic')
          {=} 'false'"#;

/// A fact of the system catalog that is not about a column of a table.
#[derive(Debug)]
pub(crate) enum Oddity {
    /// A foreign key that leads from this schema, table and column to permission rows.
    ForeignKey(String, String, String),
    /// A relation that is not a table.
    Relation {
        /// Its name.
        name: String,
        /// What it is, with its article.
        kind: String,
        /// Whether it may link to permission rows without anything else showing that.
        links: bool,
    },
    /// A column whose collation takes different texts for equal.
    Collation {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The collation.
        collation: String,
    },
}
