//! A database in which others have planted functions, operators, types and relations, or have
//! changed every setting that they may: no command calls or heeds any of it (CVE-2018-1058).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;

use mcp_prune::testing::Choice;
use mcp_prune::testing::Purpose;
use mcp_prune::testing::Target;
use mcp_prune::testing::{Session, Timeouts};

use crate::connection::{role, url_of};
use crate::program::{repository, run_on};
use crate::samples::{GONE, case, script};
use crate::server::{TestDatabase, block_on, concurrent_server};

const REMAP: &str = "f0e1d2c3-b4a5-4687-9788-99aabbccddee=github";

const ALL: &str = "permissions,access-groups,toolsets,defaults,credentials";

/// Rows besides those of `sites.sql`: owners of every kind, credentials of users at deleted
/// servers, and columns whose text depends on settings.
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
    ('cd34ab12cd34ab12cd34ab12cd34ab12cd34ab12cd34ab12cd34ab12cd34ab12',
        'last', 'u-1', 't-1', 'p-last'),
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

/// The names in the system catalog that the SQL of the sources uses.
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

    /// Returns the script that plants all of them.
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
        let [schema, sites] = ["schema", "cases/sites"].map(script);
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

    /// Returns every row of LiteLLM's tables, whatever the settings of the session, without the
    /// columns that say when and by whom it was written.
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

    /// Returns the output of every command as `user`, and the rows after each.
    fn life(&self, user: &str, how: &str, folder: &Path) -> String {
        let url = format!("{}{how}", self.url(user));
        let journal = folder.join(format!("{user}{how}"));
        let journal = journal.to_str().unwrap();
        let undo_journal = folder.join(format!("{user}{how}.undo"));
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
            let _ = writeln!(told, "{args:?}: {ran}{}", self.rows().join("\n"));
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

    /// Returns the lives of a superuser and of the role, and that of the role where no connection
    /// option reaches the server.
    fn lives(&self) -> [String; 3] {
        let folder = tempfile::tempdir().unwrap();
        let role = self.role.as_str();
        [
            ("postgres", ""),
            (role, ""),
            ("postgres", "&pgbouncer=true"),
        ]
        .map(|(user, how)| self.life(user, how, folder.path()))
    }
}

