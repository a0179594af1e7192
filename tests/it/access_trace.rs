//! `access`: what would change for a caller, who names a server that is gone, and keys from files.

use std::io::Write as _;
use std::process::Stdio;

use mcp_prune::testing::hash;
use serde_json::{Value, json};

use crate::access::{access, callers, company};
use crate::program::{formats, mcp_prune};
use crate::samples::GONE;
use crate::schemas::Format;
use crate::server::TestDatabase;

/// Makes a team with one server, and keys that name the server, one that is gone, or both.
fn keys() -> TestDatabase {
    let [stale, mixed, clean, alone] = ["sk-stale", "sk-mixed", "sk-clean", "sk-alone"].map(hash);
    TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias", "approval_status") VALUES
               ('id-1', 'github', 'active'), ('id-2', 'jira', 'active'), ('id-3', 'wiki', 'draft');
           INSERT INTO "LiteLLM_AccessGroupTable"
               ("access_group_id", "access_group_name", "access_mcp_server_ids") VALUES
               ('g-1', 'g-1', ARRAY['{GONE}']), ('g-2', 'g-2', ARRAY['id-1']);
           INSERT INTO "LiteLLM_ObjectPermissionTable"
               ("object_permission_id", "mcp_servers", "mcp_tool_permissions") VALUES
               ('p-team', ARRAY['id-1'], NULL),
               ('p-stale', ARRAY['{GONE}'], NULL),
               ('p-mixed', ARRAY['id-1', 'id-3', '{GONE}'], '{{"{GONE}": ["x"]}}'),
               ('p-alone', ARRAY['{GONE}'], NULL);
           INSERT INTO "LiteLLM_TeamTable" ("team_id", "object_permission_id", "access_group_ids")
               VALUES ('t-1', 'p-team', ARRAY['g-2']);
           INSERT INTO "LiteLLM_VerificationToken"
               ("token", "key_alias", "team_id", "object_permission_id", "access_group_ids") VALUES
               ('{stale}', 'stale', 't-1', 'p-stale', '{{}}'),
               ('{mixed}', 'mixed', 't-1', 'p-mixed', '{{g-1,g-2}}'),
               ('{clean}', 'clean', 't-1', NULL, '{{}}'),
               ('{alone}', 'alone', NULL, 'p-alone', '{{}}');"#
    ))
}

fn would_change(database: &TestDatabase, key: &str, release: &str) -> Value {
    let args = [&format!("key:{key}"), "--litellm-version", release];
    callers(database, &args)[0]["would_change"].clone()
}

fn ids(servers: &Value) -> Vec<&str> {
    let servers = servers.as_array().unwrap().iter();
    servers
        .map(|server| server["id"].as_str().unwrap())
        .collect()
}

#[test]
fn what_would_change_without_the_stale_references_is_told() {
    let database = keys();
    let stale = would_change(&database, "stale", "1.92.2");
    let prefix = &hash("sk-stale")[..8];
    let owners = json!([{"kind": "key", "id": prefix, "references": [GONE]}]);
    assert_eq!(stale["without_stale"]["owners"], owners);
    assert_eq!(ids(&stale["without_stale"]["gained"]), ["id-1"]);
    let command = stale["command"].as_str().unwrap();
    let expected = format!(
        "mcp-prune fix --dry-run --owner key:{prefix} --on-empty unchanged --no-config-servers"
    );
    assert_eq!(command, expected);
    let mixed = would_change(&database, "mixed", "1.92.2");
    assert_eq!(mixed["without_stale"]["gained"], json!([]));
    assert_eq!(mixed["without_stale"]["lost"], json!([]));
    let clean = would_change(&database, "clean", "1.92.2");
    assert_eq!(clean["without_stale"], Value::Null);
    assert_eq!(clean["command"], Value::Null);
    // A caller without a key is not saved.
    let team = callers(&database, &["team:t-1"]);
    assert_eq!(team[0]["would_change"]["if_saved"], Value::Null);
    // Not where nobody was asked about.
    assert!(
        callers(&database, &[])
            .iter()
            .all(|c| c.get("would_change").is_none())
    );
}

