//! Judges what a statement of a dump is about, and what is lost if it fails.
//!
//! A dump of a whole database has other applications' tables besides LiteLLM's. They may need
//! extensions, ICU or languages, which this server lacks; such statements are left out. Nothing
//! that this program reads is ever left out, because a missing row, column or link would make a
//! wrong verdict.

use crate::db::schema::CONFIG;
use crate::litellm::owners::{LINK, OWNER_TABLES};
use crate::litellm::reference_sites::TABLES;
use crate::litellm::release::MARKERS;
use crate::litellm::server::SERVER_TABLE;

/// A part of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    /// A key word, a number or a name without quotes, in lower case.
    Word(String),
    /// A name in quotes.
    Quoted(String),
    /// A string constant, as it is written between its quotes.
    Text(&'a str),
    /// Anything else but white space.
    Symbol(char),
}

impl Token<'_> {
    fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(found) if found == word)
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Word(name) | Self::Quoted(name) => Some(name),
            Self::Text(_) | Self::Symbol(_) => None,
        }
    }
}

/// The loss if a statement is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing: the database is already as the statement wants it, or only a setting differs.
    Nothing,
    /// Something that this program does not read.
    Unread,
    /// Something that this program reads, or something unknown.
    Read,
}

/// Tells whether this program reads rows of the table, or whether the table is a schema marker.
pub(crate) fn is_read(table: &str) -> bool {
    table == SERVER_TABLE
        || table == CONFIG.0
        || OWNER_TABLES.iter().any(|owner| owner.table == table)
        || TABLES.iter().any(|known| known.name() == table)
        || MARKERS.iter().any(|marker| marker.table == table)
}

