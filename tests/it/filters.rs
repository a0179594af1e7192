//! Filters: owners by each of their names, references, and remaps, which a row has to name. No API
//! key is shown, wherever on the command line it was put.

use mcp_prune::testing::hash;
use serde_json::json;

use crate::program::{Ran, mcp_prune, run, run_on};
use crate::samples::{GONE, case};
use crate::server::{TestDatabase, concurrent_server};

const KEY: &str = "sk-Zq7Secret0key1AB12";

/// Makes two keys with one alias, two users with one address, and a team whose name is another
/// one's id.
fn company() -> TestDatabase {
    let [one, other] = [hash(KEY), hash("sk-another")];
    TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias") VALUES ('live', 'gh');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           SELECT 'p-' || n, ARRAY['live', '{GONE}'] FROM generate_series(1, 7) AS n;
           INSERT INTO "LiteLLM_VerificationToken"
               ("token", "key_name", "key_alias", "object_permission_id") VALUES
               ('{one}', 'sk-...AB12', 'ci', 'p-1'), ('{other}', 'sk-...ther', 'ci', 'p-2');
           INSERT INTO "LiteLLM_UserTable" ("user_id", "user_email", "object_permission_id") VALUES
               ('u-1', 'ann@example.com', 'p-3'), ('u-2', 'two@example.com', 'p-4'),
               ('u-3', 'two@example.com', 'p-5');
           INSERT INTO "LiteLLM_TeamTable" ("team_id", "team_alias", "object_permission_id") VALUES
               ('t-1', 'platform', 'p-6'), ('t-2', 't-1', 'p-7');"#
    ))
}

fn rows_of(database: &TestDatabase, owner: &str) -> Vec<String> {
    let scan = ["scan", "--format", "json", "--owner", owner];
    let scan = run_on(database.url(), &scan).exits(2).json();
    let findings = scan["findings"].as_array().unwrap().iter();
    let mut rows: Vec<String> = findings
        .map(|finding| finding["row"].as_str().unwrap().to_owned())
        .collect();
    rows.dedup();
    rows
}

#[test]
fn an_owner_is_found_by_all_that_litellm_calls_it() {
    let database = company();
    let whole = hash(KEY);
    for (owner, row) in [
        (format!("key:{KEY}"), "p-1"),
        (format!("key:{whole}"), "p-1"),
        (format!("key:{}", &whole[..8]), "p-1"),
        ("key:sk-...AB12".to_owned(), "p-1"),
        ("key:sk-...ther".to_owned(), "p-2"),
        ("user:ann@example.com".to_owned(), "p-3"),
        ("user:u-2".to_owned(), "p-4"),
        ("team:platform".to_owned(), "p-6"),
        // An id is nobody else's, whatever they are called.
        ("team:t-1".to_owned(), "p-6"),
        ("team:t-2".to_owned(), "p-7"),
    ] {
        assert_eq!(rows_of(&database, &owner), [row], "{owner}");
    }
}

#[test]
fn an_ambiguous_name_is_an_error_that_lists_the_ids() {
    let database = company();
    let before = database.permission_rows();
    let mut keys = [hash(KEY), hash("sk-another")].map(|hash| hash[..8].to_owned());
    keys.sort();
    for (owner, ids) in [
        ("key:ci", keys.join(", ")),
        ("user:two@example.com", "u-2, u-3".to_owned()),
    ] {
        for command in [&["scan"][..], &["fix", "--dry-run"], &["fix", "--yes"]] {
            let args = [command, &["--owner", owner]].concat();
            run_on(database.url(), &args)
                .exits(1)
                .says(&format!("is ambiguous: it is the name of {ids}"))
                .says("hint: name one by its id, as in --owner ");
        }
    }
    assert_eq!(database.permission_rows(), before);
}

#[test]
fn columns_with_addresses_are_read_only_to_find_an_owner_by_one() {
    if concurrent_server("a role of its own").is_none() {
        return;
    }
    let database = company();
    let role = format!("{}_reader", database.name());
    database.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 's3cret'"));
    let grants = run_on(database.url(), &["grants", "--role", &role]).exits(0);
    for column in ["user_email", "key_name"] {
        assert!(!grants.stdout.contains(column), "{grants}");
    }
    database.load(&grants.stdout);
    let url = database
        .url()
        .replacen("postgres@", &format!("{role}:s3cret@"), 1);
    for (owner, column) in [
        ("user:ann@example.com", "user_email"),
        ("key:sk-...AB12", "key_name"),
    ] {
        let grant = format!("GRANT SELECT (\"{column}\") ON ");
        run_on(&url, &["scan", "--owner", owner])
            .exits(7)
            .says(&format!("lacks SELECT on \"{column}\""))
            .says(&grant);
    }
    run_on(&url, &["scan", "--owner", "user:u-1"]).exits(2);
    run_on(&url, &["scan", "--owner", &format!("key:{KEY}")]).exits(2);
    database.execute(&format!("DROP OWNED BY {role}"));
    database.execute(&format!("DROP ROLE {role}"));
}

