//! The script of `fix --dry-run --format sql`: it leaves the very same rows as `fix --yes`, and the
//! one of `--undo-sql` brings back the old ones. Run by `psql` where there is one, and always as a
//! program sends it: in one message.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use mcp_prune::testing::{SqlLiteral, in_comment};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use crate::program::{Ran, mcp_prune, run, run_on};
use crate::samples::{GONE, LIVE, case, demo};
use crate::server::{TestDatabase, block_on, concurrent_server};

/// How a script is run.
#[derive(Debug, Clone, Copy)]
enum Runner {
    /// In one message, as a migration tool does.
    Message,
    /// By `psql -f`.
    Psql,
    /// By `psql -1 -f`, within a transaction of `psql`.
    PsqlInOneTransaction,
}

/// The scripts of a dry run, as files of a folder.
struct Scripts {
    folder: tempfile::TempDir,
}

impl Scripts {
    /// Makes both scripts of a dry run with these options.
    fn of(url: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scripts = Self { folder };
        let (fix, undo) = (scripts.path("fix.sql"), scripts.path("undo.sql"));
        let args = [
            &["fix", "--dry-run", "--format", "sql"][..],
            &["--output", fix.to_str().unwrap()],
            &["--undo-sql", undo.to_str().unwrap()],
            options,
        ];
        let ran = run_on(url, &args.concat());
        assert!([0, 2].contains(&ran.status), "{ran}");
        scripts
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn run(&self, name: &str, url: &str, runner: Runner) -> Result<(), String> {
        run_script(&self.path(name), url, runner)
    }
}

fn psql() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut folders = std::env::split_paths(&path);
    folders.find_map(|folder| Some(folder.join("psql")).filter(|program| program.exists()))
}

/// Lists the ways to run a script on this machine.
fn runners() -> Vec<Runner> {
    let with_psql = psql().is_some() && concurrent_server("scripts by psql").is_some();
    if with_psql {
        vec![Runner::Message, Runner::Psql, Runner::PsqlInOneTransaction]
    } else {
        vec![Runner::Message]
    }
}

/// Runs a script; returns what the server said against it.
fn run_script(path: &Path, url: &str, runner: Runner) -> Result<(), String> {
    if let Runner::Message = runner {
        return send(url, &fs::read_to_string(path).unwrap());
    }
    let mut psql = Command::new(psql().unwrap());
    psql.args(["--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--file"])
        .arg(path)
        .args(["--dbname", url]);
    if let Runner::PsqlInOneTransaction = runner {
        psql.arg("--single-transaction");
    }
    let ran = run(&mut psql);
    if ran.status == 0 {
        assert!(!ran.stderr.contains("WARNING"), "{ran}");
        Ok(())
    } else {
        Err(ran.stderr)
    }
}

fn send(url: &str, script: &str) -> Result<(), String> {
    block_on(async {
        let mut connection = PgConnection::connect(url).await.unwrap();
        let done = sqlx::raw_sql(AssertSqlSafe(script.to_owned()))
            .execute(&mut connection)
            .await;
        connection.close().await.unwrap();
        done.map(drop).map_err(|error| error.to_string())
    })
}

/// Returns every row of every table as text, without the time when it was written.
fn all_rows(database: &TestDatabase) -> Vec<String> {
    let tables = database.texts(
        r"SELECT c.relname::text FROM pg_class AS c
          WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' ORDER BY 1",
    );
    let mut rows = Vec::new();
    for table in tables {
        // The bounds of arrays are not in their JSON.
        let of_table = database.texts(&format!(
            r#"SELECT '{table} ' || (to_jsonb(t) - 'updated_at')::text || ARRAY(
                   SELECT m[1] FROM regexp_matches(t::text, '\[-?\d+:-?\d+\]=', 'g') AS m)::text
               FROM "{table}" AS t ORDER BY 1"#
        ));
        rows.extend(of_table);
    }
    rows
}