/// Tells whether an encoding needs no conversion: UTF-8, and `SQL_ASCII`, of which every byte is
/// checked as UTF-8.
pub(crate) fn is_utf8(encoding: &str) -> bool {
    let name: String = encoding
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    ["UTF8", "UNICODE", "SQLASCII", "DEFAULT"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// Returns the encoding that a statement declares for the following text.
pub(crate) fn changed_client_encoding(sql: &str) -> Option<String> {
    let mut tokens = Tokens(sql);
    if !tokens.next()?.is("set") {
        return None;
    }
    let mut setting = tokens.next()?;
    while setting.is("session") || setting.is("local") {
        setting = tokens.next()?;
    }
    if !setting.is("names") && !setting.is("client_encoding") {
        return None;
    }
    let mut value = tokens.next();
    while matches!(&value, Some(Token::Symbol('='))) || value.as_ref().is_some_and(|v| v.is("to")) {
        value = tokens.next();
    }
    match value? {
        Token::Text(text) => Some(text.to_owned()),
        Token::Word(word) | Token::Quoted(word) => Some(word),
        Token::Symbol(_) => None,
    }
}

/// Tells whether a statement is about roles, their rights and property, or about a whole server or
/// database. Nobody needs that here: only this process connects to the embedded server, as
/// superuser.
pub(crate) fn is_for_nobody(sql: &str) -> bool {
    const CLUSTER: [&str; 5] = ["role", "user", "group", "tablespace", "database"];
    let first: Vec<Token> = Tokens(sql).take(4).collect();
    let is = |at: usize, words: &[&str]| {
        first
            .get(at)
            .is_some_and(|token| words.iter().any(|word| token.is(word)))
    };
    if is(0, &["grant", "revoke"]) {
        return true;
    }
    if is(0, &["set", "reset"]) {
        let at = usize::from(is(1, &["session", "local"]));
        return is(1, &["role"]) || is(at + 1, &["role", "authorization"]);
    }
    if is(0, &["comment"]) || (is(0, &["security"]) && is(1, &["label"])) {
        return Tokens(sql)
            .skip_while(|token| !token.is("on"))
            .nth(1)
            .is_some_and(|kind| CLUSTER.iter().any(|word| kind.is(word)));
    }
    if is(0, &["create", "alter", "drop"]) && is(1, &CLUSTER) {
        return !is(2, &["mapping"]);
    }
    if !is(0, &["alter"]) {
        return false;
    }
    if is(1, &["default"]) && is(2, &["privileges"]) {
        return true;
    }
    let tokens: Vec<Token> = Tokens(sql).collect();
    // Another action of the same statement may add a column.
    is_single(&tokens)
        && tokens
            .windows(2)
            .any(|pair| pair[0].is("owner") && pair[1].is("to"))
}

/// Judges what is lost when the server refuses a statement with an SQLSTATE.
///
/// It knows the statements that `pg_dump` writes. The effect of any other is unknown.
///
/// Source: PostgreSQL 17, `src/bin/pg_dump/pg_dump.c`; its manual, appendix A, "PostgreSQL Error
/// Codes".
pub(crate) fn loss(sql: &str, state: &str) -> Loss {
    let tokens: Vec<Token> = Tokens(sql).collect();
    let is_missing = matches!(state, "42P01" | "42704" | "42883" | "3F000");
    let Some((first, rest)) = tokens.split_first() else {
        return Loss::Nothing;
    };
    let Token::Word(first) = first else {
        return Loss::Read;
    };
    match first.as_str() {
        // `pg_dump --clean` drops everything first, and here the database is empty already.
        "drop" if is_missing => Loss::Nothing,
        "set" => match (state, rest.first()) {
            // A setting of another release, or a tablespace or access method that is not here.
            ("42704", _) => Loss::Nothing,
            (_, Some(setting))
                if setting.is("default_tablespace")
                    || setting.is("default_table_access_method") =>
            {
                Loss::Nothing
            }
            _ => Loss::Read,
        },
        "create" => loss_of_creation(rest, state),
        "alter" => loss_of_change(rest, is_missing),
        "comment" => match rest {
            [on, kind, ..] if on.is("on") && kind.is("extension") => Loss::Nothing,
            _ => Loss::Unread,
        },
        "security" => Loss::Unread,
        "copy" => loss_of(name(rest)),
        "insert" => loss_of(name(after(rest, &["into"]))),
        "refresh" => loss_of(name(after(rest, &["materialized", "view", "concurrently"]))),
        "select" => {
            let function = name(rest).unwrap_or_default();
            if function == "setval" || function.starts_with("lo_") {
                Loss::Unread
            } else {
                Loss::Read
            }
        }
        _ => Loss::Read,
    }
}

fn loss_of_creation(rest: &[Token], state: &str) -> Loss {
    let rest = after(
        rest,
        &[
            "or",
            "replace",
            "global",
            "local",
            "temporary",
            "temp",
            "unlogged",
            "recursive",
            "materialized",
            "unique",
            "constraint",
            "trusted",
            "procedural",
            "default",
        ],
    );
    let Some((kind, mut rest)) = rest.split_first() else {
        return Loss::Read;
    };
    let Token::Word(kind) = kind else {
        return Loss::Read;
    };
    let mut kind = kind.as_str();
    if kind == "foreign" && rest.first().is_some_and(|next| next.is("table")) {
        kind = "table";
        rest = &rest[1..];
    }
    let named = name(after(rest, &["if", "not", "exists"]));
    match kind {
        // The schema `public` exists already.
        "schema" if state == "42P06" => Loss::Nothing,
        // This server has no extensions. A table that needs one fails by itself.
        "extension" => Loss::Nothing,
        "table" => {
            let is_new_of_litellm = named.is_some_and(|name| name.starts_with("LiteLLM_"));
            let may_name_servers = rest
                .iter()
                .filter_map(Token::name)
                .any(|name| name.to_ascii_lowercase().contains("mcp"));
            if is_new_of_litellm && may_name_servers {
                Loss::Read
            } else {
                loss_of_mentioned(rest)
            }
        }
        "view" | "sequence" => loss_of(named),
        "rule" => loss_of_mentioned(rest),
        // None of them holds rows, and anything that needs one fails by itself.
        "access" | "aggregate" | "cast" | "collation" | "conversion" | "domain" | "event"
        | "foreign" | "function" | "index" | "language" | "operator" | "policy" | "procedure"
        | "publication" | "schema" | "server" | "statistics" | "subscription" | "text"
        | "transform" | "trigger" | "type" | "user" => Loss::Unread,
        _ => Loss::Read,
    }
}

fn loss_of_change(rest: &[Token], is_missing: bool) -> Loss {
    let rest = after(rest, &["foreign", "materialized"]);
    let Some((Token::Word(kind), rest)) = rest.split_first() else {
        return Loss::Read;
    };
    match kind.as_str() {
        "table" => loss_of_table_change(after(rest, &["if", "exists", "only"]), is_missing),
        "view" | "sequence" => loss_of(name(after(rest, &["if", "exists"]))),
        "aggregate" | "collation" | "conversion" | "data" | "domain" | "event" | "extension"
        | "function" | "index" | "language" | "operator" | "policy" | "procedure"
        | "publication" | "server" | "statistics" | "subscription" | "text" | "trigger"
        | "type" => Loss::Unread,
        _ => Loss::Read,
    }
}

/// Judges an `ALTER TABLE`, of which `rest` begins with the table's name.
fn loss_of_table_change(rest: &[Token], is_missing: bool) -> Loss {
    let table = name(rest);
    let Some(action) = rest.get(name_length(rest)..).filter(|_| is_single(rest)) else {
        return Loss::Read;
    };
    let words: Vec<&str> = action.iter().take(5).filter_map(Token::name).collect();
    let takes_away = matches!(
        words.as_slice(),
        ["drop" | "detach", ..] | ["alter", "column", _, "drop", ..] | ["alter", _, "drop", ..]
    );
    if takes_away && is_missing {
        return Loss::Nothing;
    }
    if !table.is_some_and(is_read) {
        return loss_of_mentioned(rest);
    }
    match words.as_slice() {
        // These change how rows are stored and which triggers fire, but not what rows hold.
        ["cluster" | "replica" | "enable" | "disable" | "force", ..]
        | [
            "alter",
            "column",
            _,
            "set",
            "storage" | "compression" | "statistics",
        ]
        | [
            "alter",
            _,
            "set",
            "storage" | "compression" | "statistics",
            ..,
        ] => Loss::Unread,
        ["add", ..] => loss_of_constraint(action),
        _ => Loss::Read,
    }
}

/// Judges what is added to a table that is read. Without a foreign key to a permission row its
/// owner would be hidden; a foreign key to a table that is not read does not matter.
fn loss_of_constraint(action: &[Token]) -> Loss {
    let is_foreign_key = action
        .windows(2)
        .any(|pair| pair[0].is("foreign") && pair[1].is("key"));
    if is_foreign_key {
        loss_of_mentioned(action)
    } else {
        Loss::Read
    }
}

/// Judges by the name of the table alone; without a name the loss is unknown.
fn loss_of(table: Option<&str>) -> Loss {
    match table {
        Some(table) if !is_read(table) => Loss::Unread,
        Some(_) | None => Loss::Read,
    }
}

/// Judges by all names in a statement, because a link to permission rows is read from any table.
fn loss_of_mentioned(tokens: &[Token]) -> Loss {
    let mut names = tokens.iter().filter_map(Token::name);
    if names.any(|name| name == LINK || is_read(name)) {
        Loss::Read
    } else {
        Loss::Unread
    }
}

/// Skips any of `words`.
fn after<'t, 'a>(tokens: &'t [Token<'a>], words: &[&str]) -> &'t [Token<'a>] {
    let skipped = tokens
        .iter()
        .take_while(|token| words.iter().any(|word| token.is(word)))
        .count();
    &tokens[skipped..]
}