fn shows_no_key(ran: &Ran) {
    let told = ran.to_string();
    for secret in [KEY, &KEY[3..], &hash(KEY)[..]] {
        assert!(!told.contains(secret), "{told}");
    }
}

#[test]
fn no_key_is_shown_wherever_it_was_put() {
    let database = company();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let [plan, journal, csv] = ["plan", "journal", "csv"].map(file);
    std::fs::write(&csv, format!("old,new\n{KEY},live\n")).unwrap();
    let named = format!("key:{KEY}");
    let team = format!("team:{KEY}");
    let [remap, remap_to] = [format!("{KEY}=live"), format!("{GONE}={KEY}")];
    let at_file = format!("@{KEY}");
    for args in [
        // As a value.
        &["scan", "--owner", KEY][..],
        &["scan", "--owner", &team],
        &["scan", "--reference", KEY],
        &["scan", "--row", KEY],
        &["scan", "--keep", KEY],
        &["scan", "--keep", &at_file],
        &["scan", "--schema", KEY],
        &["scan", "--db-url", KEY],
        &["scan", "--db-url-file", KEY],
        &["scan", "--litellm-config", KEY],
        &["scan", "--output", KEY],
        &["scan", "--metrics-file", KEY],
        &["scan", "--format", KEY],
        &["scan", "--sites", KEY],
        &["scan", "--limit", KEY],
        &["fix", "--yes", "--remap", &remap],
        &["fix", "--yes", "--remap", &remap_to],
        &["fix", "--yes", "--remap", KEY],
        &["fix", "--yes", "--remap-file", KEY],
        &["fix", "--yes", "--journal", KEY],
        &["fix", "--yes", "--plan", KEY],
        &["fix", "--yes", "--max-rows", KEY],
        &["fix", "--yes", "--notify-redis", KEY],
        &["undo", "--yes", KEY],
        &["grants", "--role", KEY],
        // In the place of a word.
        &[KEY],
        &["scan", KEY],
        &["man", KEY],
        &["completions", KEY],
        &["scan", &named],
    ] {
        let ran = run_on(database.url(), args).exits(64);
        shows_no_key(&ran);
        let ndjson = [args, &["--format", "ndjson"]].concat();
        shows_no_key(&run_on(database.url(), &ndjson));
    }
    let file = ["fix", "--yes", "--remap-file", &csv];
    shows_no_key(&run_on(database.url(), &file).exits(1));

    // What it names is found, and nothing that is kept of it has it.
    for format in crate::program::formats() {
        let scan = ["scan", "--format", format, "--owner", &named];
        shows_no_key(&run_on(database.url(), &scan).exits(2));
        let joined = format!("--owner={named}");
        let scan = ["scan", "--format", format, &joined];
        shows_no_key(&run_on(database.url(), &scan).exits(2));
        let dry = ["fix", "--dry-run", "--format", format, "--owner", &named];
        shows_no_key(&run_on(database.url(), &dry).exits(2));
    }
    let dry = ["fix", "--dry-run", "--plan-out", &plan, "--owner", &named];
    shows_no_key(&run_on(database.url(), &dry).exits(2));
    let fix = [
        "fix",
        "--yes",
        "--journal",
        &journal,
        "--format",
        "markdown",
        "--owner",
        &named,
    ];
    shows_no_key(&run_on(database.url(), &fix).exits(0));
    for file in [&plan, &journal] {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(!text.contains(KEY) && !text.contains(&hash(KEY)), "{text}");
    }
    let nobody = ["scan", "--format", "ndjson", "--owner", "key:sk-nobodys"];
    let ran = run_on(database.url(), &nobody).exits(1);
    assert!(!ran.to_string().contains("sk-nobodys"), "{ran}");
    let ran = ran.says(&format!("there is no key {}", &hash("sk-nobodys")[..8]));
    assert!(ran.stdout.contains("there is no key"), "{ran}");
}

#[test]
fn the_command_that_is_next_names_the_same_owner_without_the_key() {
    let database = company();
    let scan = ["scan", "--owner", &format!("key:{KEY}")];
    let scan = run_on(database.url(), &scan).exits(2);
    let owner = format!("--owner key:{}", &hash(KEY)[..8]);
    let _ = scan.prints(&owner);
}

#[test]
fn a_live_reference_is_told_with_who_names_it() {
    let database = company();
    database.execute(
        r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = ARRAY['live', 'gh']
           WHERE "object_permission_id" = 'p-6'"#,
    );
    for command in [&["scan"][..], &["fix", "--dry-run"], &["fix", "--yes"]] {
        let of = |reference: &str, more: &[&str]| {
            let args = [command, &["--reference", reference], more].concat();
            let ran = run_on(database.url(), &args).exits(1);
            assert!(!ran.stderr.contains("how it is spelled"), "{ran}");
            ran
        };
        of("live", &[])
            .says("it is a server that is served, named by 7 rows of 7 owners: key ci (")
            .says(" and 4 more");
        of("gh", &[]).says("named by 1 row of 1 owner: team platform (t-1)");
        of("gh", &["--owner", "team:t-2"]).says("and no row looked at names it");
    }
    run_on(database.url(), &["scan", "--reference", "nowhere"])
        .exits(1)
        .says("no row looked at names it")
        .says("how it is spelled");
}