/// Returns the rows without the name of who wrote them last: an undo is the last.
fn without_writer(rows: Vec<String>) -> Vec<String> {
    let without = |row: String| {
        let Some((before, rest)) = row.split_once(r#""updated_by": "#) else {
            return row;
        };
        let end = rest.find([',', '}']).unwrap();
        format!("{before}{}", &rest[end..])
    };
    rows.into_iter().map(without).collect()
}

/// Repairs one copy of a database with `fix`, and others with a script: the rows are the same. Then
/// takes the script back.
pub(crate) fn repairs_alike(load: impl Fn() -> TestDatabase, options: &[&str]) {
    let by_fix = load();
    let fix = [&["fix", "--yes", "--no-journal"], options].concat();
    let ran = run_on(by_fix.url(), &fix);
    if ran.status == 4 {
        // What a guard refuses has no script either.
        let fix = [&["fix", "--dry-run", "--format", "sql"], options].concat();
        let ran = run_on(load().url(), &fix).exits(4);
        assert_eq!(ran.stdout, "");
        return;
    }
    assert!([0, 3].contains(&ran.status), "{ran}");
    let expected = all_rows(&by_fix);
    let database = load();
    let before = all_rows(&database);
    // After each undo the database is as it was, so it serves every runner.
    for runner in runners() {
        let scripts = Scripts::of(database.url(), options);
        let run = |name: &str| scripts.run(name, database.url(), runner);
        let told = || format!("{runner:?} of {}", scripts.text("fix.sql"));
        assert_eq!(run("fix.sql"), Ok(()), "{}", told());
        assert_eq!(all_rows(&database), expected, "{}", told());
        if before == expected {
            assert!(!scripts.text("fix.sql").contains("DO $"), "{}", told());
            continue;
        }
        let again = run("fix.sql").unwrap_err();
        assert!(
            again.contains("so it was run before; nothing was written"),
            "{again}"
        );
        assert_eq!(all_rows(&database), expected, "{}", told());
        assert_eq!(run("undo.sql"), Ok(()), "{}", scripts.text("undo.sql"));
        assert_eq!(
            without_writer(all_rows(&database)),
            without_writer(before.clone()),
            "{}",
            told()
        );
    }
}

/// Changes the database between the dry run and the script; nothing may be written then.
#[track_caller]
fn refuses(load: impl Fn() -> TestDatabase, options: &[&str], changed: &str, told: &str) {
    let database = load();
    let scripts = Scripts::of(database.url(), options);
    database.load(changed);
    let before = all_rows(&database);
    for runner in runners() {
        let refused = scripts.run("fix.sql", database.url(), runner);
        let refused = refused.expect_err(changed);
        assert!(
            refused.contains(told) && refused.contains("nothing was written"),
            "{refused}"
        );
    }
    assert_eq!(all_rows(&database), before);
}

fn sites() -> TestDatabase {
    case("sites")
}

