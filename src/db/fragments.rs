//! Pieces of SQL that several statements are made of: a site as a value, as a path, as JSON text.

use crate::db::schema::Schema;
use crate::db::sql::{RARE, ident};
use crate::litellm::reference_sites::{Shape, Site};

/// Returns the SQL of a column, or `otherwise` if this database does not have the column.
pub(crate) fn column_or(schema: &Schema, table: &str, column: &str, otherwise: &str) -> String {
    if schema.has(table, column) {
        ident(column)
    } else {
        otherwise.to_owned()
    }
}

/// Returns the SQL that yields a `text[]` column without its NULL elements, or an empty array if
/// this database does not have the column.
pub(crate) fn texts_or_none(schema: &Schema, table: &str, column: &str) -> String {
    let column = column_or(schema, table, column, "'{}'::pg_catalog.text[]");
    format!(
        "ARRAY(SELECT e.element FROM pg_catalog.unnest({column}) AS e (element)
               WHERE e.element IS NOT NULL)"
    )
}

/// Returns the SQL of a site of the table aliased `t`: its column, or the value at its path.
pub(crate) fn value(site: &Site) -> String {
    let column = ident(site.column);
    if site.path.is_empty() {
        format!("t.{column}")
    } else {
        format!("(t.{column} {{#>}} {})", path(site))
    }
}

/// Returns the SQL of a text without the collation of its column, for a comparison with a column of
/// another table.
///
/// Two columns with different collations cannot be compared, and `COLLATE` would decide for one
/// that the other column's index may not have. A text that comes out of a function without text
/// arguments has no collation of its own, so the other column's is taken.
///
/// Source: PostgreSQL 17 manual, section 23.2.1, "Concepts" of collations.
pub(crate) fn uncollated(text: &str) -> String {
    format!("pg_catalog.textin(pg_catalog.textout({text}))")
}

/// Returns the SQL that tells whether a text is one of the elements of `array`, the SQL of an array
/// that may be long, where no index helps. The text is looked up by its hash, in parallel workers
/// too.
///
/// PostgreSQL 12 and 13 compare a text with each element of an array. They hash the rows of a
/// subquery, if they expect few: see [`RARE`].
pub(crate) fn is_among(schema: &Schema, text: &str, array: &str) -> String {
    if schema.hashes_arrays() {
        return format!("{text} {{=}} ANY ({array})");
    }
    let rare = RARE.replace("{never}", "m.element IS NULL");
    format!(
        "{text} {{=}} ANY (SELECT m.element FROM pg_catalog.unnest({array})
                           AS m (element) WHERE {rare})"
    )
}

/// Returns the SQL that tells whether a key's token, its primary key, is stored as a hash.
///
/// A pattern that also counts the 64 digits takes ten times as long, 5 microseconds a key.
pub(crate) fn is_hash(token: &str) -> String {
    format!("(pg_catalog.length({token}) {{=}} 64 AND {token} {{~}} '^[0-9a-f]*$')")
}

/// Returns the SQL of a key's token as reports show it, as `api_key::shown_prefix` makes it.
pub(crate) fn shown_token(token: &str) -> String {
    first_digits(token, 8)
}

/// Returns the SQL of the first digits of a token's hash. A token that is stored unhashed is hashed
/// first, so that not even a prefix of it is shown.
pub(crate) fn first_digits(token: &str, digits: u8) -> String {
    let is_hash = is_hash(token);
    format!(
        "CASE WHEN {is_hash} THEN pg_catalog.left({token}, {digits})
              ELSE pg_catalog.left(
                  pg_catalog.encode(
                      pg_catalog.sha256(pg_catalog.convert_to({token}, 'UTF8')), 'hex'),
                  {digits}) END"
    )
}

/// Returns the path of a site as an SQL literal. Its elements are constants of this program.
pub(crate) fn path(site: &Site) -> String {
    format!("'{{{}}}'", site.path.join(","))
}

/// The SQL of the references in an array of tools, as a JSON array.
pub(crate) const TOOL_IDS: &str = r#"
pg_catalog.jsonb_path_query_array(
    {value}, 'strict $[*] ? (@.type() == "object").server_id ? (@.type() == "string")', '{}', true)"#;

/// Returns the SQL that tells whether a site of the table aliased `t` names any of `references`, an
/// SQL expression of type `text[]`.
pub(crate) fn names_any(site: &Site, references: &str) -> String {
    let value = value(site);
    match site.shape {
        Shape::TextArray => format!("{value} {{&&}} {references}"),
        Shape::JsonArray | Shape::JsonKeys => format!("{value} {{?|}} {references}"),
        Shape::JsonTools => {
            format!(
                "{} {{?|}} {references}",
                TOOL_IDS.replace("{value}", &value)
            )
        }
    }
}

/// Returns the SQL of a site of the table aliased `t`, as JSON text.
pub(crate) fn json_text(site: &Site) -> String {
    match site.shape {
        Shape::TextArray => format!("pg_catalog.to_jsonb({})::pg_catalog.text", value(site)),
        Shape::JsonArray | Shape::JsonKeys | Shape::JsonTools => {
            format!("{}::pg_catalog.text", value(site))
        }
    }
}