/// Counts the tokens of the name, with its schema, that `tokens` begin with.
fn name_length(tokens: &[Token]) -> usize {
    let mut length = usize::from(tokens.first().is_some_and(|token| token.name().is_some()));
    while let [Token::Symbol('.'), part, ..] = tokens.get(length..).unwrap_or_default() {
        if part.name().is_none() {
            break;
        }
        length += 2;
    }
    length
}

/// Returns the last part of the name that `tokens` begin with.
fn name<'t>(tokens: &'t [Token]) -> Option<&'t str> {
    tokens[..name_length(tokens)].last()?.name()
}

/// Tells whether there is no comma outside of parentheses.
fn is_single(tokens: &[Token]) -> bool {
    let mut depth = 0_usize;
    for token in tokens {
        match token {
            Token::Symbol('(' | '[') => depth += 1,
            Token::Symbol(')' | ']') => depth = depth.saturating_sub(1),
            Token::Symbol(',') if depth == 0 => return false,
            Token::Symbol(_) | Token::Word(_) | Token::Quoted(_) | Token::Text(_) => {}
        }
    }
    true
}

/// The tokens of a statement without comments.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.0 = self.0.trim_start();
        let first = self.0.chars().next()?;
        match first {
            '\'' => Some(self.text(Backslash::Plain)),
            'e' | 'E' if self.0[1..].starts_with('\'') => {
                self.0 = &self.0[1..];
                Some(self.text(Backslash::Escapes))
            }
            '"' => Some(self.quoted()),
            '$' => Some(self.dollars()),
            c if is_word(c) => {
                let end = self.0.find(|c| !is_word(c)).unwrap_or(self.0.len());
                let (word, rest) = self.0.split_at(end);
                self.0 = rest;
                Some(Token::Word(word.to_ascii_lowercase()))
            }
            c => {
                self.0 = &self.0[c.len_utf8()..];
                Some(Token::Symbol(c))
            }
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii()
}