#[test]
fn what_moved_meanwhile_refuses_all_of_it() {
    let group = r#""LiteLLM_AccessGroupTable""#;
    for (changed, told) in [
        (
            format!(r#"DELETE FROM {group} WHERE "access_group_id" = 'ag-mixed'"#),
            r#"row ag-mixed of "LiteLLM_AccessGroupTable" is gone"#,
        ),
        (
            format!(
                r#"UPDATE {group} SET "access_mcp_server_ids" = array_append("access_mcp_server_ids", 'x')
                   WHERE "access_group_id" = 'ag-mixed'"#
            ),
            r#"access_mcp_server_ids of row ag-mixed of "LiteLLM_AccessGroupTable" no longer holds"#,
        ),
        (
            format!(
                r#"UPDATE {group} SET "assigned_team_ids" = ARRAY['t-1']
                   WHERE "access_group_id" = 'ag-tools'"#
            ),
            r#"row ag-tools of "LiteLLM_AccessGroupTable" was changed beside the columns"#,
        ),
        (
            format!(
                r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias") VALUES ('n', '{GONE}')"#
            ),
            &format!(r#"{GONE} of "LiteLLM_MCPServerTable" is there again"#),
        ),
        (
            r#"DELETE FROM "LiteLLM_MCPServerTable""#.to_owned(),
            "this may be the wrong database",
        ),
    ] {
        refuses(sites, &[], &changed, told);
    }
}

#[test]
fn servers_that_a_decision_rests_on_may_not_change() {
    let fix = ["--remap", &format!("{GONE}=jira")];
    refuses(
        sites,
        &fix,
        r#"UPDATE "LiteLLM_MCPServerTable" SET "approval_status" = 'draft' WHERE "alias" = 'jira'"#,
        "answers to 7d1c1e6e-51a5-4c6f-8f6f-5f0f5e1d2c3b any more",
    );
    let new = r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('another')"#;
    let unchanged = ["--on-empty", "unchanged", "--no-config-servers"];
    let told = "the choice of --on-empty depends on them";
    refuses(demo, &unchanged, new, told);
    // By default nothing is decided by the other servers.
    let database = demo();
    let scripts = Scripts::of(database.url(), &[]);
    database.load(new);
    assert_eq!(
        scripts.run("fix.sql", database.url(), Runner::Message),
        Ok(())
    );
}

/// Makes a database in which a row without an owner would be emptied.
fn unowned() -> TestDatabase {
    TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('{LIVE}');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               VALUES ('p-1', ARRAY['{GONE}']);
           INSERT INTO "LiteLLM_TeamTable" ("team_id") VALUES ('t-1')"#
    ))
}

#[test]
fn a_row_that_has_another_owner_by_now_is_not_emptied() {
    refuses(
        unowned,
        &[],
        r#"UPDATE "LiteLLM_TeamTable" SET "object_permission_id" = 'p-1'"#,
        r#"the owners of row p-1 of "LiteLLM_ObjectPermissionTable" are not those"#,
    );
}

