//! A database in which others have planted functions, operators, types and relations, or have set whatever
//! may be set: no command calls or heeds any of it (CVE-2018-1058).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use crate::connection::{role, url_of};
use crate::program::{repository, run_on};
use crate::server::{TestDatabase, concurrent_server};

const GONE: &str = "f0e1d2c3-b4a5-4687-9788-99aabbccddee";

const REMAP: &str = "f0e1d2c3-b4a5-4687-9788-99aabbccddee=github";

const ALL: &str = "permissions,access-groups,toolsets,defaults,credentials";

/// Beside what `sites.sql` has: owners of every kind, what users left with deleted servers, and columns
/// whose values a setting would have written otherwise.
const MORE: &str = r#"
INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers", "mcp_tool_permissions") VALUES
    ('p-last', ARRAY['f0e1d2c3-b4a5-4687-9788-99aabbccddee'], NULL),
    ('p-team', ARRAY['github', 'f0e1d2c3-b4a5-4687-9788-99aabbccddee', 'github'],
        '{"jira": ["x"], "f0e1d2c3-b4a5-4687-9788-99aabbccddee": ["y"]}'),
    ('p-org', ARRAY['jira'], '{}'),
    ('p-user', ARRAY['0a9b8c7d-6e5f-4a3b-8c2d-1e0f9a8b7c6d', 'jira'], NULL);
INSERT INTO "LiteLLM_OrganizationTable" VALUES ('o-1', 'all', 'p-org');
INSERT INTO "LiteLLM_UserTable" ("user_id", "user_alias", "object_permission_id", "user_role") VALUES
    ('u-1', 'Ada', 'p-user', 'internal_user'), ('u-2', 'Ben', NULL, 'proxy_admin');
UPDATE "LiteLLM_TeamTable" SET "organization_id" = 'o-1', "object_permission_id" = 'p-team';
INSERT INTO "LiteLLM_VerificationToken" ("token", "key_alias", "user_id", "team_id", "object_permission_id") VALUES
    ('cd34ab12cd34ab12cd34ab12cd34ab12cd34ab12cd34ab12cd34ab12cd34ab12', 'last', 'u-1', 't-1', 'p-last'),
    ('sk-as-it-is', 'plain', 'u-2', 't-1', NULL);
ALTER TABLE "LiteLLM_MCPUserCredentials"
    ADD "bytes" bytea DEFAULT '\x00ff5c', ADD "number" float8 DEFAULT 0.1::float8 + 0.2::float8,
    ADD "span" interval DEFAULT '-1 day 02:03:04.5', ADD "at" timestamptz DEFAULT '2026-01-02 03:04:05Z';
INSERT INTO "LiteLLM_MCPUserCredentials" ("id", "user_id", "server_id", "credential_b64") VALUES
    ('c-1', 'ada', 'f0e1d2c3-b4a5-4687-9788-99aabbccddee', 's3cret-c-1'),
    ('c-2', 'ben', 'f0e1d2c3-b4a5-4687-9788-99aabbccddee', 's3cret-c-2'),
    ('c-3', 'ada', '0b8f8e0c-2f5d-4a51-9a35-1f4a1c9f7d10', 's3cret-c-3');
INSERT INTO "LiteLLM_MCPServerOAuthClient" VALUES
    ('9e8d7c6b5a493827160f1e2d3c4b5a69', '{"client_secret": "s3cret-o-1"}');"#;

/// What the statements of the sources name in the system catalog.
struct Names {
    functions: BTreeSet<String>,
    operators: BTreeSet<String>,
    types: BTreeSet<String>,
    relations: BTreeSet<String>,
}

