//! `embedded:` on dumps as they are met. One that loads gives the same report as the live database.
//! One that does not load is refused with the command that makes a better one.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::embedded::{on_file, on_script};
use crate::litellm_schema::{migrate, populate, releases};
use crate::program::{Ran, run, run_on};
use crate::samples::script;
use crate::server::{TestDatabase, concurrent_server, server_to_crash, skip};

/// Tables of other applications, which need what the embedded PostgreSQL does not have.
const OTHER_APPLICATIONS: &str = r#"
CREATE EXTENSION citext;
CREATE EXTENSION "uuid-ossp";
CREATE EXTENSION pg_trgm;
CREATE TABLE orders (id uuid DEFAULT uuid_generate_v4() PRIMARY KEY, email citext, note text);
INSERT INTO orders (email, note) SELECT 'a@b', E'it''s; \\. "LiteLLM_TeamTable"' FROM generate_series(1, 3);
CREATE INDEX ON orders USING gin (note gin_trgm_ops);
CREATE INDEX ON "LiteLLM_TeamTable" USING gin (team_alias gin_trgm_ops);
CREATE COLLATION app_und (provider = icu, locale = 'und');
CREATE TABLE sorted (a text COLLATE app_und);
INSERT INTO sorted VALUES ('a');
CREATE TABLE words (a text, v tsvector GENERATED ALWAYS AS (to_tsvector('english', a)) STORED);
INSERT INTO words VALUES ('some words');
CREATE VIEW all_orders AS SELECT email FROM orders;
CREATE MATERIALIZED VIEW old_orders AS SELECT email FROM orders;
CREATE FUNCTION total(a int) RETURNS int LANGUAGE sql
    BEGIN ATOMIC SELECT 1; SELECT CASE WHEN a > 1 THEN 2 END; END;
CREATE TABLE log (a serial, b text);
INSERT INTO log (b) VALUES ('x');
CREATE RULE two AS ON DELETE TO log DO ALSO (UPDATE log SET b = 'x;'; NOTIFY log);
COMMENT ON FUNCTION total(int) IS 'a; b''; $$'"#;

/// Makes a database with LiteLLM's newest schema, some stale references, and other applications'
/// tables.
fn crowded(test: &str) -> Option<TestDatabase> {
    let server = concurrent_server(test)?;
    if run(Command::new("sh").args(["-c", "command -v pg_dump pg_restore"])).status != 0 {
        skip(test, "needs pg_dump");
        return None;
    }
    let release = releases().pop()?;
    let database = migrate(server, &release);
    populate(&database);
    database.load(OTHER_APPLICATIONS);
    Some(database)
}

/// Returns the servers and the references of a scan.
fn told(scan: &Ran) -> [Value; 3] {
    let report = scan.json();
    ["servers", "summary", "findings"].map(|part| report[part].clone())
}

fn dump(database: &str, options: &[&str]) -> String {
    let mut command = Command::new("pg_dump");
    run(command.args(options).arg(database)).exits(0).stdout
}

/// Returns the command in the hint that `ran` ends with, after `label`.
#[track_caller]
fn command_in(ran: &Ran, label: &str) -> String {
    let (_, hint) = ran.stderr.split_once("hint: ").unwrap();
    let (_, command) = hint
        .split_once(label)
        .unwrap_or_else(|| panic!("no {label:?} in {hint}"));
    let command = command.split("; or ").next().unwrap();
    command.trim_end().to_owned()
}

/// Runs a command as an operator of that database would paste it into a shell.
#[track_caller]
fn paste(command: &str, folder: &Path, database_url: &str) {
    let mut shell = Command::new("sh");
    let url = format!("{database_url}?schema=public&connection_limit=5");
    let ours = std::env::vars_os().map(|(name, _)| name);
    let ours = ours.filter(|name| name.to_string_lossy().starts_with("MCP_PRUNE_"));
    for name in ours {
        shell.env_remove(name);
    }
    let shell = shell.args(["-c", command]).current_dir(folder);
    let _ = run(shell.env("DATABASE_URL", url)).exits(0);
}