#[test]
fn an_undo_puts_back_only_what_the_script_left() {
    let database = unowned();
    let scripts = Scripts::of(database.url(), &[]);
    let url = database.url();
    let undo = || scripts.run("undo.sql", url, Runner::Message);
    assert!(
        undo().unwrap_err().contains("so it was run before"),
        "not yet"
    );
    assert_eq!(scripts.run("fix.sql", url, Runner::Message), Ok(()));
    database
        .execute(r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = ARRAY['other']"#);
    let before = all_rows(&database);
    assert!(undo().unwrap_err().contains("mcp_servers of row p-1"));
    assert_eq!(all_rows(&database), before);
    // Whatever else the row holds by now stays.
    database.execute(
        r#"UPDATE "LiteLLM_ObjectPermissionTable"
           SET "mcp_servers" = '{}', "mcp_access_groups" = ARRAY['tag']"#,
    );
    database.execute(r#"UPDATE "LiteLLM_TeamTable" SET "object_permission_id" = 'p-1'"#);
    assert_eq!(undo(), Ok(()));
    let row = database.permission_rows().concat();
    assert!(row.contains(GONE) && row.contains("tag"), "{row}");
}

#[test]
fn somebody_elses_locks_are_not_waited_for() {
    if concurrent_server("locks beside a script").is_none() {
        return;
    }
    for (lock, told) in [
        (
            r#"SELECT FROM "LiteLLM_MCPToolsetTable" FOR UPDATE"#,
            r#"holds a lock on "LiteLLM_MCPToolsetTable" (row ts-mixed)"#,
        ),
        (
            r#"LOCK TABLE "LiteLLM_AccessGroupTable" IN SHARE MODE"#,
            r#"holds a lock on "LiteLLM_AccessGroupTable" that"#,
        ),
        (
            "SELECT pg_advisory_xact_lock(7882267113290888558)",
            "another repair of this database is running",
        ),
    ] {
        let database = sites();
        let scripts = Scripts::of(database.url(), &["--lock-timeout", "0.3"]);
        let before = all_rows(&database);
        crate::concurrent::while_open(&database, lock, || {
            let refused = scripts.run("fix.sql", database.url(), Runner::Message);
            let refused = refused.unwrap_err();
            assert!(refused.contains(told), "{refused}");
        });
        assert_eq!(all_rows(&database), before);
        assert_eq!(
            scripts.run("fix.sql", database.url(), Runner::Message),
            Ok(())
        );
    }
}

#[test]
fn a_role_with_the_grants_of_fix_runs_both_scripts() {
    if concurrent_server("a role that runs scripts").is_none() {
        return;
    }
    let expected = sites();
    let _ = run_on(expected.url(), &["fix", "--yes", "--no-journal"]).exits(3);
    let expected = all_rows(&expected);
    let database = sites();
    let role = crate::connection::role(&database, "script");
    let url = crate::connection::url_of(&database, &role, "s3cret");
    let sites = "permissions,access-groups,toolsets,defaults";
    let grants = ["grants", "--role", &role, "--for", "fix", "--sites", sites];
    database.load(&run_on(database.url(), &grants).exits(0).stdout);
    let before = all_rows(&database);
    // Made by the role and by a superuser, who may read more columns.
    for made_by in [&url, database.url()] {
        let scripts = Scripts::of(made_by, &["--sites", sites]);
        let runner = *runners().last().unwrap();
        assert_eq!(scripts.run("fix.sql", &url, runner), Ok(()));
        assert_eq!(all_rows(&database), expected);
        assert_eq!(scripts.run("undo.sql", &url, runner), Ok(()));
        assert_eq!(
            without_writer(all_rows(&database)),
            without_writer(before.clone())
        );
        if *made_by == *url {
            // A superuser's script reads the columns that the superuser may read.
            database.execute(&format!(
                r#"GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}""#
            ));
        }
    }
}

#[test]
fn the_transaction_around_it_keeps_its_settings_and_may_roll_back() {
    let database = sites();
    let scripts = Scripts::of(database.url(), &[]);
    let before = all_rows(&database);
    let shown = r"SELECT concat_ws(' ', current_setting('search_path'), current_setting('lock_timeout'),
                         current_setting('DateStyle'), current_setting('TimeZone'))";
    block_on(async {
        let mut connection = database.connect().await;
        let script = scripts.text("fix.sql");
        for sql in [
            "BEGIN",
            "SET LOCAL search_path = pg_temp, public; SET LOCAL lock_timeout = '7s'; \
             SET LOCAL DateStyle = 'German, DMY'; SET LOCAL TimeZone = 'Asia/Tokyo'",
            &script,
        ] {
            let sql = AssertSqlSafe(sql.to_owned());
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        }
        let row = sqlx::query(shown).fetch_one(&mut connection).await.unwrap();
        let settings: String = row.get(0);
        assert_eq!(settings, "pg_temp, public 7s German, DMY Asia/Tokyo");
        sqlx::raw_sql("ROLLBACK")
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    });
    assert_eq!(all_rows(&database), before);
}

#[test]
fn it_sees_what_others_commit_or_does_not_run() {
    let database = sites();
    let scripts = Scripts::of(database.url(), &[]);
    let before = all_rows(&database);
    let script = scripts.text("fix.sql");
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let script = format!("BEGIN ISOLATION LEVEL {level};\n{script}\nCOMMIT;");
        let refused = send(database.url(), &script).unwrap_err();
        assert!(refused.contains("and not READ COMMITTED"), "{refused}");
    }
    assert_eq!(all_rows(&database), before);
}

#[test]
fn a_script_that_takes_too_long_stops() {
    let database = sites();
    let scripts = Scripts::of(database.url(), &["--statement-timeout", "600"]);
    let before = all_rows(&database);
    let script = scripts.text("fix.sql");
    assert!(script.contains("time_limit CONSTANT pg_catalog.text DEFAULT '600 s'"));
    let script = script.replace("'600 s'", "'0 s'");
    let refused = send(database.url(), &script).unwrap_err();
    assert!(
        refused.contains("longer than its time limit of 0 s"),
        "{refused}"
    );
    assert_eq!(all_rows(&database), before);
    let scripts = Scripts::of(database.url(), &["--statement-timeout", "0"]);
    assert_eq!(
        scripts.run("fix.sql", database.url(), Runner::Message),
        Ok(())
    );
}