impl Names {
    fn of_sources() -> Self {
        let mut text = String::new();
        let mut folders = vec![repository("src/db")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    text.push_str(&std::fs::read_to_string(path).unwrap());
                }
            }
        }
        let mut names = Self {
            functions: BTreeSet::new(),
            operators: BTreeSet::new(),
            types: BTreeSet::new(),
            relations: BTreeSet::new(),
        };
        for (at, qualifier) in text.match_indices("pg_catalog.") {
            let rest = &text[at + qualifier.len()..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
            let kind = if text[..at].ends_with("::") {
                &mut names.types
            } else if rest.starts_with('(') {
                &mut names.functions
            } else {
                &mut names.relations
            };
            if !name.is_empty() {
                kind.insert(name.to_owned());
            }
        }
        for part in text.split('{') {
            let operator = part.split_once('}').map_or("", |(operator, _)| operator);
            let is_operator = |c: char| "+-*/<>=~!@#%^&|`?".contains(c);
            if !operator.is_empty() && operator.chars().all(is_operator) {
                names.operators.insert(operator.to_owned());
            }
        }
        names
    }

    fn array(names: &BTreeSet<String>) -> String {
        let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        format!("ARRAY[{}]", quoted.join(", "))
    }

    /// The script that plants all of them.
    fn planted(&self, role: &str) -> String {
        let script = std::fs::read_to_string(repository("tests/it/planted.sql")).unwrap();
        script
            .replace("{functions}", &Self::array(&self.functions))
            .replace("{operators}", &Self::array(&self.operators))
            .replace("{types}", &Self::array(&self.types))
            .replace("{relations}", &Self::array(&self.relations))
            .replace("{role}", role)
    }
}

/// A database with LiteLLM's tables in a schema of their own, and a role with the least privileges.
struct Place {
    database: TestDatabase,
    role: String,
}

impl Place {
    fn new() -> Self {
        let database = TestDatabase::empty();
        let [schema, sites] = ["fixtures/schema.sql", "fixtures/cases/sites.sql"]
            .map(|path| std::fs::read_to_string(repository(path)).unwrap());
        let script =
            format!("CREATE SCHEMA proxy; SET search_path = proxy; {schema} {sites} {MORE}");
        database.load(&script);
        let role = role(&database, "least");
        let place = Self { database, role };
        let grants = [
            "grants",
            "--role",
            &place.role,
            "--for",
            "fix",
            "--sites",
            ALL,
        ];
        place
            .database
            .load(&run_on(&place.url("postgres"), &grants).exits(0).stdout);
        place
    }

    fn url(&self, user: &str) -> String {
        format!("{}?schema=proxy", url_of(&self.database, user, "s3cret"))
    }

    /// Every row of LiteLLM's tables but for when and by whom it was written, whatever the session is set to.
    fn rows(&self) -> Vec<String> {
        let tables = [
            "ObjectPermissionTable",
            "AccessGroupTable",
            "MCPToolsetTable",
            "Config",
            "MCPUserCredentials",
        ];
        let settings = [
            ("TimeZone", "UTC"),
            ("IntervalStyle", "postgres"),
            ("bytea_output", "hex"),
            ("extra_float_digits", "1"),
        ]
        .map(|(name, value)| {
            format!("pg_catalog.set_config('{name}', '{value}', false) AS \"{name}\"")
        });
        let rows = |table| {
            self.database.texts(&format!(
                "SELECT (pg_catalog.to_jsonb(t)
                         OPERATOR(pg_catalog.-) '{{updated_at,updated_by}}'::pg_catalog.text[]
                        )::pg_catalog.text
                 FROM {}, proxy.\"LiteLLM_{table}\" AS t ORDER BY 1",
                settings.join(", ")
            ))
        };
        tables.into_iter().flat_map(rows).collect()
    }

    /// All that every command tells as `user`, and what is in the tables after each.
    fn life(&self, user: &str, folder: &Path) -> String {
        let url = self.url(user);
        let journal = folder.join(user);
        let journal = journal.to_str().unwrap();
        let undo_journal = folder.join(format!("{user}.undo"));
        let undo_journal = undo_journal.to_str().unwrap();
        let csv = ["--format", "csv"];
        let all = ["--sites", ALL, "--no-config-servers"];
        // Whose credentials there are is not read, so no owner chooses among them.
        let owned = ["--no-config-servers"];
        let mut told = String::new();
        for (args, more) in [
            (&["scan", "--notes"][..], &all[..]),
            (&["scan", "--reference", GONE], &all),
            (&["scan", "--row", "p-team"], &all),
            (&["scan", "--owner", "key:last"], &owned),
            (&["scan", "--owner", "key:cd34ab12"], &owned),
            (&["fix", "--dry-run", "--delete-rows"], &all),
            (
                &[
                    "fix",
                    "--dry-run",
                    "--on-empty",
                    "clear",
                    "--accept-widening",
                ],
                &owned,
            ),
            (&["fix", "--dry-run", "--remap", REMAP], &owned),
            (
                &[
                    "fix",
                    "--yes",
                    "--delete-rows",
                    "--on-empty",
                    "deny",
                    "--journal",
                    journal,
                ],
                &all,
            ),
            (&["scan"], &all),
            (&["undo", "--dry-run", journal], &[]),
            (&["undo", "--yes", journal, "--journal", undo_journal], &[]),
            (&["scan"], &all),
        ] {
            let args = [args, more, &csv].concat();
            let ran = run_on(&url, &args);
            assert!([0, 2, 3].contains(&ran.status), "{args:?}: {ran}");
            let _ = write!(told, "{args:?}: {ran}{}\n", self.rows().join("\n"));
        }
        let grants = run_on(&url, &["grants", "--role", "r", "--for", "fix"]).exits(0);
        told.push_str(&grants.stdout);
        let doctor = run_on(&url, &["doctor", "--format", "json"]);
        let checks: Vec<String> = doctor.json()["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|check| format!("{} {}", check["name"], check["status"]))
            .collect();
        let _ = write!(told, "{} {checks:?}", doctor.status);
        told.replace(self.database.name(), "DATABASE")
            .replace(folder.to_str().unwrap(), "FOLDER")
    }

    fn lives(&self) -> [String; 2] {
        let folder = tempfile::tempdir().unwrap();
        ["postgres", self.role.as_str()].map(|user| self.life(user, folder.path()))
    }
}

