//! `--if-deleted`: what the deletion of a server will do, and the repair before it.

use std::collections::BTreeMap;
use std::fs;

use mcp_prune::testing::hash;
use serde_json::{Value, json};

use crate::connection::{role, url_of};
use crate::program::{Ran, mcp_prune, run, run_on};
use crate::samples::{GONE, LIVE};
use crate::schemas::Format;
use crate::server::{TestDatabase, concurrent_server};

/// The id of the server that stays.
const JIRA: &str = "5d0c5c3e-8f0b-4f7e-a6f4-3f1f3a0f8b21";

/// Makes a team with three keys, and a key and a user of nobody. One list has nothing but the
/// server that is to be deleted, by its alias, and one was stale before.
fn company() -> TestDatabase {
    let [ci, only, old, alone] = ["sk-ci", "sk-only", "sk-old", "sk-alone"].map(hash);
    TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "server_name", "alias") VALUES
               ('{LIVE}', 'GitHub MCP', 'github'), ('{JIRA}', 'Jira', NULL);
           INSERT INTO "LiteLLM_ObjectPermissionTable"
               ("object_permission_id", "mcp_servers", "mcp_tool_permissions") VALUES
               ('p-ci', ARRAY['{LIVE}', '{JIRA}'], NULL),
               ('p-only', ARRAY['github'], '{{"github": ["search"]}}'),
               ('p-old', ARRAY['{GONE}'], NULL),
               ('p-alone', ARRAY['{JIRA}'], NULL),
               ('p-team', ARRAY['{LIVE}', '{JIRA}'], NULL);
           INSERT INTO "LiteLLM_TeamTable" ("team_id", "team_alias", "object_permission_id")
               VALUES ('t-1', 'platform', 'p-team');
           INSERT INTO "LiteLLM_UserTable" ("user_id", "user_alias") VALUES ('u-1', 'ann');
           INSERT INTO "LiteLLM_VerificationToken"
               ("token", "key_alias", "team_id", "object_permission_id") VALUES
               ('{ci}', 'ci', 't-1', 'p-ci'), ('{only}', 'only', 't-1', 'p-only'),
               ('{old}', 'old', 't-1', 'p-old'), ('{alone}', 'alone', NULL, 'p-alone');"#
    ))
}

fn mcp(database: &TestDatabase, args: &[&str]) -> Ran {
    run_on(database.url(), &[args, &["--no-config-servers"]].concat())
}

fn delete(database: &TestDatabase) {
    database.execute(&format!(
        r#"DELETE FROM "LiteLLM_MCPServerTable" WHERE "server_id" = '{LIVE}'"#
    ));
}