/// What a backslash does in a string constant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backslash {
    /// It is a character like any other: `'...'`.
    Plain,
    /// It escapes the next character: `E'...'`.
    Escapes,
}

impl<'a> Tokens<'a> {
    /// Takes a string constant; if it has no end, it ends with the statement.
    fn text(&mut self, backslash: Backslash) -> Token<'a> {
        let body = &self.0[1..];
        let mut end = body.len();
        let mut is_escaped = false;
        let mut bytes = body.bytes().enumerate().peekable();
        while let Some((at, byte)) = bytes.next() {
            if is_escaped {
                is_escaped = false;
            } else if byte == b'\\' && backslash == Backslash::Escapes {
                is_escaped = true;
            } else if byte == b'\'' && bytes.next_if(|(_, next)| *next == b'\'').is_none() {
                end = at;
                break;
            }
        }
        self.0 = body.get(end + 1..).unwrap_or_default();
        Token::Text(&body[..end])
    }

    fn quoted(&mut self) -> Token<'a> {
        let mut name = String::new();
        let mut rest = &self.0[1..];
        loop {
            let end = rest.find('"').unwrap_or(rest.len());
            name.push_str(&rest[..end]);
            rest = rest.get(end + 1..).unwrap_or_default();
            let Some(after) = rest.strip_prefix('"') else {
                break;
            };
            name.push('"');
            rest = after;
        }
        self.0 = rest;
        Token::Quoted(name)
    }

    /// Takes a string between `$tag$`, or the dollar sign of a parameter.
    fn dollars(&mut self) -> Token<'a> {
        let Some(end) = self.0[1..].find('$').map(|at| at + 2) else {
            self.0 = &self.0[1..];
            return Token::Symbol('$');
        };
        let (delimiter, body) = self.0.split_at(end);
        let end = body.find(delimiter).unwrap_or(body.len());
        self.0 = body.get(end + delimiter.len()..).unwrap_or_default();
        Token::Text(&body[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_that_follows_is_read_in_every_spelling() {
        for (sql, encoding) in [
            ("SET client_encoding = 'LATIN1'", Some("LATIN1")),
            ("set session CLIENT_ENCODING to 'latin1'", Some("latin1")),
            ("SET NAMES 'SJIS'", Some("SJIS")),
            ("SET client_encoding = \"EUC_JP\"", Some("EUC_JP")),
            ("SET client_encoding = SQL_ASCII", Some("sql_ascii")),
            ("SET search_path = 'client_encoding'", None),
            ("SELECT 1", None),
            ("SET", None),
        ] {
            assert_eq!(changed_client_encoding(sql).as_deref(), encoding, "{sql}");
        }
        for name in ["UTF8", "utf-8", "unicode", "SQL_ASCII"] {
            assert!(is_utf8(name), "{name}");
        }
        for name in ["LATIN1", "WIN1252", "EUC_JP", ""] {
            assert!(!is_utf8(name), "{name}");
        }
    }

    #[test]
    fn roles_and_whole_databases_are_for_nobody() {
        for sql in [
            "GRANT SELECT ON TABLE public.t TO nobody",
            "REVOKE ALL ON SCHEMA public FROM nobody",
            "ALTER TABLE public.t OWNER TO \"some body\"",
            "ALTER FUNCTION public.f(a integer, b integer) OWNER TO me",
            "ALTER DEFAULT PRIVILEGES FOR ROLE a GRANT SELECT ON TABLES TO b",
            "SET SESSION AUTHORIZATION 'nobody'",
            "RESET SESSION AUTHORIZATION",
            "SET ROLE nobody",
            "SET LOCAL ROLE nobody",
            "CREATE ROLE a",
            "ALTER ROLE a WITH SUPERUSER",
            "CREATE TABLESPACE fast LOCATION '/ssd'",
            "CREATE DATABASE litellm WITH TEMPLATE = template0",
            "ALTER DATABASE litellm SET search_path TO 'a'",
            "DROP DATABASE litellm",
            "COMMENT ON DATABASE litellm IS 'x'",
            "SECURITY LABEL FOR selinux ON ROLE a IS 'x'",
        ] {
            assert!(is_for_nobody(sql), "{sql}");
        }
        for sql in [
            "ALTER TABLE t OWNER TO me, ADD COLUMN mcp_servers text[]",
            "ALTER TABLE t ALTER COLUMN a SET DEFAULT ' OWNER TO me'",
            "ALTER TABLE t ADD COLUMN \"OWNER\" text",
            "CREATE USER MAPPING FOR a SERVER b",
            "SET search_path = ''",
            "COMMENT ON TABLE database IS 'x'",
            "CREATE TABLE role (a int)",
        ] {
            assert!(!is_for_nobody(sql), "{sql}");
        }
    }

    #[test]
    fn what_is_read_of_litellm_is_never_left_out() {
        for sql in [
            r#"CREATE TABLE public."LiteLLM_MCPServerTable" (server_id public.citext)"#,
            r#"CREATE UNLOGGED TABLE IF NOT EXISTS "LiteLLM_TeamTable" ()"#,
            r#"CREATE FOREIGN TABLE "LiteLLM_AgentsTable" (a text) SERVER s"#,
            r#"CREATE VIEW "LiteLLM_TeamTable" AS SELECT 1"#,
            r#"CREATE MATERIALIZED VIEW "LiteLLM_TeamTable" AS SELECT 1"#,
            // A sign of a release.
            r#"CREATE TABLE "LiteLLM_MemoryTable" (a public.vector)"#,
            // They link to permission rows, or may name servers.
            "CREATE TABLE public.orders (object_permission_id text, a public.citext)",
            r#"CREATE TABLE o (a citext REFERENCES "LiteLLM_ObjectPermissionTable")"#,
            r#"CREATE TABLE part PARTITION OF "LiteLLM_TeamTable" DEFAULT"#,
            r#"CREATE TABLE child (a citext) INHERITS ("LiteLLM_TeamTable")"#,
            r#"CREATE TABLE "LiteLLM_NewTable" (a citext, "mcpServers" text[])"#,
            r#"CREATE RULE r AS ON INSERT TO "LiteLLM_TeamTable" DO NOTHING"#,
            r#"COPY public."LiteLLM_TeamTable" (team_id) FROM stdin"#,
            r#"INSERT INTO public."LiteLLM_Config" VALUES ('a', '{}')"#,
            r#"ALTER TABLE ONLY public."LiteLLM_TeamTable" ADD CONSTRAINT k PRIMARY KEY (team_id)"#,
            r#"ALTER TABLE "LiteLLM_TeamTable" ADD COLUMN a citext"#,
            r#"ALTER TABLE "LiteLLM_TeamTable" ALTER COLUMN a TYPE citext"#,
            r#"ALTER TABLE "LiteLLM_TeamTable" CLUSTER ON i, ADD COLUMN a citext"#,
            r#"ALTER TABLE "LiteLLM_TeamTable" ATTACH PARTITION p DEFAULT"#,
            r#"ALTER TABLE "LiteLLM_TeamTable" ADD CONSTRAINT f FOREIGN KEY (object_permission_id)
               REFERENCES x(y)"#,
            r#"ALTER TABLE "LiteLLM_TeamTable" ADD CONSTRAINT f FOREIGN KEY (a)
               REFERENCES "LiteLLM_OrganizationTable"(a)"#,
            r#"ALTER TABLE ONLY public.orders ADD CONSTRAINT f FOREIGN KEY (p)
               REFERENCES public."LiteLLM_ObjectPermissionTable"(object_permission_id)"#,
            "ALTER SCHEMA public RENAME TO x",
            // Nobody knows what these would have done.
            "SELECT public.migrate()",
            "DO $$ BEGIN PERFORM x; END $$",
            "UPDATE t SET a = 1",
            "DELETE FROM t",
            "TRUNCATE t",
            "BEGIN",
            "COMMIT",
            "SELEKT 1",
            "COPY (SELECT 1) TO stdout",
        ] {
            assert_eq!(loss(sql, "42P01"), Loss::Read, "{sql}");
        }
    }

    #[test]
    fn what_is_not_read_may_be_left_out() {
        for sql in [
            "CREATE TABLE public.o (id uuid DEFAULT public.uuid_generate_v4() NOT NULL)",
            r#"CREATE TABLE public."LiteLLM_CronJob" (status public."JobStatus")"#,
            r#"CREATE VIEW v AS SELECT a::public.citext FROM "LiteLLM_TeamTable""#,
            r#"CREATE INDEX i ON "LiteLLM_TeamTable" USING gin (a public.gin_trgm_ops)"#,
            r#"CREATE UNIQUE INDEX i ON "LiteLLM_TeamTable" (a)"#,
            r#"CREATE TRIGGER t AFTER INSERT ON "LiteLLM_MCPServerTable" EXECUTE FUNCTION f()"#,
            r#"CREATE POLICY p ON "LiteLLM_TeamTable" TO nobody"#,
            "CREATE FUNCTION f() RETURNS int LANGUAGE plpython3u AS $_$ DROP; $_$",
            "CREATE COLLATION c (provider = icu, locale = 'und')",
            "CREATE RULE r AS ON INSERT TO other DO NOTHING",
            "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
            r#"COMMENT ON TABLE "LiteLLM_TeamTable" IS 'x'"#,
            r#"SECURITY LABEL FOR selinux ON TABLE "LiteLLM_TeamTable" IS 'x'"#,
            "COPY public.other (object_permission_id) FROM stdin",
            r#"INSERT INTO other VALUES ('"LiteLLM_TeamTable"', 'it''s', E'\'')"#,
            "REFRESH MATERIALIZED VIEW public.m",
            "SELECT pg_catalog.setval('public.s', 1, true)",
            "SELECT pg_catalog.lo_create('1')",
            r#"ALTER TABLE ONLY public."LiteLLM_TeamTable" REPLICA IDENTITY USING INDEX i"#,
            r#"ALTER TABLE "LiteLLM_TeamTable" ALTER COLUMN a SET COMPRESSION lz4"#,
            r#"ALTER TABLE ONLY "LiteLLM_TeamTable" ALTER a SET STATISTICS 10"#,
            r#"ALTER TABLE "LiteLLM_TeamTable" DISABLE TRIGGER t"#,
            r#"ALTER TABLE ONLY public."LiteLLM_TeamTable" ADD CONSTRAINT f FOREIGN KEY (a, b)
               REFERENCES public."LiteLLM_BudgetTable"(a, b)"#,
            "ALTER TABLE ONLY public.o ADD CONSTRAINT k PRIMARY KEY (id)",
            "ALTER TABLE public.o OWNER TO me",
            r#"ALTER PUBLICATION p ADD TABLE ONLY "LiteLLM_TeamTable""#,
        ] {
            assert_eq!(loss(sql, "42704"), Loss::Unread, "{sql}");
        }
    }

    #[test]
    fn what_leaves_the_database_as_it_is_meant_is_no_loss() {
        for (sql, state) in [
            ("CREATE SCHEMA public", "42P06"),
            ("CREATE EXTENSION IF NOT EXISTS citext", "0A000"),
            ("COMMENT ON EXTENSION citext IS 'x'", "42704"),
            ("SET no_such_setting = 0", "42704"),
            ("SET default_tablespace = fast", "22023"),
            ("SET default_table_access_method = columnar", "22023"),
            (r#"DROP TABLE public."LiteLLM_TeamTable""#, "42P01"),
            ("DROP SCHEMA x", "3F000"),
            (
                r#"ALTER TABLE ONLY "LiteLLM_TeamTable" DROP CONSTRAINT k"#,
                "42P01",
            ),
            (
                r#"ALTER TABLE "LiteLLM_TeamTable" ALTER COLUMN a DROP DEFAULT"#,
                "42P01",
            ),
        ] {
            assert_eq!(loss(sql, state), Loss::Nothing, "{sql}");
        }
        for (sql, state) in [
            ("SET search_path = 1", "22023"),
            (
                r#"ALTER TABLE "LiteLLM_TeamTable" DROP COLUMN a, ADD COLUMN b citext"#,
                "42704",
            ),
            (r#"DROP TABLE "LiteLLM_TeamTable""#, "2BP01"),
        ] {
            assert_eq!(loss(sql, state), Loss::Read, "{sql}");
        }
    }
}
