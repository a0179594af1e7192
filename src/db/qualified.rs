//! Looks for names without a schema in statements, in debug builds alone.
//!
//! This is not a parser: it knows the SQL of this program and refuses anything else.

/// Ends the program if a statement has a name that PostgreSQL would look up in the search path, or
/// syntax that stands for such a name.
///
/// # Panics
///
/// If it finds one. No release build calls it.
pub(crate) fn ensure(sql: &str) {
    let found = unqualified(sql);
    assert!(found.is_none(), "{}: {sql}", found.unwrap_or_default());
}

/// Syntax that calls an operator or a function which PostgreSQL looks up by its name. `USING` is
/// not here, because a `DELETE` has it as well: see `unqualified`.
const STAND_FOR_NAMES: [&str; 13] = [
    "IN", "LIKE", "ILIKE", "SIMILAR", "BETWEEN", "OVERLAPS", "NULLIF", "CAST", "EXTRACT", "AT",
    "NATURAL", "VALUES", "TABLE",
];

/// Words before an opening parenthesis that are no functions.
const BEFORE_PARENTHESIS: [&str; 23] = [
    "ALL",
    "AND",
    "ANY",
    "ARRAY",
    "AS",
    "BY",
    "CASE",
    "DISTINCT",
    "ELSE",
    "EXISTS",
    "FILTER",
    "FROM",
    "JOIN",
    "LATERAL",
    "NOT",
    "ON",
    "OR",
    "RETURNING",
    "ROW",
    "SELECT",
    "THEN",
    "WHEN",
    "WHERE",
];

/// Words that come before the name of a table.
const BEFORE_TABLE: [&str; 5] = ["FROM", "INTO", "JOIN", "UPDATE", "USING"];

/// Words that end a list of tables, or begin one.
const CLAUSES: [&str; 13] = [
    "BEGIN",
    "BY",
    "DELETE",
    "FROM",
    "INSERT",
    "JOIN",
    "LIMIT",
    "ON",
    "RETURNING",
    "SELECT",
    "SET",
    "UPDATE",
    "WHERE",
];

/// Returns what is wrong with the first name that has no schema.
fn unqualified(sql: &str) -> Option<String> {
    let tokens = tokens(sql);
    let queries = named_queries(&tokens);
    let at = |place: usize| tokens.get(place).copied().unwrap_or_default();
    // The clause that the next token is in, of each parenthesis that is open.
    let mut clauses = vec![""];
    for (place, token) in tokens.iter().copied().enumerate() {
        let before = |steps: usize| place.checked_sub(steps).map(at).unwrap_or_default();
        let (previous, next) = (before(1), at(place + 1));
        let is_in_catalog = previous == "." && before(2) == "pg_catalog";
        let clause = clauses.last().copied().unwrap_or_default();
        let wrong = match token {
            "(" => {
                let names_columns = queries.contains(&previous) || before(2) == "AS";
                let has_schema = before(2) == "." && before(3) == "pg_catalog";
                let is_grammar = BEFORE_PARENTHESIS.contains(&previous)
                    || ["OPERATOR", "coalesce"].contains(&previous);
                let called = is_name(previous) && !names_columns && !has_schema && !is_grammar;
                clauses.push("");
                called.then_some("a function")
            }
            ")" => {
                // What it closes may be in a piece of SQL before this one.
                if clauses.len() > 1 {
                    clauses.pop();
                }
                None
            }
            "::" => {
                let is_row_type = next.starts_with('"') && at(place + 2) == ".";
                let is_type = next == "pg_catalog" && at(place + 2) == ".";
                (!is_row_type && !is_type).then_some("a type")
            }
            "COLLATE" => (next != "pg_catalog").then_some("a collation"),
            "CASE" => (next != "WHEN").then_some("an operator"),
            "USING" => (next != "ROWS").then_some("an operator"),
            // The loop of PL/pgSQL.
            "IN" if before(2) == "FOR" => None,
            "DISTINCT" => (next == "FROM").then_some("an operator"),
            word if STAND_FOR_NAMES.contains(&word) => Some("an operator or a function"),
            text if text.starts_with('\'') => text
                .contains('\\')
                .then_some("a text whose backslash means what a setting says"),
            "*" if ["(", ".", "SELECT"].contains(&previous) => None,
            "=" if clause == "SET" => None,
            operator if is_operator(operator) => (!is_in_catalog).then_some("an operator"),
            _ => None,
        };
        let lists_tables = ["FROM", "JOIN"].contains(&clause);
        // PL/pgSQL selects into variables.
        let is_into_variable = token == "INTO" && previous != "INSERT";
        let names_table =
            BEFORE_TABLE.contains(&token) && !is_into_variable || token == "," && lists_tables;
        let is_bare = is_name(next) && at(place + 2) != "." && !queries.contains(&next);
        let is_syntax =
            ["LATERAL", "ROWS", "OF"].contains(&next) || next == "FROM" && token == "ROWS";
        let wrong = wrong.or_else(|| (names_table && is_bare && !is_syntax).then_some("a table"));
        if let Some(wrong) = wrong {
            return Some(format!(
                "{wrong} without its schema at `{previous} {token} {next}`"
            ));
        }
        if let Some(clause) = clauses.last_mut() {
            if CLAUSES.contains(&token) {
                *clause = token;
            } else if token == ";" {
                *clause = "";
            }
        }
    }
    None
}