/// Returns the first line of a journal or plan.
fn header(file: &str) -> Value {
    let text = fs::read_to_string(file).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

fn deleted(reference: &str) -> Value {
    json!([{
        "references": [reference], "ids": [LIVE], "names": ["GitHub MCP", "github"],
        "place": "database",
    }])
}

#[test]
fn scan_tells_what_goes_stale_and_who_loses_and_gains() {
    let database = company();
    let scan = ["scan", "--if-deleted", "github"];
    let ran = mcp(&database, &scan).exits(2);
    let ran = ran
        .prints(&format!("As if deleted: GitHub MCP, github ({LIVE}).\n"))
        .prints("5 stale references in 4 rows.\n")
        .prints(
            "By the deletion 3 callers lose access, and 1 caller may gain access (6 callers compared)",
        )
        .prints("Jira if its emptied list is not held")
        .prints("mcp-prune fix --dry-run --if-deleted github --no-config-servers");
    let _ = ran.prints("limits tools until the server is deleted");
    // By its id the same server is meant.
    let by_id = mcp(&database, &["scan", "--if-deleted", LIVE]).exits(2);
    assert_eq!(
        by_id
            .stdout
            .replace(&format!("--if-deleted {LIVE}"), "--if-deleted github"),
        mcp(&database, &scan).stdout
    );

    let server = |id: &str, name: &str, tools: Value, by: &str| json!({"id": id, "name": name, "tools": tools, "by": by});
    let github = || server(LIVE, "github", Value::Null, "deletion");
    for format in Format::BOTH {
        let args = [&scan[..], &["--no-config-servers"]].concat();
        let (ran, documents) = format.run(database.url(), &args);
        let _ = ran.exits(2);
        let head = &documents[0];
        assert_eq!(head["if_deleted"], deleted("github"));
        let (callers, summary) = match format {
            Format::Json => (
                head["affected_callers"].as_array().unwrap().clone(),
                head["summary"].clone(),
            ),
            Format::Ndjson => {
                let callers = documents
                    .iter()
                    .filter(|line| line["type"] == "affected_caller");
                (
                    callers.cloned().collect(),
                    documents.last().unwrap().clone(),
                )
            }
        };
        let counts = ["callers_compared", "callers_losing", "callers_gaining"]
            .map(|name| summary[name].as_u64());
        assert_eq!(counts, [Some(6), Some(3), Some(1)]);
        let shown =
            |caller: &Value| json!([caller["key"]["name"], caller["loses"], caller["gains"]]);
        let mut shown: Vec<Value> = callers.iter().map(shown).collect();
        shown.sort_by_key(|caller| caller[0].to_string());
        assert_eq!(
            shown,
            [
                json!(["ci", [github()], []]),
                json!([
                    "only",
                    [server(LIVE, "github", json!(["search"]), "deletion")],
                    [server(JIRA, "Jira", Value::Null, "removal")]
                ]),
                json!([null, [github()], []]),
            ]
        );
    }
    let csv = mcp(&database, &[&scan[..], &["--format", "csv"]].concat()).exits(2);
    let kinds = |kind: &str| {
        csv.stdout
            .lines()
            .filter(|line| line.starts_with(kind))
            .count()
    };
    assert_eq!((kinds("loses,"), kinds("gains,")), (3, 1), "{csv}");
    // Programs read the same words as ever.
    let _ = csv.prints(",\"keyless caller, team t-1\",");
    let table = mcp(&database, &scan).exits(2);
    let _ = table.prints("caller without a key, team platform");
    let _ = mcp(&database, &[&scan[..], &["--format", "markdown"]].concat())
        .exits(2)
        .prints("\n## Access\n")
        .prints("| `Jira if its emptied list is not held` |");
    // The filters narrow the findings alone.
    let ran = mcp(
        &database,
        &[&scan[..], &["--owner", "team:platform"]].concat(),
    )
    .exits(2);
    let _ = ran
        .prints("1 stale reference in 1 row.")
        .prints("3 callers lose access");
    // Without the option nothing of it is said.
    let ran = mcp(&database, &["scan", "--format", "json"])
        .exits(2)
        .json();
    assert!(ran.get("if_deleted").is_none() && ran.get("affected_callers").is_none());
}

#[test]
fn a_server_that_nobody_has_is_missed_by_nobody() {
    let database = TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias") VALUES ('{LIVE}', 'github');"#
    ));
    let ran = mcp(&database, &["scan", "--if-deleted", "github"]).exits(0);
    let _ = ran
        .prints("No stale references.\n")
        .prints("Nobody loses or gains access by the deletion (no callers compared).");
    let _ = mcp(
        &database,
        &["fix", "--yes", "--no-journal", "--if-deleted", "github"],
    )
    .exits(0);
}

#[test]
fn a_name_stays_unverified_until_config_servers_are_known() {
    let database = company();
    let ran = run_on(database.url(), &["scan", "--if-deleted", "github"]).exits(2);
    let _ = ran
        .prints("3 stale references in 3 rows, 2 unverified.")
        .prints("name it with --litellm-config");
    // Its name is not removed, so nobody gains by that.
    let _ = run_on(database.url(), &["scan", "--if-deleted", "github"])
        .exits(2)
        .prints("and nobody gains any");
}