#[test]
fn a_remap_of_what_nobody_names_is_an_error_and_nothing_is_written() {
    let database = company();
    let before = database.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("remaps.csv");
    let csv = csv.to_str().unwrap();
    // As it is, but for one letter.
    let typo = GONE.replace("f0", "f1");
    std::fs::write(csv, format!("old,new\n{GONE},live\n{typo},live\n")).unwrap();
    let [remap, right] = [format!("{typo}=live"), format!("{GONE}=live")];
    for mode in ["--dry-run", "--yes"] {
        for remaps in [
            &["--remap", &remap][..],
            &["--remap", &right, "--remap", &remap],
            &["--remap-file", csv],
            &["--remap", &remap, "--reference", &typo],
        ] {
            let args = [&["fix", mode], remaps].concat();
            run_on(database.url(), &args)
                .exits(1)
                .says(&format!("the remap of {typo} matches nothing"));
        }
        // Nor is it named by the rows of this one.
        database.execute(
            r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = '{live}'
               WHERE "object_permission_id" = 'p-7'"#,
        );
        let other = ["fix", mode, "--remap", &right, "--owner", "team:t-2"];
        run_on(database.url(), &other)
            .exits(1)
            .says("matches nothing");
        database.execute(&format!(
            r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = '{{live,{GONE}}}'
               WHERE "object_permission_id" = 'p-7'"#
        ));
    }
    assert_eq!(database.permission_rows(), before);
    let fix = [
        "fix",
        "--yes",
        "--no-journal",
        "--format",
        "json",
        "--remap",
        &right,
    ];
    let fix = run_on(database.url(), &fix).exits(0).json();
    assert_eq!(fix["summary"]["references_remapped"], json!(7));
    run(&mut mcp_prune(&["fix", "--help"]))
        .exits(0)
        .prints("Other stale references are still removed");
}

/// Makes a database with keys of two teams, of a LiteLLM that compares what a key names with what
/// its team names.
fn refusing() -> TestDatabase {
    case("kept_by_key")
}

/// The references that a dry run with `options` would leave for the sake of a team's keys, by row.
fn kept_by_key(database: &TestDatabase, options: &[&str]) -> Vec<(String, String)> {
    let args = [&["fix", "--dry-run", "--format", "json"], options].concat();
    let report = run_on(database.url(), &args).exits(2).json();
    let held = report["held"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    held.filter(|held| held["reason"] == "kept-by-key")
        .map(|held| (text(&held["row"]), text(&held["reference"])))
        .collect()
}

/// LiteLLM 1.82.2 to 1.87.5 answer 403 to an edit of a key that names what its team does not.
#[test]
fn a_team_keeps_what_keys_outside_the_filters_name() {
    const HELD: &str = "c1e2a7d4-93b6-4d0e-b8a5-6a2f9e4d7c33";
    const FREE: &str = "d2b8c9a0-4c59-4f0e-9f3b-7a6f5e4d3c2b";
    let database = refusing();
    let remap = format!("{FREE}=0b8f8e0c-2f5d-4a51-9a35-1f4a1c9f7d10");
    for (options, kept) in [
        (&[][..], &[HELD][..]),
        (&["--owner", "team:core"], &[HELD, FREE]),
        (&["--row", "p-team"], &[HELD, FREE]),
        (&["--row", "p-team", "--row", "p-key-held"], &[HELD, FREE]),
        (&["--row", "p-team", "--row", "p-key-free"], &[HELD]),
        (&["--owner", "team:core", "--owner", "key:free"], &[HELD]),
        (&["--remap", &remap], &[HELD]),
        (&["--row", "p-team", "--remap", &remap], &[FREE, HELD]),
    ] {
        let kept: Vec<_> = kept
            .iter()
            .map(|reference| ("p-team".to_owned(), (*reference).to_owned()))
            .collect();
        assert_eq!(kept_by_key(&database, options), kept, "{options:?}");
    }

    // A plan is carried out as if its rows had been asked about.
    let other = "0f6f5b5e-3a0e-4a53-8d6f-2d3a6c1b9e77";
    database.execute(&format!(
        r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = array_append("mcp_servers", '{other}')
           WHERE "object_permission_id" = 'p-team'"#
    ));
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan");
    let plan = plan.to_str().unwrap();
    let dry = ["fix", "--dry-run", "--row", "p-team", "--plan-out", plan];
    let _ = run_on(database.url(), &dry).exits(2);
    let fix = ["fix", "--yes", "--no-journal", "--plan", plan];
    let fix = [&fix[..], &["--format", "json"]].concat();
    let report = run_on(database.url(), &fix).exits(3).json();
    let live = "0b8f8e0c-2f5d-4a51-9a35-1f4a1c9f7d10";
    assert_eq!(
        report["changes"][0]["after"]["mcp_servers"],
        json!([live, HELD, FREE])
    );
}
