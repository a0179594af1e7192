//! Plans and journals: the database that they are for, and the options that they were made with.

use serde_json::json;

use crate::program::{mcp_prune, run, run_on};
use crate::samples::demo;
use crate::server::{TestDatabase, concurrent_server};

const SLACK: &str = "d7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04";
const NOTION: &str = "a15e9c3d-84f2-4d7b-92c6-5e0b8f3a7d05";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

#[test]
fn a_plan_and_a_journal_are_refused_on_another_database() {
    if concurrent_server("two databases").is_none() {
        return;
    }
    let (ours, other) = (demo(), demo());
    let before = ours.permission_rows();
    let folder = Folder::new();
    let [plan, journal] = ["plan", "journal"].map(|name| folder.file(name));
    let dry = ["fix", "--dry-run", "--plan-out", &plan];
    run_on(ours.url(), &dry).exits(2);
    let fix = ["fix", "--yes", "--plan", &plan, "--journal", &journal];
    let (ours_name, other_name) = (ours.name(), other.name());
    for mode in ["--yes", "--dry-run"] {
        let fix = ["fix", mode, "--no-journal", "--plan", &plan];
        run_on(other.url(), &fix)
            .exits(4)
            .says(&format!("the plan is of database \"{ours_name}\""))
            .says(&format!("this is database \"{other_name}\""))
            .says("--other-database");
    }
    assert_eq!(other.permission_rows(), before);
    run_on(ours.url(), &fix).exits(0);
    let after = ours.permission_rows();

    // The copy takes it if it is said that it is meant.
    let over = [
        "fix",
        "--yes",
        "--no-journal",
        "--other-database",
        "--plan",
        &plan,
    ];
    run_on(other.url(), &over).exits(0);
    for mode in ["--yes", "--dry-run"] {
        let undo = ["undo", mode, "--no-journal", &journal];
        run_on(other.url(), &undo)
            .exits(4)
            .says(&format!("the journal is of database \"{ours_name}\""))
            .says(&format!("this is database \"{other_name}\""));
    }
    assert_eq!(other.permission_rows(), after);
    let undo = [
        "undo",
        "--yes",
        "--no-journal",
        "--other-database",
        &journal,
    ];
    run_on(other.url(), &undo).exits(0);
    assert_eq!(other.permission_rows(), before);
    run_on(ours.url(), &["undo", "--yes", "--no-journal", &journal]).exits(0);
    assert_eq!(ours.permission_rows(), before);

    // Two names of this machine are one.
    let local = ours.url().replacen("127.0.0.1", "localhost", 1);
    let again = ["fix", "--dry-run", "--plan", &plan];
    run_on(&local, &again).exits(2);
}

#[test]
fn a_plan_that_needs_a_config_says_which() {
    let database = demo();
    let folder = Folder::new();
    let [plan, none, config] = ["plan", "none", "config.yaml"].map(|name| folder.file(name));
    std::fs::write(&config, "mcp_servers:\n  mine:\n    url: http://h/mcp\n").unwrap();
    let dry = [
        "fix",
        "--dry-run",
        "--litellm-config",
        &config,
        "--plan-out",
        &plan,
    ];
    run_on(database.url(), &dry).exits(2);
    let fix = ["fix", "--dry-run", "--plan", &plan];
    run_on(database.url(), &fix)
        .exits(64)
        .says(&format!("the plan was made with the servers of {config}"))
        .says("say --litellm-config");
    // One that the environment names will do.
    let mut by_environment = mcp_prune(&fix);
    let by_environment = by_environment
        .env("DATABASE_URL", database.url())
        .env("MCP_PRUNE_LITELLM_CONFIG", &config);
    run(by_environment).exits(2);
    let with = [&fix[..], &["--litellm-config", &config]].concat();
    run_on(database.url(), &with).exits(2);

    let dry = [
        "fix",
        "--dry-run",
        "--no-config-servers",
        "--plan-out",
        &none,
    ];
    run_on(database.url(), &dry).exits(2);
    let fix = ["fix", "--dry-run", "--plan", &none];
    let with = [&fix[..], &["--litellm-config", &config]].concat();
    for args in [&fix[..], &with] {
        run_on(database.url(), args)
            .exits(64)
            .says("the plan was made with --no-config-servers");
    }
    let with = [&fix[..], &["--no-config-servers"]].concat();
    run_on(database.url(), &with).exits(2);
}