#[test]
fn a_script_tells_of_a_setting_that_outlives_it() {
    let head = |text: &str| {
        let (head, _) = text.split_once("\nDO ").unwrap();
        head.replace("\n-- ", " ")
    };
    let database = sites();
    let of_database = || {
        let scripts = Scripts::of(database.url(), &[]);
        ["fix.sql", "undo.sql"].map(|name| scripts.text(name))
    };
    for script in of_database() {
        assert!(!script.contains("SET CONSTRAINTS"), "{script}");
    }
    database.load(
        r#"CREATE FUNCTION idle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
           CREATE CONSTRAINT TRIGGER idle AFTER UPDATE ON "LiteLLM_ObjectPermissionTable"
               DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION idle()"#,
    );
    for script in of_database() {
        let told = "In a transaction of yours this stays in force until the end";
        let head = head(&script);
        assert!(head.contains("SET CONSTRAINTS ALL IMMEDIATE"), "{head}");
        assert!(head.contains(told), "{head}");
    }
}

#[test]
fn a_trigger_that_undoes_the_write_at_the_end_is_found() {
    let trigger = |when: &str| {
        format!(
            r#"CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
               BEGIN
                 IF pg_trigger_depth() = 1 THEN
                   UPDATE "LiteLLM_AccessGroupTable" SET "access_mcp_server_ids" = ARRAY['spoilt'];
                 END IF;
                 RETURN NULL;
               END $$;
               CREATE CONSTRAINT TRIGGER spoil AFTER UPDATE ON "LiteLLM_AccessGroupTable"
               {when} FOR EACH ROW EXECUTE FUNCTION spoil()"#
        )
    };
    for (when, told) in [
        ("NOT DEFERRABLE", "does not hold what it should"),
        ("DEFERRABLE INITIALLY DEFERRED", "after it was written"),
    ] {
        let database = sites();
        // A harmless trigger while the script is made, so that it expects some.
        database.load(&trigger(when).replace("ARRAY['spoilt']", r#""access_mcp_server_ids""#));
        let scripts = Scripts::of(database.url(), &[]);
        database.load("DROP FUNCTION spoil() CASCADE");
        database.load(&trigger(when));
        let before = all_rows(&database);
        let refused = scripts.run("fix.sql", database.url(), Runner::Message);
        let refused = refused.unwrap_err();
        assert!(refused.contains(told), "{when}: {refused}");
        assert_eq!(all_rows(&database), before);
    }
}

/// Texts that try to leave a literal, a comment, the dollar quote or the script.
const NASTY: [&str; 8] = [
    "it's \"quoted\" \\ and \\' more",
    "$mcp_prune$; DROP TABLE \"LiteLLM_TeamTable\"; --",
    "a\n; DROP TABLE \"LiteLLM_TeamTable\"; \r\n\\! touch /tmp/nothing\n",
    "*/ /* -- ${placeholder} :name :'name' %s ?",
    "Übung 日本語 🦀 e\u{301}",
    "\u{202e}turned\u{2028}around\u{85}",
    "{\"json\": [\"\\u0000\"]}",
    " ",
];

/// Makes a database in which everything that somebody may choose is nasty.
fn nasty() -> TestDatabase {
    let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let database = TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias") VALUES ('{LIVE}', 'x')"#
    ));
    for (at, text) in NASTY.into_iter().enumerate() {
        let name = literal(text);
        database.load(&format!(
            r#"INSERT INTO "LiteLLM_ObjectPermissionTable"
                   ("object_permission_id", "mcp_servers", "mcp_tool_permissions")
               VALUES ({name}, ARRAY['{LIVE}', {name}, 'x', {name}, 'x'],
                       jsonb_build_object({name}, jsonb_build_array({name}),
                                          'x', jsonb_build_array({name}, 'b', 'a', 'b')));
               INSERT INTO "LiteLLM_TeamTable" ("team_id", "team_alias", "object_permission_id")
               VALUES ('t-{at}', {name}, {name});
               INSERT INTO "LiteLLM_MCPToolsetTable" ("toolset_id", "toolset_name", "tools")
               VALUES ({name}, 'ts-{at}', jsonb_build_array(
                   jsonb_build_object('server_id', '{LIVE}', 'tool_name', {name}),
                   jsonb_build_object('server_id', {name}, 'tool_name', {name})))"#
        ));
    }
    database
}