#[test]
fn dumps_of_a_crowded_database_say_what_the_database_says() {
    let Some(database) = crowded("dumps of LiteLLM's schema") else {
        return;
    };
    let live = told(&run_on(database.url(), &["scan", "--format", "json"]).exits(2));
    let of_litellm = "--table=\"LiteLLM_\"*";
    for options in [
        &["--format=plain"][..],
        &["--inserts", "--clean"],
        &["--column-inserts", "--clean", "--if-exists"],
        &["--rows-per-insert=10", "--quote-all-identifiers"],
        &["--create", "--clean", "--use-set-session-authorization"],
        &["--no-owner", "--no-privileges", "--schema=public"],
        &["--disable-triggers", "--encoding=SQL_ASCII"],
        &[of_litellm],
        &[of_litellm, "--inserts", "--exclude-table-data=*SpendLogs*"],
    ] {
        let script = dump(database.url(), options);
        let scan = on_script(&script, &["scan", "--format", "json"]).exits(2);
        assert_eq!(told(&scan), live, "{options:?}: {}", scan.stderr);
        // Something of each: other applications' tables, or the trigger's function and a type.
        let warning = scan.stderr.lines().next().unwrap();
        assert!(
            warning.starts_with("warning: ")
                && warning.contains(
                    "were left out, and nothing of them is read here; the first at line "
                ),
            "{options:?}: {warning}"
        );
    }
    let script = dump(database.url(), &[]);
    let _ = on_script(&script, &["doctor"]).prints("were left out, and nothing of them");
}

#[test]
fn dumps_of_older_releases_are_complete() {
    let test = "dumps of LiteLLM's releases";
    let Some(server) = concurrent_server(test) else {
        return;
    };
    if run(Command::new("sh").args(["-c", "command -v pg_dump"])).status != 0 {
        skip(test, "needs pg_dump");
        return;
    }
    for release in releases() {
        let database = migrate(server, &release);
        populate(&database);
        let scan = ["scan", "--format", "json"];
        let live = run_on(database.url(), &scan).exits(2);
        let dumped = on_script(&dump(database.url(), &[]), &scan).exits(2);
        assert_eq!(told(&dumped), told(&live), "{}", release.display());
        // Nothing was left out.
        assert_eq!(dumped.stderr.lines().count(), live.stderr.lines().count());
    }
}

#[test]
fn archives_are_told_with_the_command_that_unpacks_them() {
    let Some(database) = crowded("archives of LiteLLM's schema") else {
        return;
    };
    let url = database.url();
    let live = told(&run_on(url, &["scan", "--format", "json"]).exits(2));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("it's a dump");
    let path = file.to_str().unwrap().replace('\'', r"'\''");
    for command in [
        "pg_dump --format=custom",
        "pg_dump --format=tar",
        "pg_dump --format=directory",
        "gzip",
        "xz",
        "bzip2",
        "zstd",
        "lz4",
        "iconv -f UTF-8 -t UTF-16",
    ] {
        let program = command.split(' ').next().unwrap();
        if run(Command::new("sh").args(["-c", &format!("command -v {program}")])).status != 0 {
            skip(command, "is not installed");
            continue;
        }
        let made = if program == "pg_dump" {
            format!("{command} --file='{path}' '{url}'")
        } else {
            format!("pg_dump '{url}' | {command} > '{path}'")
        };
        let _ = run(Command::new("sh").args(["-c", &made])).exits(0);
        let refused = on_file(&file, &["scan"]).exits(1).says(match program {
            "iconv" => "this is text in UTF-16",
            _ => "this is an archive and no SQL",
        });
        let unpack = command_in(&refused, "make a text of it: ");
        paste(&unpack, folder.path(), url);
        let text = folder.path().join("it's a dump.sql");
        let scan = on_file(&text, &["scan", "--format", "json"]).exits(2);
        assert_eq!(told(&scan), live, "{command}");
        std::fs::remove_file(&text).unwrap();
        let _ = run(Command::new("rm").arg("-r").arg(&file)).exits(0);
    }
    let _ = on_file(folder.path(), &["scan"])
        .exits(1)
        .says("is a directory");
}