#[test]
fn what_the_dashboard_does_with_the_key_is_told_release_by_release() {
    let database = keys();
    let saved =
        |key: &str, release: &str| would_change(&database, key, release)["if_saved"].clone();
    let listed = |saved: &Value, field: &str| -> Vec<String> {
        let listed = saved[field].as_array().unwrap().iter();
        let name = |value: &Value| {
            value["reference"]
                .as_str()
                .or(value.as_str())
                .unwrap()
                .to_owned()
        };
        listed.map(name).collect()
    };
    for release in ["1.82.1", "1.82.2", "1.87.5", "1.88.0", "1.109.1", "1.110.0"] {
        let of_stale = saved("stale", release);
        let is_strict = ["1.82.2", "1.87.5"].contains(&release);
        let drops = ["1.88.0", "1.109.1", "1.110.0"].contains(&release);
        let refused = listed(&of_stale, "refused_by");
        assert_eq!(refused, [GONE].repeat(usize::from(is_strict)), "{release}");
        let dropped = listed(&of_stale, "dropped");
        assert_eq!(dropped, [GONE].repeat(usize::from(drops)), "{release}");
        let gained = ids(&of_stale["gained"]);
        assert_eq!(gained, ["id-1"].repeat(usize::from(drops)), "{release}");

        let of_mixed = saved("mixed", release);
        // The draft is no server of the team, and LiteLLM finds its row when it drops.
        let refused: &[&str] = if is_strict { &[GONE, "id-3"] } else { &[] };
        let mut found = listed(&of_mixed, "refused_by");
        found.sort();
        let mut refused = refused.to_vec();
        refused.sort_unstable();
        assert_eq!(found, refused, "{release}");
        assert_eq!(listed(&of_mixed, "dropped").len(), usize::from(drops));
        assert_eq!(of_mixed["gained"], json!([]), "{release}");
        let groups = listed(&of_mixed, "refused_by_groups");
        assert_eq!(
            groups,
            ["g-1"].repeat(usize::from(release == "1.110.0")),
            "{release}"
        );
    }
    // It has no team, and so nothing to inherit.
    let alone = saved("alone", "1.92.2");
    assert_eq!(
        (listed(&alone, "dropped").len(), ids(&alone["gained"]).len()),
        (1, 0)
    );
    assert_eq!(listed(&saved("alone", "1.86.7"), "refused_by"), [GONE]);
}

#[test]
fn a_tired_person_reads_what_to_do_at_the_end_of_the_trace() {
    let database = keys();
    let ran = access(&database, &["key:stale", "--litellm-version", "1.92.2"]).exits(0);
    let _ = ran
        .prints("  What would change:\n    - without the 1 stale reference of key ")
        .prints(", it would gain github\n")
        .prints("if the key were saved in the dashboard now, LiteLLM would drop")
        .prints(
            "  To repair it, look at this dry run first:\n    mcp-prune fix --dry-run --owner key:",
        );
    let ran = access(&database, &["key:stale", "--litellm-version", "1.86.7"]).exits(0);
    let _ = ran
        .prints("LiteLLM would answer 403")
        .prints(&format!("{GONE} (stale)"));
    let ran = access(&database, &["key:mixed", "--litellm-version", "1.110.2"]).exits(0);
    let _ = ran.prints("lacks unified access group g-1: give the group to the team");
    let ran = access(&database, &["key:clean"]).exits(0);
    let _ = ran
        .prints("no stale reference is on its levels")
        .prints("its servers would stay as they are");
}

#[test]
fn a_reference_that_a_config_may_answer_is_perhaps_dropped() {
    let database = keys();
    database.execute(
        r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = '{docs}'
           WHERE "object_permission_id" = 'p-stale'"#,
    );
    let args = ["access", "key:stale", "--litellm-version", "1.92.2"];
    let (ran, documents) = Format::Json.run(database.url(), &args);
    let _ = ran.exits(0);
    let saved = &documents[0]["callers"][0]["would_change"]["if_saved"];
    assert_eq!(saved["perhaps_dropped"], json!(["docs"]));
    assert_eq!(saved["dropped"], json!([]));
}