/// Returns the names of the queries of a `WITH`, which win over every table.
///
/// Source: PostgreSQL 17 manual, "SELECT", "WITH Clause".
fn named_queries<'t>(tokens: &[&'t str]) -> Vec<&'t str> {
    let mut names = Vec::new();
    if tokens.first() != Some(&"WITH") {
        return names;
    }
    let mut depth = 0_usize;
    for pair in tokens.windows(2) {
        match pair[0] {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            "SELECT" if depth == 0 => break,
            "WITH" | "RECURSIVE" | "," if depth == 0 && pair[1] != "RECURSIVE" => {
                names.push(pair[1]);
            }
            _ => {}
        }
    }
    names
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '"')
}

fn is_operator(token: &str) -> bool {
    token.starts_with(|c: char| "+-*/<>=~!@#%^&|`?".contains(c))
}

/// Cuts a statement into words, quoted names, texts, operators and single characters. Leaves out
/// comments that end with their line.
fn tokens(sql: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = sql.trim_start();
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("--") {
            let end = rest.find('\n').unwrap_or(rest.len());
            rest = rest[end..].trim_start();
            continue;
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
        let while_all =
            |is: &dyn Fn(char) -> bool| rest.find(|c: char| !is(c)).unwrap_or(rest.len());
        let length = match first {
            quote @ ('\'' | '"') => quoted(rest, quote),
            ':' if rest.starts_with("::") || rest.starts_with(":=") => 2,
            c if is_word(c) => while_all(&is_word),
            c if is_operator(c.encode_utf8(&mut [0; 4])) => {
                while_all(&|c| is_operator(c.encode_utf8(&mut [0; 4])))
            }
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

/// Returns the length of what is quoted; a doubled quote is part of it.
fn quoted(text: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(end) = text[at..].find(quote) {
        at += end + 1;
        if !text[at..].starts_with(quote) {
            return at;
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_name_without_its_schema_is_found() {
        for (sql, wrong) in [
            ("SELECT version()", "a function"),
            ("SELECT public.version()", "a function"),
            (r#"SELECT "version"()"#, "a function"),
            (
                "SELECT count(*) FROM pg_catalog.pg_class AS c",
                "a function",
            ),
            ("SELECT 1 = 1", "an operator"),
            ("SELECT a.b -> 'c' FROM s.t AS a", "an operator"),
            ("SELECT 1 OPERATOR(=) 1", "an operator"),
            ("SELECT 1 OPERATOR(public.=) 1", "an operator"),
            ("SELECT 2 * 2", "an operator"),
            ("SELECT '1'::int", "a type"),
            ("SELECT '1'::public.int", "a type"),
            ("SELECT FROM t", "a table"),
            (r#"SELECT FROM "LiteLLM_Config" AS c"#, "a table"),
            (r"SELECT FROM s.t AS t, u AS u", "a table"),
            (r"SELECT FROM s.t AS t JOIN u AS u ON true", "a table"),
            (r"SELECT FROM (SELECT 1) AS t, u AS u", "a table"),
            (r#"UPDATE "T" SET a = 1"#, "a table"),
            (r#"INSERT INTO "T" AS t SELECT 1"#, "a table"),
            (r#"DELETE FROM "T" AS t"#, "a table"),
            (r"DELETE FROM s.t AS t USING u AS u", "an operator"),
            (
                r"SELECT FROM s.t AS t JOIN s.u AS u USING (a)",
                "an operator",
            ),
            (r"UPDATE s.t SET a = 1 WHERE b = 2", "an operator"),
            (r#"SELECT FROM s.t ORDER BY a COLLATE "C""#, "a collation"),
            ("SELECT 1 IN (1)", "an operator"),
            ("SELECT 'a' LIKE 'b'", "an operator"),
            ("SELECT 1 BETWEEN 0 AND 2", "an operator"),
            ("SELECT 1 IS DISTINCT FROM 2", "an operator"),
            ("SELECT CASE 1 WHEN 2 THEN 3 END", "an operator"),
            (r"SELECT 'a\b'", "a text"),
            ("-- A comment's\nSELECT 1 = 1", "an operator"),
            ("IF a.b = c THEN", "an operator"),
            ("SELECT a.b INTO c FROM t", "a table"),
            ("PERFORM 1 FROM s.t; INSERT INTO t", "a table"),
        ] {
            let found = unqualified(sql);
            assert!(
                found.as_ref().is_some_and(|found| found.starts_with(wrong)),
                "{sql}: {found:?}"
            );
        }
    }

    #[test]
    fn what_needs_no_schema_is_let_through() {
        for sql in [
            "SELECT 'count(x) = ''1''', \"a b\".\"c(\"\"\" FROM s.t AS t (\"a b\", b)",
            r#"UPDATE "s"."t" AS t SET a = 1, "b" = pg_catalog.now() WHERE c OPERATOR(pg_catalog.=) $1"#,
            "SELECT pg_catalog.count(*), t.* FROM s.t AS t, LATERAL (SELECT 1) AS u (b)",
            r#"SELECT NULL::"s"."t", ARRAY['']::pg_catalog.text[], ROW(1), EXISTS (SELECT FROM s.t)"#,
            "SELECT FROM s.t AS t FOR UPDATE OF t NOWAIT",
            "WITH RECURSIVE a (b) AS (SELECT 1 UNION SELECT FROM a), c AS (SELECT 2) SELECT FROM a, c AS d",
            "SELECT FROM ROWS FROM (pg_catalog.unnest($1)) AS t (a)",
            "-- A comment's = sign\nFOR a IN SELECT b.c FROM s.t AS b LOOP d := a.c; END LOOP",
            "SELECT a.b INTO c FROM s.t AS a; RAISE NOTICE '%, %', c, d;",
        ] {
            assert_eq!(unqualified(sql), None, "{sql}");
        }
    }

    /// Finds calls of sqlx with a statement that did not go through `statement_in`, which checks
    /// it.
    #[test]
    fn no_statement_goes_past_the_check() {
        let mut looked_at = 0;
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.to_str().unwrap();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                // The script of an operator goes to a server of its own; this file is about it.
                if name.contains("embedded")
                    || name.ends_with("db/sql.rs")
                    || name.ends_with(file!())
                {
                    continue;
                }
                let source = std::fs::read_to_string(&path).unwrap();
                let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
                assert!(!source.contains("AssertSqlSafe("), "{name}");
                for call in ["query(", "query_as(", "query_scalar(", "raw_sql("] {
                    for (at, _) in source.match_indices(&format!("sqlx::{call}")) {
                        let argument = &source[at + "sqlx::".len() + call.len()..];
                        let argument = argument.trim_start();
                        let is_checked = [
                            "sql)",
                            "sql(",
                            "statement(",
                            "statement_in(",
                            "schema.statement(",
                            "self.schema.statement(",
                        ];
                        assert!(
                            is_checked.iter().any(|door| argument.starts_with(door)),
                            "{name}: {}",
                            &argument[..40]
                        );
                        looked_at += 1;
                    }
                }
            }
        }
        assert!(looked_at > 10, "{looked_at}");
    }
}