#[test]
fn a_dump_that_leaves_out_what_is_read_is_refused_with_a_command_that_does_not() {
    let Some(database) = crowded("dumps of too little") else {
        return;
    };
    let url = database.url();
    let live = told(&run_on(url, &["scan", "--format", "json"]).exits(2));
    let required = [
        "--table=\"LiteLLM_\"*",
        "--exclude-table=\"LiteLLM_AgentsTable\"",
    ];
    let folder = tempfile::tempdir().unwrap();
    let refused = on_script(&dump(url, &required), &["scan"])
        .exits(4)
        .says("the file lacks table \"LiteLLM_AgentsTable\"");
    paste(
        &command_in(&refused, "dump all of LiteLLM's tables: "),
        folder.path(),
        url,
    );
    let scan = on_file(
        &folder.path().join("litellm.sql"),
        &["scan", "--format", "json"],
    );
    assert_eq!(told(&scan.exits(2)), live);

    // A column that this server cannot have, of a table that is read.
    database.execute(
        r#"CREATE TYPE app_kind AS ENUM ('a');
           ALTER TABLE "LiteLLM_TeamTable" ADD COLUMN app_kind app_kind"#,
    );
    let refused = on_script(&dump(url, &["--table=\"LiteLLM_\"*"]), &["scan"])
        .exits(1)
        .says("type \"public.app_kind\" does not exist");
    paste(
        &command_in(&refused, "dump all of the database: "),
        folder.path(),
        url,
    );
    let scan = on_file(
        &folder.path().join("litellm.sql"),
        &["scan", "--format", "json"],
    );
    assert_eq!(told(&scan.exits(2)), live);

    // Whoever links to permission rows owns them, so that table is not left out either.
    database.execute(
        r#"CREATE TABLE app_grants (a citext,
               p text REFERENCES "LiteLLM_ObjectPermissionTable" ("object_permission_id"))"#,
    );
    let _ = on_script(&dump(url, &[]), &["scan"])
        .exits(1)
        .says("app_grants\" does not exist")
        .says("mcp-prune reads this table");
}

#[test]
fn a_dump_of_a_whole_server_loads_or_is_cut() {
    let Some(server) = server_to_crash("a dump of a server") else {
        return;
    };
    let admin = TestDatabase::at(server.url("postgres"));
    admin.execute("CREATE ROLE app LOGIN PASSWORD 'x'");
    admin.execute("CREATE DATABASE litellm OWNER app");
    let database = TestDatabase::at(server.url("litellm"));
    let schema = script("schema");
    let case = script("cases/odd_names");
    database.load(&schema);
    database.load(&case);
    let live = told(&run_on(database.url(), &["scan", "--format", "json"]).exits(2));
    let dump_all = || {
        let mut command = Command::new("pg_dumpall");
        let option = format!("--dbname={}", admin.url());
        run(command.args(["--clean", &option])).exits(0).stdout
    };
    let scan = on_script(&dump_all(), &["scan", "--format", "json"]).exits(2);
    assert_eq!(told(&scan), live);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.sql");
    // One that comes before and one that comes after.
    for (application, name) in [("app", "app"), ("other", "\"other; app\"")] {
        admin.execute(&format!("CREATE DATABASE {name}"));
        let name = name.trim_matches('"').replace(' ', "%20");
        let database = TestDatabase::at(server.url(&name));
        database.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
        std::fs::write(&file, dump_all()).unwrap();
        let refused = on_file(&file, &["scan"])
            .exits(1)
            .says("another database begins here");
        paste(
            &command_in(&refused, "cut LiteLLM's out of it: "),
            folder.path(),
            database.url(),
        );
        let cut = folder.path().join("all.sql.litellm.sql");
        let scan = on_file(&cut, &["scan", "--format", "json"]).exits(2);
        assert_eq!(told(&scan), live, "{application}");
    }
    admin.execute("CREATE DATABASE staging TEMPLATE litellm");
    let _ = on_script(&dump_all(), &["scan"])
        .exits(1)
        .says("hint: 2 of them have LiteLLM's tables; dump the one that you mean: pg_dump ");
}

