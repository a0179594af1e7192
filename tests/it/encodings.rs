//! Databases of other encodings than UTF-8, and text that they, or UTF-8, cannot hold.

use crate::program::{Ran, mcp_prune, run, run_on};
use crate::server::{TestDatabase, concurrent_server};

/// Checks that a command fails without a panic and names what cannot be read.
#[track_caller]
fn fails_over(ran: Ran, what: &str) {
    let ran = ran.exits(1).says(what);
    assert!(!ran.stderr.contains("panicked"), "{ran}");
    assert!(!ran.stderr.contains("error occurred while"), "{ran}");
}

#[test]
fn text_that_is_not_utf_8_is_an_error_that_names_it() {
    let Some(server) = concurrent_server("text that is not UTF-8") else {
        return;
    };
    for (insert, what) in [
        (
            r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias") VALUES ('s', E'caf\xe9')"#,
            "MCP servers",
        ),
        (
            r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               VALUES ('p-1', ARRAY[E'caf\xe9'])"#,
            "LiteLLM_ObjectPermissionTable",
        ),
        (
            r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               VALUES ('p-1', ARRAY['gone']);
               INSERT INTO "LiteLLM_TeamTable" ("team_id", "team_alias", "object_permission_id")
               VALUES ('t-1', E'caf\xe9', 'p-1')"#,
            "links to the permission rows",
        ),
        (
            r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               VALUES (E'caf\xe9', ARRAY['gone'])"#,
            "stale references",
        ),
    ] {
        let database = server.create_encoded("SQL_ASCII");
        database.load(r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('live')"#);
        database.load(insert);
        for args in [
            &["scan", "--no-config-servers"][..],
            &["fix", "--yes", "--no-journal", "--no-config-servers"],
        ] {
            let ran = run_on(database.url(), args);
            fails_over(ran, what);
        }
    }
}

#[test]
fn text_in_a_database_without_encoding_is_read_as_utf_8() {
    let Some(server) = concurrent_server("a database without encoding") else {
        return;
    };
    let database = server.create_encoded("SQL_ASCII");
    database.load(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias") VALUES ('s', 'café');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           VALUES ('p-1', ARRAY['café', 'gone'])"#,
    );
    let scan = run_on(
        database.url(),
        &[
            "scan",
            "--no-config-servers",
            "--keep",
            "日本",
            "--format",
            "json",
        ],
    );
    let found = scan.exits(2).json();
    assert_eq!(found["summary"]["stale"], 1);
}

/// Makes a database in which LATIN1 text is in every place, with one reference that is stale.
fn latin1(test: &str) -> Option<TestDatabase> {
    let database = concurrent_server(test)?.create_encoded("LATIN1");
    database.load(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias") VALUES ('s', 'café');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               VALUES ('p-é', ARRAY['café', 'ünder', 'gone']);
           INSERT INTO "LiteLLM_TeamTable" ("team_id", "team_alias", "object_permission_id")
               VALUES ('t-1', 'größe', 'p-é')"#,
    );
    Some(database)
}

#[test]
fn a_name_outside_the_encoding_is_in_no_row_and_fails_nothing() {
    let Some(database) = latin1("a name outside the encoding") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    // The one is in no row, the other is.
    std::fs::write(
        &config,
        "mcp_servers: {\"日本\": {url: \"http://a/mcp\", transport: http}, \
         \"\u{fc}nder\": {url: \"http://b/mcp\", transport: http}}\n",
    )
    .unwrap();
    let config = config.to_str().unwrap();
    let scan = |args: &[&str]| {
        let args = [
            &["scan", "--format", "json", "--litellm-config", config],
            args,
        ]
        .concat();
        run_on(database.url(), &args)
    };
    for args in [
        &[][..],
        &["--keep", "日本"],
        &["--keep", "日本", "--keep", "€"],
        &["--owner", "team:größe"],
        &["--row", "p-é"],
    ] {
        let found = scan(args).exits(2).json();
        assert_eq!(found["summary"]["stale"], 1, "{args:?}");
    }
    let _ = scan(&["--keep", "gone", "--keep", "日本"]).exits(0);
    for args in [&["--owner", "team:日本"][..], &["--row", "日本"]] {
        let _ = scan(args).exits(1).says("matches nothing");
    }
    let fix = ["fix", "--yes", "--litellm-config", config, "--no-journal"];
    run_on(database.url(), &fix).exits(0);
    let left = r#"SELECT "mcp_servers"::text FROM "LiteLLM_ObjectPermissionTable""#;
    assert_eq!(database.texts(left), ["{café,ünder}"]);
}

#[test]
fn a_name_with_a_zero_character_is_in_no_row() {
    let database = TestDatabase::with(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias") VALUES ('s', 'a')"#,
    );
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    let text = "mcp_servers: {\"a\\0b\": {url: \"http://a/mcp\", transport: http}}\n";
    std::fs::write(&config, text).unwrap();
    let args = ["scan", "--litellm-config", config.to_str().unwrap()];
    let _ = run_on(database.url(), &args).exits(0);
}

#[test]
fn a_remap_to_a_name_that_the_encoding_cannot_hold_is_refused() {
    let Some(database) = latin1("a remap outside the encoding") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    let text = "mcp_servers: {\"日本\": {url: \"http://a/mcp\", transport: http}}\n";
    std::fs::write(&config, text).unwrap();
    let before = database.permission_rows();
    let mut fix = mcp_prune(&["fix", "--yes", "--no-journal", "--remap", "gone=日本"]);
    fix.args([
        "--keep",
        "ünder",
        "--litellm-config",
        config.to_str().unwrap(),
    ]);
    run(fix.env("DATABASE_URL", database.url()))
        .exits(4)
        .says("encoding");
    assert_eq!(database.permission_rows(), before);
}

#[test]
fn texts_of_several_bytes_are_told_apart_by_the_server() {
    let Some(server) = concurrent_server("an encoding of several bytes") else {
        return;
    };
    let database = server.create_encoded("EUC_JP");
    database.load(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('live');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               VALUES ('p-1', ARRAY['日本', 'gone'])"#,
    );
    let keep = ["日本", "😀", "한국", "東京", "😀2"].map(|name| ["--keep", name]);
    let args = ["scan", "--no-config-servers", "--format", "json"];
    let scan = run_on(database.url(), &[&args[..], keep.as_flattened()].concat());
    assert_eq!(scan.exits(2).json()["summary"]["stale"], 1);
}
