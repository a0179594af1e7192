//! `--litellm-config`: servers that live in a `config.yaml` and have no row.

use crate::program::{Ran, mcp_prune, run};
use crate::samples::demo;
use crate::server::TestDatabase;

/// The id of the first server of `fixtures/config/proxy.yaml`: the hash of
/// `deepwiki|https://mcp.deepwiki.com/mcp|http||wiki`.
const DEEPWIKI: &str = "4bc465b9ca050c3824dcec10c919e5ca";
/// The ids of its second server: in LiteLLM 1.75 (LiteLLM issue 13547), and since 1.77.2.
const TEST_FORMER: &str = "8617b96e5cdbfd8ff49b7f89aeca1072";

fn database() -> TestDatabase {
    TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('row');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           VALUES ('p-1', ARRAY['row', 'deepwiki', 'wiki', '{DEEPWIKI}', 'test',
                                'from_environment']),
                  ('p-2', ARRAY['row', '{TEST_FORMER}', 'replaced', '{}']);"#,
        "0".repeat(32)
    ))
}

fn scan(database: &TestDatabase, args: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = mcp_prune(&["scan", "--format", "json"]);
    command
        .args(args)
        .env("DATABASE_URL", database.url())
        .envs(environment.iter().copied());
    run(&mut command)
}

/// Returns the findings of a run, each as `kind reference`.
fn findings(ran: &Ran) -> Vec<String> {
    let scan = ran.json();
    let findings = scan["findings"].as_array().unwrap().iter();
    findings
        .map(|f| format!("{} {}", f["kind"], f["reference"]).replace('"', ""))
        .collect()
}

const CONFIG: &[&str] = &["--litellm-config", "fixtures/config/proxy.yaml"];
const URL: (&str, &str) = ("MCP_PRUNE_TEST_URL", "http://127.0.0.1/mcp");

#[test]
fn config_servers_are_live_and_what_resolves_nowhere_is_stale() {
    let database = database();
    let ran = scan(&database, CONFIG, &[URL]).exits(2);
    assert_eq!(
        findings(&ran),
        [
            format!("stale {TEST_FORMER}"),
            "stale replaced".to_owned(),
            format!("stale {}", "0".repeat(32)),
        ]
    );
    let json = ran.json();
    assert_eq!(json["servers"]["config"], 3);
    assert_eq!(json["findings"][0]["successor"]["name"], "test");
    assert!(json["findings"][1].get("successor").is_none());
    assert!(!ran.to_string().contains("never-shown"), "{ran}");

    // The same by the environment, for cron.
    let path = "fixtures/config/proxy.yaml:fixtures/config/servers.yaml";
    let ran = scan(&database, &[], &[URL, ("MCP_PRUNE_LITELLM_CONFIG", path)]).exits(2);
    assert_eq!(findings(&ran).len(), 3);
    assert_eq!(ran.json()["servers"]["config"], 6);
}

#[test]
fn without_a_config_or_with_an_unset_variable_they_are_unverified() {
    let database = database();
    let ran = scan(&database, &[], &[]).exits(2);
    assert!(
        findings(&ran).iter().all(|f| f.starts_with("unverified ")),
        "{ran}"
    );
    let ran = scan(&database, CONFIG, &[]).exits(2);
    assert_eq!(
        findings(&ran),
        [
            format!("stale {TEST_FORMER}"),
            "unverified replaced".to_owned(),
            format!("unverified {}", "0".repeat(32)),
        ]
    );
    ran.says("warning: the ids of config server from_environment cannot be told")
        .says("MCP_PRUNE_TEST_URL");
}

#[test]
fn a_stale_id_of_a_config_server_is_shown_with_what_it_became() {
    let database = database();
    let mut command = mcp_prune(&["scan"]);
    command
        .args(CONFIG)
        .env("DATABASE_URL", database.url())
        .envs([URL]);
    let ran = run(&mut command).exits(2);
    assert!(
        ran.stdout
            .contains("is an old id of config server test, now "),
        "{ran}"
    );
}

#[test]
fn a_config_that_cannot_be_read_is_named_with_the_place() {
    let database = database();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    for (yaml, told) in [
        ("a: 1\nkey: [sk-never-shown\nb: 2\n", "config.yaml:3:"),
        ("include: [none.yaml]\n", "none.yaml, which "),
        (
            "mcp_servers: [a]\n",
            "config.yaml: mcp_servers must be a mapping",
        ),
    ] {
        std::fs::write(&file, yaml).unwrap();
        let args = ["--litellm-config", file.to_str().unwrap()];
        let ran = scan(&database, &args, &[]).exits(1).says(told);
        assert!(!ran.to_string().contains("never-shown"), "{ran}");
    }
    let both = [CONFIG, &["--no-config-servers"]].concat();
    scan(&database, &both, &[]).exits(64);
}

/// The paths of a config from before and after its only server moved.
struct Edit {
    _folder: tempfile::TempDir,
    old: String,
    new: String,
}

/// The id of that server after the edit: the hash of
/// `deepwiki|https://deepwiki.internal/mcp|http||wiki`.
const MOVED: &str = "80f5e3c4d87e1231ffef9a2accc9fe42";

fn edit() -> Edit {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = [
        ("old.yaml", "https://mcp.deepwiki.com/mcp"),
        ("new.yaml", "https://deepwiki.internal/mcp"),
    ]
    .map(|(name, url)| {
        let path = folder.path().join(name);
        let config = format!(
            "mcp_servers:\n  deepwiki:\n    url: {url}\n    transport: http\n    alias: wiki\n"
        );
        std::fs::write(&path, config).unwrap();
        path.to_str().unwrap().to_owned()
    });
    Edit {
        _folder: folder,
        old,
        new,
    }
}