#[test]
fn the_references_go_before_the_server_does_and_come_back_with_undo() {
    let database = company();
    let before = database.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal").to_str().unwrap().to_owned();
    let fix = [
        "fix",
        "--yes",
        "--if-deleted",
        "github",
        "--journal",
        &journal,
    ];
    let ran = mcp(&database, &fix).exits(3);
    let _ = ran
        .prints("Done: remove 2 stale references from 2 rows")
        .prints("Now delete the server in LiteLLM, and then run scan.");
    assert_eq!(header(&journal)["if_deleted"], deleted("github"));
    let lists = database.texts(
        r#"SELECT "object_permission_id" || ' ' || "mcp_servers"::text || ' ' || coalesce("mcp_tool_permissions"::text, '-')
           FROM "LiteLLM_ObjectPermissionTable" ORDER BY 1"#,
    );
    assert_eq!(
        lists,
        [
            format!("p-alone {{{JIRA}}} -"),
            format!("p-ci {{{JIRA}}} -"),
            format!("p-old {{{GONE}}} -"),
            // Until the server is deleted, its tools stay limited.
            "p-only {github} {\"github\": [\"search\"]}".to_owned(),
            format!("p-team {{{JIRA}}} -"),
        ]
    );
    // What is left are last grants and limits. Nothing more is found, as often as it is run.
    let _ = mcp(
        &database,
        &["fix", "--yes", "--no-journal", "--if-deleted", LIVE],
    )
    .exits(3);
    delete(&database);
    let ran = mcp(&database, &["fix", "--dry-run"]).exits(2);
    let _ = ran.prints("It would remove 1 stale reference from 1 row.");
    let ran = mcp(
        &database,
        &["fix", "--yes", "--no-journal", "--if-deleted", "github"],
    );
    let _ = ran
        .exits(1)
        .says("--if-deleted github: it is stale already, named by 1 row of 1 owner: key only");

    let undo = ["undo", "--yes", "--no-journal", &journal];
    let _ = run_on(database.url(), &undo).exits(0);
    assert_eq!(database.permission_rows(), before);
}

/// Reads what every caller may use: the tools by server, of which null stands for all.
fn access(database: &TestDatabase) -> BTreeMap<String, BTreeMap<String, Value>> {
    let ran = mcp(database, &["access", "--every-caller", "--format", "json"]).exits(0);
    let json = ran.json();
    let callers = json["callers"].as_array().unwrap().iter();
    let usable = |caller: &Value| {
        let servers = caller["servers"].as_array().unwrap().iter();
        let tools = servers.map(|s| (s["id"].as_str().unwrap().to_owned(), s["tools"].clone()));
        tools.collect()
    };
    let name = |caller: &Value| {
        let parts = ["via", "key", "team", "user", "toolset"].map(|part| caller[part].to_string());
        parts.join(" ")
    };
    callers
        .map(|caller| (name(caller), usable(caller)))
        .collect()
}