#[test]
fn options_of_planning_may_be_repeated_and_not_contradicted() {
    let database = demo();
    let folder = Folder::new();
    let [plan, csv] = ["plan", "remaps.csv"].map(|name| folder.file(name));
    std::fs::write(&csv, format!("old,new\n{SLACK},jira\n")).unwrap();
    let remap = format!("{SLACK}=jira");
    let planning = [
        "--sites",
        "permissions,toolsets",
        "--reference",
        SLACK,
        "--remap",
        &remap,
        "--on-empty",
        "deny",
    ];
    let dry = [&["fix", "--dry-run", "--plan-out", &plan], &planning[..]].concat();
    run_on(database.url(), &dry).exits(2);
    let run_with = |more: &[&str]| {
        let args = [&["fix", "--dry-run", "--plan", &plan], more].concat();
        run_on(database.url(), &args)
    };
    // Whole, in part, and in another form.
    for more in [
        &planning[..],
        &[],
        &["--on-empty", "deny"],
        &["--remap-file", &csv],
        &["--sites", "toolsets", "--sites", "permissions"],
    ] {
        run_with(more).exits(2);
    }
    let other = format!("{SLACK}=github");
    let more = format!("{NOTION}=jira");
    for (option, value, told) in [
        ("--on-empty", "hold", "with --on-empty deny"),
        (
            "--sites",
            "permissions",
            "with --sites permissions, toolsets",
        ),
        ("--reference", NOTION, "with --reference "),
        ("--owner", "team:platform", "without it"),
        ("--row", "p", "without it"),
        ("--remap", &other, "=jira"),
        ("--remap", &more, "without one of"),
    ] {
        let told = format!("{option} says otherwise than the plan, which was made {told}");
        let ran = run_with(&[option, value]).exits(64);
        assert!(
            ran.stderr.contains(told.split("=jira").next().unwrap()),
            "{ran}"
        );
    }
}

#[test]
fn a_plan_that_prunes_config_ids_is_made_so_and_not_turned_into_one() {
    let database = demo();
    let folder = Folder::new();
    let [plan, pruning] = ["plan", "pruning"].map(|name| folder.file(name));
    let prune = ["--no-config-servers", "--prune-config-ids"];
    let dry = [
        "fix",
        "--dry-run",
        "--no-config-servers",
        "--plan-out",
        &plan,
    ];
    run_on(database.url(), &dry).exits(2);
    let dry = [&["fix", "--dry-run", "--plan-out", &pruning][..], &prune].concat();
    run_on(database.url(), &dry).exits(2);
    let carry_out = |plan: &str| {
        let fix = [&["fix", "--dry-run", "--plan", plan][..], &prune].concat();
        run_on(database.url(), &fix)
    };
    carry_out(&plan)
        .exits(64)
        .says("--prune-config-ids says otherwise than the plan, which was made without it")
        .says("hint: leave --prune-config-ids out, or plan anew");
    carry_out(&pruning).exits(2);
    // Beside a plan, too, the option needs to know which config servers there are.
    let fix = ["fix", "--dry-run", "--plan", &plan, "--prune-config-ids"];
    run_on(database.url(), &fix)
        .exits(64)
        .says("--prune-config-ids goes with --litellm-config or --no-config-servers");
}

/// Other stale references of a row that the plan changes do not stop it.
#[test]
fn a_plan_of_one_reference_is_carried_out_beside_others() {
    let database = TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('live');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           VALUES ('p-1', ARRAY['live', '{SLACK}', '{NOTION}']);"#
    ));
    let folder = Folder::new();
    let plan = folder.file("plan");
    let dry = [
        "fix",
        "--dry-run",
        "--reference",
        SLACK,
        "--plan-out",
        &plan,
    ];
    run_on(database.url(), &dry).exits(2);
    let fix = [
        "fix",
        "--yes",
        "--no-journal",
        "--plan",
        &plan,
        "--format",
        "json",
    ];
    let fix = run_on(database.url(), &fix).exits(0).json();
    assert_eq!(
        fix["changes"][0]["after"]["mcp_servers"],
        json!(["live", NOTION])
    );
}