#[test]
fn grants_of_an_edited_server_follow_it_to_its_new_id() {
    let edit = edit();
    let database = database();
    let fix = |options: &[&str]| {
        let mut command = mcp_prune(&["fix", "--dry-run", "--format", "json"]);
        let ran = run(command
            .args(["--litellm-config", &edit.new])
            .args(options)
            .env("DATABASE_URL", database.url()));
        ran.exits(2).json()
    };
    let removed = fix(&[]);
    assert_eq!(removed["summary"]["references_remapped"], 0);
    let remapped = fix(&["--previous-litellm-config", &edit.old]);
    assert_eq!(remapped["summary"]["references_remapped"], 1);
    let after = remapped["changes"][0]["after"]["mcp_servers"]
        .as_array()
        .unwrap();
    let before = remapped["changes"][0]["before"]["mcp_servers"]
        .as_array()
        .unwrap();
    let at = before.iter().position(|r| r == DEEPWIKI).unwrap();
    assert_eq!(after[at], MOVED);
}

#[test]
fn the_command_that_is_said_to_be_next_does_what_was_shown() {
    let database = demo();
    let run_with = |args: &[&str]| run(mcp_prune(args).env("DATABASE_URL", database.url()));
    let folder = tempfile::tempdir().unwrap();
    let keep = folder.path().join("the live ones");
    std::fs::write(&keep, "legacy\n").unwrap();
    let keep = format!("@{}", keep.display());
    for options in [
        &["--no-config-servers"][..],
        &["--no-config-servers", "--keep", NOTION, "--keep", &keep],
        &["--sites", "permissions,access-groups"],
        &["--reference", NOTION],
    ] {
        let ran = run_with(&[&["scan"][..], options].concat());
        let (_, next) = ran.stdout.split_once("Next:\n  mcp-prune ").unwrap();
        let (line, _) = next.split_once('\n').unwrap();
        let words: Vec<String> = options.iter().map(|word| shell(word)).collect();
        assert_eq!(line, format!("fix --dry-run {}", words.join(" ")));
    }
}

#[test]
fn beside_an_empty_server_table_a_scan_does_not_promise_what_fix_refuses() {
    let database = demo();
    database.execute(r#"DELETE FROM "LiteLLM_MCPServerTable""#);
    let run_with = |args: &[&str]| run(mcp_prune(args).env("DATABASE_URL", database.url()));
    let next = ["fix", "--dry-run", "--allow-empty-server-table"];
    let told = format!("was deleted, next:\n  mcp-prune {}\n", next.join(" "));
    run_with(&["scan"])
        .exits(2)
        .prints("fix refuses to while the server table is empty")
        .prints(&told);
    run_with(&["fix", "--dry-run"]).exits(4);
    run_with(&next).exits(2);
}

/// A deleted server of the demo, which rows without owners name as well.
const NOTION: &str = "a15e9c3d-84f2-4d7b-92c6-5e0b8f3a7d05";

/// Quotes a word for a shell.
fn shell(word: &str) -> String {
    if word.contains(' ') {
        format!("'{word}'")
    } else {
        word.to_owned()
    }
}

#[test]
fn a_scan_shows_where_they_would_go_and_the_command_that_does_it() {
    let edit = edit();
    let database = database();
    let run_with = |args: &[&str]| run(mcp_prune(args).env("DATABASE_URL", database.url()));
    let previous = ["--previous-litellm-config", &edit.old];
    let now = ["--litellm-config", &edit.new];
    let ran = run_with(&[&["scan"][..], &previous, &now].concat()).exits(2);
    let (_, block) = ran.stdout.split_once(&format!("\n{DEEPWIKI}: ")).unwrap();
    let line = block.lines().nth(1).unwrap();
    assert!(
        line.starts_with("  remap ") && line.contains(MOVED),
        "{ran}"
    );

    // What is said to be next does what is said.
    let (_, closing) = ran.stdout.split_once("A repair would ").unwrap();
    let (would, next) = closing.split_once(".\n\nNext:\n  mcp-prune ").unwrap();
    assert!(would.starts_with("remap 1 reference and remove "), "{ran}");
    let next: Vec<&str> = next.lines().next().unwrap().split(' ').collect();
    assert_eq!(next, [&["fix", "--dry-run"][..], &previous, &now].concat());
    let _ = run_with(&next)
        .exits(2)
        .prints(&format!("It would {would}."));

    // Without the old config all that is known of it is that it is gone.
    let without = run_with(&[&["scan"][..], &now].concat()).exits(2);
    assert!(!without.stdout.contains("  remap "), "{without}");
    let next = ["Next:\n  mcp-prune fix --dry-run", now[0], now[1]].join(" ");
    let _ = without.prints(&format!("{next}\n"));
    // And without the new one there is nothing to remap to.
    let _ = run_with(&[&["scan"][..], &previous].concat()).exits(64);
}

#[test]
fn ids_are_printed_for_pinning() {
    let ids = |format: &str| {
        let args = [
            "ids",
            "--litellm-config",
            "fixtures/config/proxy.yaml",
            "--format",
            format,
        ];
        run(mcp_prune(&args).env(URL.0, URL.1)).exits(0)
    };
    let json = ids("json").json();
    assert_eq!(json["servers"][0]["name"], "deepwiki");
    assert_eq!(json["servers"][0]["ids"], serde_json::json!([DEEPWIKI]));
    let former = json["servers"][1]["former_ids"].as_array().unwrap();
    assert!(former.iter().any(|id| id == TEST_FORMER), "{json}");
    let table = ids("table").prints(DEEPWIKI).prints(TEST_FORMER);
    assert!(!table.to_string().contains("never-shown"), "{table}");
    run(&mut mcp_prune(&["ids"])).exits(64);
}