#[test]
fn nobody_gains_a_tool_while_the_server_is_still_served() {
    let database = company();
    let [all, group] = ["sk-all", "sk-group"].map(hash);
    // A team that has every server, with few tools of one; a toolset and an access group that name
    // few tools of a server that the keys have otherwise.
    database.execute(&format!(
        r#"INSERT INTO "LiteLLM_MCPToolsetTable" ("toolset_id", "toolset_name", "tools") VALUES
               ('set', 'set', '[{{"server_id": "{LIVE}", "tool_name": "read"}},
                               {{"server_id": "{JIRA}", "tool_name": "read"}}]');
           INSERT INTO "LiteLLM_AccessGroupTable"
               ("access_group_id", "access_group_name", "access_mcp_server_ids", "mcp_tool_permissions",
                "assigned_key_ids") VALUES
               ('g', 'g', ARRAY['{LIVE}', '{JIRA}'], '{{"{LIVE}": ["list"]}}', ARRAY['{group}']);
           INSERT INTO "LiteLLM_ObjectPermissionTable"
               ("object_permission_id", "mcp_servers", "mcp_tool_permissions", "mcp_toolsets") VALUES
               ('p-all', ARRAY['all-proxy-mcpservers'], '{{"{LIVE}": ["search"]}}', '{{}}'),
               ('p-set', ARRAY['github'], NULL, ARRAY['set']);
           INSERT INTO "LiteLLM_TeamTable" ("team_id", "team_alias", "object_permission_id")
               VALUES ('t-all', 'all', 'p-all');
           INSERT INTO "LiteLLM_VerificationToken"
               ("token", "key_alias", "team_id", "object_permission_id", "access_group_ids") VALUES
               ('{all}', 'all', 't-all', NULL, '{{}}'),
               ('{group}', 'group', NULL, 'p-set', ARRAY['g']);"#
    ));
    let before = access(&database);
    let shared = before
        .values()
        .flatten()
        .filter(|(id, _)| *id == LIVE)
        .count();
    assert!(shared > 4, "{before:#?}");
    let _ = mcp(
        &database,
        &["fix", "--yes", "--no-journal", "--if-deleted", "github"],
    )
    .exits(3);
    let after = access(&database);
    assert_ne!(before, after, "somebody lost the server");
    for (caller, servers) in after {
        for (id, tools) in servers {
            let had = before[&caller].get(&id);
            let had = had.unwrap_or_else(|| panic!("{caller} gained {id}"));
            let names = |tools: &Value| tools.as_array().cloned();
            let gained = match (names(had), names(&tools)) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(had), Some(tools)) => tools.iter().any(|tool| !had.contains(tool)),
            };
            assert!(!gained, "{caller} had {had} of {id}, and now {tools}");
        }
    }
}

#[test]
fn json_says_what_was_taken_as_deleted() {
    let database = company();
    for format in Format::BOTH {
        let args = [
            "fix",
            "--dry-run",
            "--no-config-servers",
            "--if-deleted",
            "GitHub MCP",
        ];
        let (ran, documents) = format.run(database.url(), &args);
        let _ = ran.exits(2);
        assert_eq!(documents[0]["if_deleted"], deleted("GitHub MCP"));
    }
}

#[test]
fn a_plan_holds_the_servers_and_is_carried_out_before_and_after_their_deletion() {
    for is_gone in [false, true] {
        let database = company();
        let folder = tempfile::tempdir().unwrap();
        let plan = folder.path().join("plan").to_str().unwrap().to_owned();
        let dry = [
            "fix",
            "--dry-run",
            "--if-deleted",
            "github",
            "--plan-out",
            &plan,
        ];
        let ran = mcp(&database, &dry).exits(2);
        let next = ran
            .stdout
            .lines()
            .find(|line| line.contains("--plan "))
            .unwrap();
        assert!(!next.contains("--if-deleted"), "{next}");
        assert_eq!(header(&plan)["if_deleted"], deleted("github"));
        if is_gone {
            delete(&database);
        }
        let fix = |more: &[&str]| {
            mcp(
                &database,
                &[&["fix", "--yes", "--no-journal", "--plan", &plan], more].concat(),
            )
        };
        let _ = fix(&["--if-deleted", LIVE]).exits(64).says(
            "--if-deleted says otherwise than the plan, which was made with --if-deleted github",
        );
        let _ = fix(&["--if-deleted", "github"])
            .exits(0)
            .prints("Done: remove 2 stale references from 2 rows");
    }
    let database = company();
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan").to_str().unwrap().to_owned();
    let _ = mcp(&database, &["fix", "--dry-run", "--plan-out", &plan]).exits(2);
    let fix = [
        "fix",
        "--dry-run",
        "--plan",
        &plan,
        "--if-deleted",
        "github",
    ];
    let ran = mcp(&database, &fix).exits(64);
    let _ = ran.says("--if-deleted says otherwise than the plan, which was made without it");
}