#[test]
fn nasty_names_stay_in_their_literals_and_comments() {
    let options = ["--no-config-servers"];
    repairs_alike(nasty, &options);
    let database = nasty();
    let scripts = Scripts::of(database.url(), &options);
    for name in ["fix.sql", "undo.sql"] {
        let text = scripts.text(name);
        assert_eq!(text.matches("$mcp_prune$").count(), 2, "{text}");
        assert!(!text.contains(['\r', '\u{202e}', '\u{2028}', '\u{85}']));
        // Outside of comments it is ASCII, whatever the encoding of the client.
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("--"));
        for line in code {
            assert!(line.is_ascii(), "{line}");
            assert!(!line.contains("touch") || line.contains('\''), "{line}");
        }
    }
}

#[test]
fn a_script_means_the_same_whatever_the_session_is_set_to() {
    let options = ["--no-config-servers"];
    let by_fix = nasty();
    let fix = ["fix", "--yes", "--no-journal", "--no-config-servers"];
    let ran = run_on(by_fix.url(), &fix);
    assert!([0, 3].contains(&ran.status), "{ran}");
    let expected = all_rows(&by_fix);
    for settings in [
        "SET standard_conforming_strings = off; SET backslash_quote = off",
        "SET client_encoding = 'LATIN1'",
        "SET client_encoding = 'SQL_ASCII'",
        "SET search_path = pg_temp; SET DateStyle = 'German'; SET extra_float_digits = -5",
        "SET quote_all_identifiers = on; SET bytea_output = 'escape'; SET TimeZone = 'Asia/Tokyo'",
        "SET plpgsql.variable_conflict = 'use_column'",
        "SET plpgsql.extra_errors = 'all'",
        "SET plpgsql.check_asserts = off; SET xmloption = document; SET row_security = on",
    ] {
        let database = nasty();
        let scripts = Scripts::of(database.url(), &options);
        let script = format!("{settings};\n{}", scripts.text("fix.sql"));
        assert_eq!(send(database.url(), &script), Ok(()), "{settings}");
        assert_eq!(all_rows(&database), expected, "{settings}");
    }
}