#[test]
fn dumps_in_other_encodings_are_refused_with_what_makes_them_utf8() {
    let Some(server) = server_to_crash("dumps in other encodings") else {
        return;
    };
    let admin = TestDatabase::at(server.url("postgres"));
    let schema = script("schema");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("d.sql");
    for encoding in ["LATIN1", "SQL_ASCII"] {
        admin.execute(&format!(
            "CREATE DATABASE {encoding} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        ));
        let database = TestDatabase::at(server.url(&encoding.to_ascii_lowercase()));
        database.load(&schema);
        // The byte that is "é" in LATIN1, and in UTF-8 nothing.
        database.execute(
            r#"SET client_encoding = SQL_ASCII;
               INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias")
               VALUES ('s', E'caf\xe9');
               INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               VALUES ('p', ARRAY[E'caf\xe9', 'c1e2a7d4-93b6-4d0e-b8a5-6a2f9e4d7c33'])"#,
        );
        let is_latin1 = encoding == "LATIN1";
        let dump = |options: &[&str]| {
            let mut command = Command::new("pg_dump");
            let output = command.args(options).arg(database.url()).output().unwrap();
            std::fs::write(&file, output.stdout).unwrap();
        };
        dump(&[]);
        let refused = on_file(&file, &["scan"]).exits(1);
        if is_latin1 {
            let _ = refused
                .says("this is in LATIN1, and only UTF8 can be read")
                .says("hint: make the dump with --encoding=UTF8");
            dump(&["--encoding=UTF8"]);
        } else {
            let refused = refused.says("invalid byte sequence for encoding \"UTF8\": 0xe9");
            let command = command_in(&refused, "as in: ").replace("FILE", "d.sql");
            paste(&command, folder.path(), database.url());
            std::fs::rename(folder.path().join("d.sql.utf8.sql"), &file).unwrap();
        }
        let report = on_file(&file, &["scan", "--format", "json"])
            .exits(2)
            .json();
        assert_eq!(report["summary"]["stale"], 1, "{encoding}: {report}");
        assert_eq!(report["servers"]["database"], 1, "{encoding}: {report}");
    }
}

#[test]
fn what_a_dump_may_hold_besides_is_left_out() {
    let schema = script("schema");
    let case = script("cases/odd_names");
    let plain = on_script(&format!("{schema}\n{case}"), &["scan", "--format", "json"]).exits(2);
    assert_eq!(plain.stderr.lines().count(), 1, "{plain}");
    for (statement, why) in [
        // The case of an example in a report.
        (
            "CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" WITH SCHEMA public;
             CREATE TABLE public.o (id uuid DEFAULT public.uuid_generate_v4() NOT NULL);",
            "uuid_generate_v4() does not exist",
        ),
        (
            "CREATE TABLE o (a public.vector(3));",
            "type \"public.vector\" does not exist",
        ),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE plpython3u AS $_$ return 1; $_$;",
            "language \"plpython3u\" does not exist",
        ),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE c AS '$libdir/app', 'f';",
            "could not access file",
        ),
        (
            "SECURITY LABEL FOR selinux ON TABLE \"LiteLLM_TeamTable\" IS 'x';",
            "is not loaded",
        ),
        (
            "CREATE TRIGGER t AFTER INSERT ON \"LiteLLM_MCPServerTable\" EXECUTE FUNCTION f();",
            "function f() does not exist",
        ),
        (
            "CREATE POLICY p ON \"LiteLLM_TeamTable\" TO nobody;",
            "role \"nobody\" does not exist",
        ),
        (
            "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw;",
            "\"postgres_fdw\" does not exist",
        ),
        (
            "CREATE SUBSCRIPTION s CONNECTION 'host=/no' PUBLICATION p;",
            "line ",
        ),
    ] {
        let script = format!("{schema}\n{case}\n{statement}");
        let scan = on_script(&script, &["scan", "--format", "json"]).exits(2);
        let warning = scan.stderr.lines().next().unwrap();
        assert!(
            warning.starts_with("warning: 1 statement of ") && warning.contains(why),
            "{statement}: {warning}"
        );
        assert_eq!(told(&scan), told(&plain), "{statement}");
    }
}