#[test]
fn a_server_that_was_renamed_since_the_plan_is_another_server() {
    let database = company();
    let before = database.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan").to_str().unwrap().to_owned();
    let dry = [
        "fix",
        "--dry-run",
        "--if-deleted",
        "github",
        "--plan-out",
        &plan,
    ];
    let _ = mcp(&database, &dry).exits(2);
    database.execute(&format!(
        r#"UPDATE "LiteLLM_MCPServerTable" SET "alias" = 'gitlab' WHERE "server_id" = '{LIVE}'"#
    ));
    let ran = mcp(
        &database,
        &["fix", "--yes", "--no-journal", "--plan", &plan],
    )
    .exits(5);
    let _ = ran.says(&format!(
        "server GitHub MCP, github ({LIVE}) is taken as deleted, and has become GitHub MCP, gitlab ({LIVE})"
    ));
    assert_eq!(database.permission_rows(), before);
}

/// The row changes while `fix` runs: a trigger stands in for somebody who renames it at that time.
#[test]
fn a_server_that_is_renamed_while_fix_runs_stops_it() {
    let database = company();
    let before = database.permission_rows();
    database.execute(
        r#"CREATE FUNCTION renames() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN
               UPDATE public."LiteLLM_MCPServerTable" SET "alias" = 'gitlab'
               WHERE "alias" = 'github';
               RETURN NEW;
           END $$"#,
    );
    database.execute(
        r#"CREATE TRIGGER renames BEFORE UPDATE ON "LiteLLM_ObjectPermissionTable"
           FOR EACH ROW EXECUTE FUNCTION renames()"#,
    );
    let fix = ["fix", "--yes", "--no-journal", "--if-deleted", "github"];
    let ran = mcp(&database, &fix).exits(5);
    let _ = ran.says("is taken as deleted, and has become GitHub MCP, gitlab");
    assert_eq!(database.permission_rows(), before);
}

#[test]
fn references_move_to_a_successor_before_the_server_is_deleted() {
    let database = company();
    let remap = format!("{LIVE}={JIRA}");
    let fix = |remap: &str| {
        mcp(
            &database,
            &[
                "fix",
                "--yes",
                "--no-journal",
                "--if-deleted",
                "github",
                "--remap",
                remap,
            ],
        )
    };
    let _ = fix(&remap).exits(3).prints("Done: ");
    let of_team = r#"SELECT "mcp_servers"::text FROM "LiteLLM_ObjectPermissionTable" WHERE "object_permission_id" = 'p-team'"#;
    assert_eq!(database.texts(of_team), [format!("{{{JIRA}}}")]);
    // Without the option the server is live, and not remapped.
    let ran = mcp(&database, &["fix", "--dry-run", "--remap", &remap]).exits(4);
    let _ = ran.says("is no deleted server");
    let ran = fix(&format!("{GONE}={LIVE}")).exits(4);
    let _ = ran.says(&format!(
        "cannot remap: {LIVE} is taken as deleted, by --if-deleted"
    ));
    let ran = fix(&format!("{GONE}=github")).exits(64);
    let _ = ran.says("--remap ...=github does not go with --if-deleted github");
}