#[test]
fn a_server_that_is_gone_lists_who_names_it() {
    let database = keys();
    let args = ["access", "--no-config-servers", "--server", GONE];
    let (ran, documents) = Format::Json.run(database.url(), &args);
    let _ = ran.exits(0);
    let named = documents[0]["named"].as_array().unwrap();
    assert_eq!(documents[0]["callers"], json!([]));
    let place = |named: &Value| {
        let owners = named["owners"].as_array().unwrap().iter();
        let owners: Vec<&str> = owners
            .map(|owner| owner["name"].as_str().unwrap())
            .collect();
        let column = named["column"].as_str().unwrap();
        format!(
            "{} {column} {}",
            named["row"].as_str().unwrap(),
            owners.join(",")
        )
    };
    let mut found: Vec<String> = named.iter().map(place).collect();
    found.sort();
    assert_eq!(
        found,
        [
            "g-1 access_mcp_server_ids mixed",
            "p-alone mcp_servers alone",
            "p-mixed mcp_servers mixed",
            "p-mixed mcp_tool_permissions mixed",
            "p-stale mcp_servers stale",
        ]
    );
    assert!(named.iter().all(|named| named["verdict"] == "stale"));
    let (ran, lines) = Format::Ndjson.run(database.url(), &args);
    let _ = ran.exits(0);
    assert_eq!(
        lines.iter().filter(|line| line["type"] == "named").count(),
        5
    );
    for format in formats() {
        let ran = access(&database, &["--server", GONE, "--format", format]).exits(0);
        let _ = ran.prints("p-mixed").prints("mixed").prints(GONE);
    }
    let table = access(&database, &["--server", GONE]).exits(0);
    let _ = table
        .prints("is gone: nobody may use it. It is still named in 5 columns:")
        .prints("LiteLLM_ObjectPermissionTable.mcp_tool_permissions");
    let csv = access(
        &database,
        &["--server", GONE, "--format", "csv", "key:stale"],
    )
    .exits(0);
    let line = format!(
        "{GONE},stale,key,{},stale,LiteLLM_ObjectPermissionTable,mcp_servers,p-stale",
        &hash("sk-stale")[..8]
    );
    let lines: Vec<&str> = csv.stdout.lines().skip(1).collect();
    assert_eq!(lines, [line]);
    // It is there, and no proxy serves it.
    let draft = access(&database, &["--server", "id-3"]).exits(0);
    let _ = draft.prints("is there, but no proxy serves it: nobody may use it");
    let draft = access(&database, &["--server", "wiki"]).exits(0);
    let _ = draft.prints("Server id-3 is there, but no proxy serves it: nobody may use it");
    database.execute(
        r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = ARRAY['wiki']
           WHERE "object_permission_id" = 'p-mixed'"#,
    );
    for by in ["id-3", "wiki"] {
        let draft = access(&database, &["--server", by]).exits(0);
        let _ = draft.prints("Server wiki (id-3) is there, but no proxy serves it: nobody");
    }
    let mixture = access(&database, &["--server", GONE, "--server", "jira"]).exits(64);
    let _ = mixture.says("in a run of their own");
    let nobody = access(&database, &["--server", "unheard-of"]).exits(1);
    let _ = nobody.says("no server that is served is named so, and no row names it");
}

#[test]
fn a_key_is_read_from_a_file_or_standard_input_and_never_shown() {
    let database = company();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "sk-ci\n").unwrap();
    let file = file.to_str().unwrap();
    let ran = access(&database, &["--key-file", file]).exits(0);
    assert!(ran.stdout.starts_with("key ci ("), "{ran}");
    assert!(!ran.to_string().contains("sk-ci"), "{ran}");

    let mut piped = mcp_prune(&["access", "--no-config-servers", "--key-file", "-"]);
    let mut piped = piped
        .env("DATABASE_URL", database.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    piped.stdin.take().unwrap().write_all(b"sk-ci").unwrap();
    let piped = piped.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&piped.stdout), ran.stdout);

    let ran = access(&database, &["key:sk-ci"]).exits(64);
    assert!(!ran.to_string().contains("sk-ci"), "{ran}");
    let _ = ran.says("say --key-file FILE, or - for stdin");
    std::fs::write(file, "sk-nobodys\n").unwrap();
    let ran = access(&database, &["--key-file", file]).exits(1);
    let _ = ran.says(&format!("there is no key {}", &hash("sk-nobodys")[..8]));
    let missing = access(&database, &["--key-file", "nowhere"]).exits(64);
    let _ = missing.says("cannot read --key-file nowhere");
    let same = access(&database, &["--key-file", file, "--output", file]).exits(64);
    let _ = same.says("are the same file");
}