/// Compares line by line, as all of it is too much to read.
fn ensure_same(lives: &[String; 2], others: &[String; 2]) {
    for (life, other) in lives.iter().zip(others) {
        for (line, other) in life.lines().zip(other.lines()) {
            assert_eq!(line, other);
        }
        assert_eq!(life.lines().count(), other.lines().count());
    }
}

#[test]
fn nothing_that_was_planted_is_called() {
    if concurrent_server("planted functions").is_none() {
        return;
    }
    let names = Names::of_sources();
    let place = Place::new();
    let before = place.lives();
    assert!(
        before[0].contains("c-1") && before[0].contains("p-last"),
        "{}",
        before[0]
    );
    place.database.load(&names.planted(&place.role));
    // They would be found.
    let call = "SELECT pg_catalog.count(*)::pg_catalog.text FROM pg_catalog.pg_class AS c WHERE c.relname = 'x'::text";
    assert!(std::panic::catch_unwind(|| place.database.texts(call)).is_err());
    place
        .database
        .execute("SELECT pg_catalog.setval('trap.calls', 1, false)");
    let after = place.lives();
    let calls = "SELECT s.is_called::pg_catalog.text FROM trap.calls AS s";
    assert_eq!(place.database.texts(calls), ["false"]);
    ensure_same(&before, &after);
}

#[test]
fn nothing_that_a_role_or_a_database_sets_is_heeded() {
    if concurrent_server("settings").is_none() {
        return;
    }
    let place = Place::new();
    let before = place.lives();
    for setting in [
        "array_nulls = off",
        "backslash_quote = off",
        "bytea_output = escape",
        "\"DateStyle\" = German",
        "default_transaction_deferrable = on",
        "default_transaction_isolation = serializable",
        "default_transaction_read_only = on",
        "extra_float_digits = -3",
        "gin_fuzzy_search_limit = 1",
        "\"IntervalStyle\" = sql_standard",
        "jit = on",
        "quote_all_identifiers = on",
        "row_security = off",
        "search_path = proxy, pg_catalog",
        "session_replication_role = replica",
        "standard_conforming_strings = off",
        "synchronous_commit = off",
        "\"TimeZone\" = 'Asia/Kathmandu'",
        "transform_null_equals = on",
        "xmlbinary = hex",
    ] {
        for whose in [
            "DATABASE %I",
            &format!("ROLE {} IN DATABASE %I", place.role),
        ] {
            let setting = setting.replace('\'', "''");
            place.database.execute(&format!(
                "BEGIN READ WRITE;
                 DO $$ BEGIN
                     EXECUTE format('ALTER {whose} SET {setting}', current_database());
                 END $$;
                 COMMIT"
            ));
        }
    }
    ensure_same(&before, &place.lives());
}