#[test]
fn a_schema_of_any_name_does_not_end_the_script() {
    let database = sites();
    let schema = "x$mcp_prune$ \"--' {table}";
    let quoted = schema.replace('"', "\"\"");
    database.execute(&format!(r#"ALTER SCHEMA public RENAME TO "{quoted}""#));
    let scripts = Scripts::of(database.url(), &["--schema", schema]);
    for name in ["fix.sql", "undo.sql"] {
        assert_eq!(scripts.run(name, database.url(), Runner::Message), Ok(()));
    }
}

#[test]
fn what_was_quoted_is_what_a_server_reads() {
    let database = TestDatabase::empty();
    let runtime = crate::server::runtime();
    let mut connection = runtime.block_on(database.connect());
    let mut runner = TestRunner::new(Config::with_cases(300));
    let texts = prop_oneof![
        "[\\\\'\"$\n\r\t:%{}/*?-]*",
        "\\PC*",
        proptest::collection::vec(any::<char>(), 0..20)
            .prop_map(|chars| chars.into_iter().filter(|c| *c != '\0').collect::<String>()),
    ];
    let mut strings = ["on", "off"].into_iter().cycle();
    let connection = std::cell::RefCell::new(&mut connection);
    let strings = std::cell::RefCell::new(&mut strings);
    let tested = runner.run(&texts, |text| {
        let setting = strings.borrow_mut().next().unwrap();
        let sql = format!(
            "SET standard_conforming_strings = {setting};
             DO $mcp_prune$ BEGIN -- {}
             PERFORM set_config('test.text', encode(convert_to({}, 'UTF8'), 'hex'), false);
             END $mcp_prune$; SELECT current_setting('test.text')",
            in_comment(&text),
            SqlLiteral(&text)
        );
        let mut connection = connection.borrow_mut();
        let row = runtime
            .block_on(sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut **connection))
            .unwrap();
        let read: String = row.get(0);
        let expected: Vec<String> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        prop_assert_eq!(read, expected.concat());
        Ok(())
    });
    tested.unwrap();
}

#[test]
fn a_dba_reads_who_owns_a_row_and_why_it_changes() {
    let database = sites();
    let scripts = Scripts::of(database.url(), &[]);
    let text = scripts.text("fix.sql");
    for told in [
        "-- Removes references to deleted MCP servers from LiteLLM's tables.\n",
        &format!("database \"{}\" at 127.0.0.1", database.name()),
        "--   command:   mcp-prune fix --dry-run --format sql --output ",
        "      -- key ci-bot (ab12cd34), agent planner (a-1)\n",
        &format!("      --   access_mcp_server_ids: removes {GONE}, because no server has that"),
        "(last grant)",
        "-- Access of ",
    ] {
        assert!(text.contains(told), "{told} in {text}");
    }
    // A hash of a key opens some requests, and the settings hold secrets.
    for secret in ["ab12cd34ab12", "sk-secret"] {
        assert!(!format!("{text}{}", scripts.text("undo.sql")).contains(secret));
    }
    // It is one statement without commands of psql.
    let code = text
        .lines()
        .find(|line| !line.starts_with("--") && !line.is_empty());
    assert_eq!(code, Some("DO $mcp_prune$"));
    assert!(text.ends_with("\nEND\n$mcp_prune$;\n"));
}

#[test]
fn a_script_is_made_only_by_a_dry_run_of_fix_and_not_of_credentials() {
    let database = sites();
    let folder = tempfile::tempdir().unwrap();
    let undo = folder.path().join("undo.sql");
    let undo = undo.to_str().unwrap();
    let refused = |args: &[&str]| {
        let ran = run_on(database.url(), args).exits(64);
        assert_eq!(ran.stdout, "", "{ran}");
        assert!(!Path::new(undo).exists());
        ran
    };
    refused(&["fix", "--format", "sql"]).says("--format sql goes with --dry-run");
    refused(&["fix", "--yes", "--format", "sql"]).says("--format sql goes with --dry-run");
    refused(&["fix", "--dry-run", "--undo-sql", undo]).says("--undo-sql goes with --format sql");
    refused(&[
        "fix",
        "--dry-run",
        "--format",
        "sql",
        "--sites",
        "credentials",
    ])
    .says("--format sql does not go with --sites credentials");
    for command in [
        &["scan"][..],
        &["undo", "--dry-run", "x"],
        &["access", "--every-caller"],
    ] {
        let args = [command, &["--format", "sql"]].concat();
        let ran = refused(&args).says("sql");
        assert!(!ran.stderr.contains("markdown, sql"), "{ran}");
    }
}

fn credentials() -> TestDatabase {
    case("credentials")
}

#[test]
fn a_plan_of_credentials_makes_no_script() {
    let database = credentials();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (plan, undo) = (file("plan"), file("undo.sql"));
    let sites = [
        "--sites",
        "credentials",
        "--no-config-servers",
        "--delete-rows",
    ];
    let made = [&["fix", "--dry-run", "--plan-out", &plan], &sites[..]].concat();
    let _ = run_on(database.url(), &made).exits(2);
    let carried_out = [
        "fix",
        "--dry-run",
        "--format",
        "sql",
        "--plan",
        &plan,
        "--no-config-servers",
        "--undo-sql",
        &undo,
    ];
    let ran = run_on(database.url(), &carried_out)
        .exits(4)
        .says("no script deletes credentials");
    assert_eq!(ran.stdout, "");
    assert!(!Path::new(&undo).exists());
}

#[test]
fn the_file_that_takes_it_back_is_private_and_writes_over_nothing() {
    let database = sites();
    let scripts = Scripts::of(database.url(), &[]);
    let undo = scripts.path("undo.sql");
    let mode = fs::metadata(&undo).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = scripts.text("undo.sql");
    let again = [
        "fix",
        "--dry-run",
        "--format",
        "sql",
        "--undo-sql",
        undo.to_str().unwrap(),
    ];
    let ran = run_on(database.url(), &again)
        .exits(1)
        .says("no file is written over");
    assert_eq!(ran.stdout, "");
    assert_eq!(scripts.text("undo.sql"), text);
    // A dry run that fails leaves none.
    let other = scripts.path("other.sql");
    let failing = [
        "fix",
        "--dry-run",
        "--format",
        "sql",
        "--max-rows",
        "1",
        "--undo-sql",
        other.to_str().unwrap(),
    ];
    let ran = run_on(database.url(), &failing).exits(4);
    assert_eq!(ran.stdout, "");
    assert!(!other.exists());
}

#[test]
fn a_script_of_a_saved_plan_does_what_the_plan_says() {
    let by_plan = sites();
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan");
    let plan = plan.to_str().unwrap();
    let only = ["fix", "--dry-run", "--row", "ag-mixed", "--plan-out", plan];
    let _ = run_on(by_plan.url(), &only).exits(2);
    let _ = run_on(
        by_plan.url(),
        &["fix", "--yes", "--no-journal", "--plan", plan],
    )
    .exits(0);
    let by_script = sites();
    let options = ["--plan", plan, "--other-database"];
    let scripts = Scripts::of(by_script.url(), &options);
    assert_eq!(
        scripts.run("fix.sql", by_script.url(), Runner::Message),
        Ok(())
    );
    assert_eq!(all_rows(&by_script), all_rows(&by_plan));
    // The rows are not as planned any more, so there is no script.
    let carry_out = [&["fix", "--dry-run", "--format", "sql"], &options[..]].concat();
    let ran: Ran = run_on(by_script.url(), &carry_out).exits(5);
    assert!(
        ran.stdout.contains("There is no script") && !ran.stdout.contains("DO $"),
        "{ran}"
    );
}

#[test]
fn references_to_a_server_that_is_yet_to_be_deleted_are_removed_before_or_after() {
    let load = || {
        let database = unowned();
        database.execute(&format!(
            r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias") VALUES ('{GONE}', 'old')"#
        ));
        database
    };
    let options = ["--if-deleted", "old", "--no-config-servers"];
    repairs_alike(load, &options);
    let database = load();
    let scripts = Scripts::of(database.url(), &options);
    database.execute(r#"DELETE FROM "LiteLLM_MCPServerTable" WHERE "alias" = 'old'"#);
    assert_eq!(
        scripts.run("fix.sql", database.url(), Runner::Message),
        Ok(())
    );
}

#[test]
fn arrays_keep_their_bounds() {
    let load = || {
        let database = unowned();
        database.execute(&format!(
            r#"UPDATE "LiteLLM_ObjectPermissionTable"
               SET "mcp_servers" = '[3:5]={{{LIVE},{GONE},{LIVE}}}'"#
        ));
        database
    };
    repairs_alike(load, &[]);
}

#[test]
fn without_changes_there_is_a_comment_and_no_statement() {
    let database = case("clean");
    let ran = run(
        mcp_prune(&["fix", "--dry-run", "--format", "sql"]).env("DATABASE_URL", database.url())
    )
    .exits(0)
    .prints("There is nothing to do, so no statement follows.");
    assert!(
        ran.stdout.lines().all(|line| line.starts_with("--")),
        "{ran}"
    );
    assert_eq!(send(database.url(), &ran.stdout), Ok(()));
}