#[test]
fn a_server_of_a_config_may_be_taken_as_deleted() {
    let database = company();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let config = file(
        "config.yaml",
        "mcp_servers:\n  wiki:\n    url: https://wiki.example.com/mcp\n    transport: http\n",
    );
    let ids = run(&mut mcp_prune(&[
        "ids",
        "--litellm-config",
        &config,
        "--format",
        "json",
    ]));
    let id = ids.json()["servers"][0]["ids"][0]
        .as_str()
        .unwrap()
        .to_owned();
    database.execute(&format!(
        r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = ARRAY['{id}', 'wiki', '{JIRA}']
           WHERE "object_permission_id" = 'p-alone'"#
    ));
    let scan = |more: &[&str]| {
        let args = [
            &["scan", "--litellm-config", &config, "--row", "p-alone"],
            more,
        ]
        .concat();
        run_on(database.url(), &args)
    };
    let _ = scan(&[]).exits(0);
    let ran = scan(&["--if-deleted", "wiki"]).exits(2);
    let _ = ran
        .prints("2 stale references in 1 row.")
        .prints(
            "It would remove 2 stale references from 1 row."
                .replace("It would", "A repair would")
                .as_str(),
        )
        .prints("By the deletion 1 caller loses access, and nobody gains any");
    let json = scan(&["--if-deleted", &id, "--format", "json"])
        .exits(2)
        .json();
    assert_eq!(json["if_deleted"][0]["place"], "config");
    // It is not known without its file.
    let ran = mcp(&database, &["scan", "--if-deleted", "wiki"]).exits(1);
    let _ = ran.says("--if-deleted wiki: it is stale already, named by 1 row");
    let ran = run_on(database.url(), &["scan", "--if-deleted", "wiki"]).exits(1);
    let _ = ran
        .says("--if-deleted wiki: no server has this id, alias or name")
        .says("--litellm-config");
    let kept = file("kept", "wiki\n");
    let ran = scan(&["--if-deleted", "wiki", "--keep", &format!("@{kept}")]).exits(64);
    let _ = ran.says("--keep wiki contradicts --if-deleted");
}

#[test]
fn a_reference_that_names_no_server_or_several_is_refused() {
    let database = company();
    database.execute(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias") VALUES ('id-9', 'Jira');
           UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = ARRAY['{LIVE}']
           WHERE "object_permission_id" = 'p-alone'"#
    ));
    for command in [&["scan"][..], &["fix", "--dry-run"]] {
        let with =
            |reference: &str| mcp(&database, &[command, &["--if-deleted", reference]].concat());
        let _ = with("GitHub")
            .exits(1)
            .says("error: --if-deleted GitHub: no server has this id, alias or name\n");
        let _ = with(GONE).exits(1).says(&format!(
            "--if-deleted {GONE}: it is stale already, named by 1 row of 1 owner: key old"
        ));
        let _ = with("no-mcp-servers")
            .exits(1)
            .says("this is a word that LiteLLM reserves");
        let _ = with("Jira")
            .exits(1)
            .says(&format!(
                "--if-deleted Jira is ambiguous: it is the name of {JIRA}, id-9"
            ))
            .says(&format!("as in --if-deleted {JIRA}"));
        let _ = with("")
            .exits(64)
            .says("the value of --if-deleted is empty");
        let _ = with("sk-1234").exits(64).says("looks like a key");
        let kept = [command, &["--if-deleted", "github", "--keep", "github"]].concat();
        let ran = mcp(&database, &kept).exits(64);
        let _ = ran.says("--keep github does not go with --if-deleted github");
        let kept = [command, &["--if-deleted", "github", "--keep", LIVE]].concat();
        let _ = mcp(&database, &kept)
            .exits(64)
            .says("contradicts --if-deleted");
        let kept = [command, &["--if-deleted", LIVE, "--keep", "github"]].concat();
        let _ = mcp(&database, &kept)
            .exits(64)
            .says("--keep github contradicts --if-deleted");
    }
    // Another server has the name too, so the name stays live.
    let ran = mcp(
        &database,
        &["scan", "--if-deleted", JIRA, "--reference", "Jira"],
    )
    .exits(1);
    let _ = ran.says("it is a server that is served");
}

#[test]
fn metrics_are_not_written_of_what_would_be() {
    let database = company();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scan.prom");
    let scan = ["scan", "--if-deleted", "github"];
    let with = [&scan[..], &["--metrics-file", file.to_str().unwrap()]].concat();
    let ran = mcp(&database, &with).exits(64);
    let _ = ran.says("--if-deleted does not go with --metrics-file: metrics tell what there is");
    let mut command = mcp_prune(&scan);
    let command = command.env("DATABASE_URL", database.url());
    // A variable is of the site, and does not keep anybody from asking.
    let _ = run(command.env("MCP_PRUNE_METRICS_FILE", &file)).exits(2);
    assert!(!file.exists());
}

