//! `--db-url embedded:FILE.sql`: the tool on a PostgreSQL inside its own process.

use std::process::Command;

use crate::program::{Ran, mcp_prune, repository, run};
use crate::server::{TestDatabase, concurrent_server, skip};

pub(crate) fn on_file(file: &std::path::Path, args: &[&str]) -> Ran {
    let url = format!("embedded:{}", file.display());
    run(mcp_prune(args).args(["--db-url", &url]))
}

pub(crate) fn on_script(script: &str, args: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script.sql");
    std::fs::write(&file, script).unwrap();
    on_file(&file, args)
}

#[test]
fn the_demo_shows_a_realistic_case_at_a_glance() {
    let ran = on_file(&repository("fixtures/demo.sql"), &["scan"]).exits(2);
    let first = ran.stdout.lines().next().unwrap();
    assert_eq!(
        first,
        "6 stale references in 5 rows, 1 unverified, 1 inactive."
    );
    assert!(
        repository_file("README.md").contains(first),
        "the README shows it"
    );
}

fn repository_file(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap()
}

#[test]
fn a_repair_can_be_rehearsed_and_leaves_the_file_as_it_was() {
    let before = repository_file("fixtures/demo.sql");
    for args in [&["fix", "--dry-run"][..], &["fix", "--yes"]] {
        let status = if args.contains(&"--yes") { 3 } else { 2 };
        on_file(&repository("fixtures/demo.sql"), args).exits(status);
    }
    assert_eq!(repository_file("fixtures/demo.sql"), before);
}

#[test]
fn the_statements_of_the_file_are_not_told() {
    let secret = "s3cret-of-the-dump";
    let demo = repository_file("fixtures/demo.sql");
    let script = format!("{demo}\nCREATE TABLE t (v text);\nINSERT INTO t VALUES ('{secret}');\n");
    let ran = on_script(&script, &["scan", "-vv"]).exits(2);
    assert!(ran.stderr.contains("SELECT"), "{ran}");
    for told in [secret, "INSERT INTO", "CREATE TABLE"] {
        assert!(!ran.to_string().contains(told), "{told} in {ran}");
    }
}

#[test]
fn an_embedded_database_ignores_the_environment() {
    let ran = run(
        mcp_prune(&["scan", "--db-url", "embedded:fixtures/demo.sql"])
            .env("PGSSLMODE", "verify-full")
            .env("PGHOST", "192.0.2.1")
            .env("PGUSER", "nobody")
            .env("PGDATABASE", "nothing"),
    );
    ran.exits(2);
}

#[test]
fn a_file_that_cannot_be_loaded_is_named_with_the_line() {
    for (script, told) in [
        (
            "SELECT 1;\n\nSELEKT 2;\n",
            "line 3: syntax error at or near \"SELEKT\"",
        ),
        ("hello, I am no SQL", "line 1: syntax error"),
        ("PGDMP\u{1}\u{e}", "this is an archive and no SQL"),
        (
            "CREATE TABLE t ();\n\\connect other\nCREATE TABLE u ();\n",
            "line 2: another database begins here",
        ),
        (
            "CREATE TABLE \"LiteLLM_Config\" (a int);\nCOPY \"LiteLLM_Config\" FROM stdin;\nx\n\\.\n",
            "line 2: invalid input syntax",
        ),
        (
            "COPY \"LiteLLM_Config\" FROM stdin;\n1\n\\.\n",
            "line 1: relation \"LiteLLM_Config\" does not exist",
        ),
    ] {
        let ran = on_script(script, &["scan"])
            .exits(1)
            .says("cannot load ")
            .says(told);
        ran.says("hint: ");
    }
    on_file(std::path::Path::new("no/such/file.sql"), &["scan"])
        .exits(1)
        .says("cannot read no/such/file.sql: No such file or directory");
    on_file(&repository("fixtures"), &["scan"])
        .exits(1)
        .says("is a directory");
    on_script("SELECT 1;", &["scan"]).exits(4);
}

#[test]
fn a_plain_dump_of_a_real_server_loads() {
    if concurrent_server("a dump").is_none() {
        return;
    }
    if run(Command::new("sh").args(["-c", "command -v pg_dump"])).status != 0 {
        skip("a dump", "needs pg_dump");
        return;
    }
    let odd = repository_file("fixtures/cases/odd_names.sql");
    let database = TestDatabase::with(&odd);
    database.execute(
        r"CREATE ROLE mcp_prune_dump_owner;
          CREATE FUNCTION noise() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END; $$;
          ALTER FUNCTION noise() OWNER TO mcp_prune_dump_owner;
          GRANT SELECT ON ALL TABLES IN SCHEMA public TO mcp_prune_dump_owner;
          ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO mcp_prune_dump_owner;
          COMMENT ON FUNCTION noise() IS 'a; b''; $$'",
    );
    for format in [
        &["--format=plain"][..],
        &["--inserts"],
        &["--schema=public"],
    ] {
        let dump = run(Command::new("pg_dump").args(format).arg(database.url())).exits(0);
        let live = crate::program::run_on(database.url(), &["scan", "--format", "json"]).exits(2);
        let dumped = on_script(&dump.stdout, &["scan", "--format", "json"]).exits(2);
        for part in ["servers", "summary", "findings"] {
            assert_eq!(dumped.json()[part], live.json()[part], "{format:?}");
        }
    }
    database.execute("DROP OWNED BY mcp_prune_dump_owner; DROP ROLE mcp_prune_dump_owner");
}