/// Compares the lives line by line, as the whole text is too long to read.
fn ensure_same(lives: &[String; 3], others: &[String; 3]) {
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
    assert!(std::panic::catch_unwind(AssertUnwindSafe(|| place.database.texts(call))).is_err());
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

/// A type that is not PostgreSQL's own may call anybody's functions, by a cast or by a check.
#[test]
fn a_column_of_somebody_elses_type_is_refused() {
    for made in [
        r#"CREATE DOMAIN public."text" AS pg_catalog."text";
           ALTER TABLE "LiteLLM_MCPServerTable" ALTER "server_id" TYPE public."text""#,
        r#"CREATE FUNCTION spring(text[]) RETURNS bool LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'something planted was called'; END $$;
           CREATE DOMAIN checked AS text[] CHECK (VALUE IS NULL OR spring(VALUE));
           ALTER TABLE "LiteLLM_ObjectPermissionTable" ALTER "mcp_servers" DROP DEFAULT,
               ALTER "mcp_servers" TYPE checked"#,
        r#"CREATE EXTENSION citext;
           ALTER TABLE "LiteLLM_ObjectPermissionTable" ALTER "mcp_servers" DROP DEFAULT,
               ALTER "mcp_servers" TYPE citext[]"#,
        r#"CREATE TYPE lure AS (bait jsonb);
           CREATE FUNCTION bite(lure) RETURNS jsonb LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'something planted was called'; END $$;
           CREATE CAST (lure AS jsonb) WITH FUNCTION bite(lure) AS IMPLICIT;
           ALTER TABLE "LiteLLM_ObjectPermissionTable" ALTER "mcp_tool_permissions" TYPE lure
               USING ROW("mcp_tool_permissions")::lure"#,
    ] {
        if concurrent_server("extensions").is_none() {
            return;
        }
        let database = TestDatabase::with("");
        database.load(made);
        for args in [&["scan"][..], &["fix", "--yes", "--no-journal"]] {
            let ran = run_on(database.url(), args).exits(4).says("is of type ");
            assert!(!ran.stderr.contains("was called"), "{ran}");
        }
    }
}

#[test]
fn a_policy_is_not_called_and_hides_nothing_unnoticed() {
    if concurrent_server("policies").is_none() {
        return;
    }
    let database = case("beside_live");
    let role = role(&database, "watched");
    let url = url_of(&database, &role, "s3cret");
    let grants = ["grants", "--role", &role, "--for", "scan"];
    database.load(&run_on(database.url(), &grants).exits(0).stdout);
    let scan = ["scan", "--format", "csv", "--sites", "permissions"];
    let before = run_on(&url, &scan).exits(2);
    // It is read where a role may, for a sign of servers in a config.yaml.
    database.load(
        r#"CREATE FUNCTION spring() RETURNS bool LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'something planted was called'; END $$;
           CREATE POLICY trap ON "LiteLLM_MCPServerOAuthClient" USING (spring());
           ALTER TABLE "LiteLLM_MCPServerOAuthClient" ENABLE ROW LEVEL SECURITY;
           INSERT INTO "LiteLLM_MCPServerOAuthClient" VALUES ('9e8d7c6b5a493827160f1e2d3c4b5a69', '{}')"#,
    );
    let after = run_on(&url, &scan).exits(2);
    assert_eq!(after.stdout, before.stdout);
}

#[test]
fn a_trigger_that_searches_for_names_is_told_what_it_lacks() {
    let database = case("beside_live");
    database.load(
        r#"CREATE TABLE audit (at timestamptz);
           CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN INSERT INTO audit VALUES (now()); RETURN NEW; END $$;
           CREATE TRIGGER note AFTER UPDATE ON "LiteLLM_ObjectPermissionTable"
               FOR EACH ROW EXECUTE FUNCTION note()"#,
    );
    let before = database.permission_rows();
    let fix = ["fix", "--yes", "--no-journal"];
    let _ = run_on(database.url(), &fix)
        .exits(1)
        .says("relation \"audit\" does not exist")
        .says("ALTER FUNCTION ... SET search_path = ...");
    assert_eq!(database.permission_rows(), before);
    database.execute("ALTER FUNCTION note() SET search_path = public");
    let _ = run_on(database.url(), &fix).exits(0);
    assert_ne!(database.texts("SELECT count(*)::text FROM audit"), ["0"]);
}

/// Returns the settings of a transaction of the program.
async fn settings(url: &str, purpose: Purpose) -> Vec<(String, String)> {
    let target = Target::resolve(Some(url)).unwrap();
    let timeouts = Timeouts {
        lock: Duration::from_secs(2),
        statement: Duration::from_secs(3),
    };
    let mut session = Session::open(target, None, timeouts).await.unwrap();
    let mut open = session.begin(purpose, &Choice::default()).await.unwrap();
    let (connection, _) = open.parts();
    let set = "SELECT s.name, s.setting FROM pg_catalog.pg_settings AS s \
         WHERE s.source IN ('session', 'client')";
    let set = sqlx::query_as(set).persistent(false).fetch_all(connection);
    set.await.unwrap()
}

#[test]
fn a_transaction_is_set_to_what_its_statements_rely_on() {
    if concurrent_server("settings").is_none() {
        return;
    }
    let database = TestDatabase::with("");
    let of_database = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$";
    database.execute(of_database);
    // With a pooler nothing is set when the session begins.
    let pooled = format!("{}?pgbouncer=true", database.url());
    let purposes = [Purpose::Read, Purpose::Write, Purpose::PutBack];
    let both = [database.url(), &pooled].map(|url| purposes.map(|purpose| (url, purpose)));
    for (url, purpose) in both.concat() {
        let set = block_on(settings(url, purpose));
        for (name, value) in [
            ("search_path", ""),
            ("row_security", "off"),
            ("quote_all_identifiers", "off"),
            ("DateStyle", "ISO, MDY"),
            ("IntervalStyle", "postgres"),
            ("TimeZone", "UTC"),
            ("bytea_output", "hex"),
            ("extra_float_digits", "1"),
            ("gin_fuzzy_search_limit", "0"),
            ("synchronous_commit", "local"),
            ("jit", "off"),
            ("lock_timeout", "2000"),
            ("statement_timeout", "3000"),
            ("idle_in_transaction_session_timeout", "60000"),
        ] {
            let is = set
                .iter()
                .any(|(n, v)| (n.as_str(), v.as_str()) == (name, value));
            assert!(is, "{name} = {value} in {set:?}");
        }
        // Of the releases of August 2024 and later.
        let views = "restrict_nonsystem_relation_kind";
        let known = database.texts(&format!(
            "SELECT name FROM pg_settings WHERE name = '{views}'"
        ));
        let is = set.iter().any(|(name, _)| name == views);
        assert_eq!(is, purpose == Purpose::Read && !known.is_empty(), "{set:?}");
    }
}