#[test]
fn the_server_table_is_not_empty_though_its_last_server_is_taken_as_deleted() {
    let database = company();
    let both = ["--if-deleted", LIVE, "--if-deleted", "Jira"];
    let ran = mcp(
        &database,
        &[&["fix", "--yes", "--no-journal"], &both[..]].concat(),
    )
    .exits(3);
    let _ = ran
        .prints("As if deleted: GitHub MCP, github")
        .prints("As if deleted: Jira (");
    let ran = mcp(&database, &[&["scan"], &both[..]].concat()).exits(2);
    assert!(!ran.stderr.contains("empty"), "{ran}");
}

#[test]
fn a_role_with_select_alone_may_ask_and_is_told_what_it_lacks() {
    if concurrent_server("a role for scan --if-deleted").is_none() {
        return;
    }
    let database = company();
    let role = role(&database, "if_deleted");
    let url = url_of(&database, &role, "s3cret");
    let grants = run_on(database.url(), &["grants", "--role", &role]).exits(0);
    database.execute(&grants.stdout);
    database.execute(r#"ALTER TABLE "LiteLLM_TeamTable" ADD "blocked" boolean"#);
    let _ = run_on(&url, &["scan"]).exits(2);
    let scan = ["scan", "--if-deleted", "github", "--no-config-servers"];
    let ran = run_on(&url, &scan).exits(7);
    let hint = ran.stderr.split("have its owner run: ").nth(1).unwrap();
    let grant = hint.lines().next().unwrap();
    assert!(grant.starts_with("GRANT SELECT (\"blocked\")"), "{ran}");
    database.execute(grant);
    let _ = run_on(&url, &scan).exits(2).prints("3 callers lose access");
}

#[test]
fn callers_are_named_and_a_gain_that_is_not_certain_is_not_promised() {
    let database = company();
    let table = mcp(&database, &["scan", "--if-deleted", "github"]).exits(2);
    let _ = table.prints("key ci (").prints("team platform (t-1)");
    let markdown = mcp(
        &database,
        &["scan", "--if-deleted", "github", "--format=markdown"],
    );
    let _ = markdown.exits(2).prints("team platform (t-1)");
    let csv = mcp(
        &database,
        &["scan", "--if-deleted", "github", "--format=csv"],
    );
    let header = "kind,table,row,column,reference,last_grant,owners,detail,successor,rows,held,\
                  row_name,server_name\r\n";
    let csv = csv.exits(2);
    assert!(csv.stdout.starts_with(header), "{csv}");
    assert!(csv.stdout.contains(&format!("{LIVE},")), "{csv}");
    assert!(csv.stdout.contains(",github\r\n"), "{csv}");
}

#[test]
fn what_the_proof_says_of_a_list_is_not_said_twice() {
    let database = company();
    delete(&database);
    let held = mcp(&database, &["fix", "--dry-run", "--on-empty", "unchanged"]);
    let held = held.exits(2);
    assert!(!held.stdout.contains("if removed,"), "{held}");
    let inherits = mcp(&database, &["scan"]).exits(2);
    let _ = inherits.prints("if removed, inherits 1 server of team platform (t-1): Jira");
    let fixed = mcp(
        &database,
        &[
            "fix",
            "--yes",
            "--on-empty",
            "clear",
            "--accept-widening",
            "--format=json",
        ],
    );
    let report = fixed.exits(0).json();
    let journal = report["journal"].as_str().unwrap();
    let undone = run_on(database.url(), &["undo", "--dry-run", journal]);
    let _ = undone.exits(0).prints("put back  key old (");
}
