//! `access`: whom it names, how it prints, and what it refuses.

use mcp_prune::testing::hash;
use serde_json::{Value, json};

use crate::connection::{grant_what_is_asked, role, url_of};
use crate::program::{Ran, formats, run_on};
use crate::samples::{GONE, demo};
use crate::schemas::Format;
use crate::server::{TestDatabase, concurrent_server};

/// Makes a team with two keys, an agent, a user, an end user and a toolset.
pub(crate) fn company() -> TestDatabase {
    let [ci, other] = ["sk-ci", "sk-other"].map(hash);
    TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias", "approval_status") VALUES
               ('id-1', 'github', 'active'), ('id-2', 'jira', 'active'), ('id-3', 'wiki', 'draft');
           INSERT INTO "LiteLLM_ObjectPermissionTable"
               ("object_permission_id", "mcp_servers", "mcp_tool_permissions", "mcp_toolsets") VALUES
               ('p-ci', ARRAY['github', '{GONE}'], '{{"id-1": ["search"]}}', ARRAY['set']),
               ('p-team', ARRAY['id-1', 'id-2'], NULL, ARRAY[]::text[]),
               ('p-end', ARRAY['id-2'], NULL, ARRAY[]::text[]);
           INSERT INTO "LiteLLM_TeamTable" ("team_id", "team_alias", "organization_id", "object_permission_id")
               VALUES ('t-1', 'platform', 'o-1', 'p-team');
           INSERT INTO "LiteLLM_OrganizationTable" ("organization_id", "organization_alias")
               VALUES ('o-1', 'acme');
           INSERT INTO "LiteLLM_UserTable" ("user_id", "user_email") VALUES ('u-1', 'ann@example.com');
           INSERT INTO "LiteLLM_AgentsTable" ("agent_id", "agent_name") VALUES ('a-1', 'helper');
           INSERT INTO "LiteLLM_EndUserTable" ("user_id", "alias", "object_permission_id")
               VALUES ('e-1', 'visitor', 'p-end');
           INSERT INTO "LiteLLM_MCPToolsetTable" ("toolset_id", "toolset_name", "tools")
               VALUES ('set', 'set', '[{{"server_id": "id-1", "tool_name": "read"}}]');
           INSERT INTO "LiteLLM_VerificationToken"
               ("token", "key_name", "key_alias", "team_id", "agent_id", "object_permission_id") VALUES
               ('{ci}', 'sk-...ci', 'ci', 't-1', NULL, 'p-ci'),
               ('{other}', 'sk-...other', 'other', 't-1', 'a-1', NULL);"#
    ))
}

/// A token that LiteLLM would not store is hashed before any of it is shown, be it by SQL (`scan`)
/// or in this program (`access`).
#[test]
fn scan_and_access_call_a_key_the_same_and_show_nothing_of_a_token_that_is_no_hash() {
    let stored = [
        hash("sk-ci"),
        hash("sk-other").to_uppercase(),
        "deadbeef".to_owned(),
        format!("{}g", &hash("sk-third")[..63]),
        "Übung 日本語".to_owned(),
    ];
    let rows = stored.iter().enumerate().map(|(at, token)| {
        format!(
            r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
                   VALUES ('p-{at}', ARRAY['id-1', '{GONE}']);
               INSERT INTO "LiteLLM_VerificationToken" ("token", "object_permission_id")
                   VALUES ('{token}', 'p-{at}');"#
        )
    });
    let rows: Vec<String> = rows.collect();
    let server = r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('id-1');"#;
    let database = TestDatabase::with(&format!("{server}{}", rows.concat()));
    let shown = |token: &String| {
        let is_hash = token == &stored[0];
        let hash = if is_hash { token.clone() } else { hash(token) };
        hash[..8].to_owned()
    };
    let mut expected: Vec<String> = stored.iter().map(shown).collect();
    expected.sort_unstable();

    let scan = run_on(database.url(), &["scan", "--format", "json"]).exits(2);
    let scan = scan.json();
    let findings = scan["findings"].as_array().unwrap().iter();
    let owners = findings.map(|finding| &finding["owners"][0]["id"]);
    let mut of_scan: Vec<&str> = owners.map(|id| id.as_str().unwrap()).collect();
    of_scan.sort_unstable();
    assert_eq!(of_scan, expected);

    let everybody = callers(&database, &[]);
    let ids = everybody
        .iter()
        .map(|caller| caller["key"]["id"].as_str().unwrap());
    let mut of_access: Vec<&str> = ids.collect();
    of_access.sort_unstable();
    assert_eq!(of_access, expected);
    for id in expected {
        let found = callers(&database, &[&format!("key:{id}")]);
        assert_eq!(found.len(), 1, "{id}");
        assert_eq!(found[0]["key"]["id"], *id);
    }
}

/// Runs `access`, with no config servers.
pub(crate) fn access(database: &TestDatabase, args: &[&str]) -> Ran {
    run_on(
        database.url(),
        &[&["access", "--no-config-servers"], args].concat(),
    )
}

/// Returns the callers, and checks them against the schema.
pub(crate) fn callers(database: &TestDatabase, args: &[&str]) -> Vec<Value> {
    let args = [&["access", "--no-config-servers"], args].concat();
    let (ran, documents) = Format::Json.run(database.url(), &args);
    let _ = ran.exits(0);
    documents[0]["callers"].as_array().unwrap().clone()
}

pub(crate) fn servers(caller: &Value) -> Vec<&str> {
    let servers = caller["servers"].as_array().unwrap().iter();
    servers
        .map(|server| server["name"].as_str().unwrap())
        .collect()
}

#[test]
fn a_key_is_explained_level_by_level() {
    let database = company();
    let ran = access(&database, &["key:ci"]).exits(0);
    let whole = ran.stdout.clone();
    let expected = format!(
        "key ci ({}), team t-1, organization o-1
  1. its own permission row: grants
       {GONE}  (stale)
       id-1  github
     leaves 2 references
  2. team t-1: leaves only
       id-1  github
       id-2  jira
     leaves 1 reference
  3. organization o-1: names no server, so it sets no limit
  => may use:
       id-1  github
         tools: read, search
",
        &hash("sk-ci")[..8]
    );
    assert!(whole.starts_with(&expected), "{whole}");
    assert!(
        whole
            .lines()
            .take(13)
            .all(|line| line.chars().count() <= 80)
    );
    let callers = callers(&database, &["key:ci"]);
    let levels = callers[0]["steps"].as_array().unwrap().iter();
    let levels: Vec<&str> = levels.map(|step| step["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["own", "team", "organization"]);
    assert_eq!(
        callers[0]["steps"][0]["names"][0],
        json!({"reference": GONE, "verdict": "stale", "name": null})
    );
    // The route of its toolset is another caller.
    assert_eq!(callers[1]["toolset"], "set");
    assert_eq!(callers[1]["servers"][0]["tools"], json!(["read"]));
}

#[test]
fn an_owner_stands_for_its_callers() {
    let database = company();
    let prefix = &hash("sk-ci")[..8];
    for name in ["ci", prefix, &hash("sk-ci"), "sk-...ci"] {
        let found = callers(&database, &[&format!("key:{name}")]);
        assert_eq!(
            found[0]["key"],
            json!({"id": prefix, "name": "ci"}),
            "{name}"
        );
    }
    let of_team = callers(&database, &["team:platform"]);
    assert_eq!(of_team.len(), 1);
    assert_eq!(of_team[0]["via"], "keyless");
    assert_eq!(servers(&of_team[0]), ["github", "jira"]);
    let of_user = callers(&database, &["user:ann@example.com"]);
    assert_eq!(of_user[0]["via"], "session");
    let of_agent = callers(&database, &["agent:helper"]);
    assert_eq!(of_agent.len(), 1);
    assert_eq!(of_agent[0]["key"]["name"], "other");
    let of_organization = callers(&database, &["organization:acme"]);
    assert_eq!(of_organization.len(), 3, "two keys and a route");
    let of_end_user = callers(&database, &["end_user:e-1"]);
    assert_eq!(of_end_user.len(), 2);
    for caller in &of_end_user {
        assert_eq!(caller["end_user"], "e-1");
        let expected: &[&str] = if caller["key"]["name"] == "ci" {
            &[]
        } else {
            &["jira"]
        };
        assert_eq!(servers(caller), expected);
    }
    let two = callers(&database, &["key:other", "team:t-1"]);
    assert_eq!(two.len(), 2);
    let on_behalf = callers(&database, &["key:other", "--as", "end_user:e-1"]);
    assert_eq!(servers(&on_behalf[0]), ["jira"]);
    let everybody = callers(&database, &["--as", "end_user:visitor"]);
    assert_eq!(everybody.len(), 2);
    assert!(everybody.iter().all(|caller| caller["end_user"] == "e-1"));
    let on_route = callers(&database, &["key:ci", "--toolset", "set"]);
    assert_eq!(on_route.len(), 1);
    assert_eq!(servers(&on_route[0]), ["github"]);
}

#[test]
fn everybody_is_listed_once_and_every_caller_where_asked_for() {
    let database = company();
    let found = callers(&database, &[]);
    let via = |via: &str| found.iter().filter(|caller| caller["via"] == via).count();
    assert_eq!((via("key"), via("session"), via("keyless")), (3, 1, 1));
    assert!(found.iter().all(|caller| caller.get("steps").is_none()));
    let every = callers(&database, &["--every-caller"]);
    // A key at large, for the end user, on the route; the agent's also for the user behind it.
    assert_eq!(every.len(), 3 + 4 + 2 + 2);
}

#[test]
fn a_server_lists_who_may_use_it_and_through_what() {
    let database = company();
    for name in ["jira", "id-2"] {
        let found = callers(&database, &["--server", name]);
        let keys: Vec<&Value> = found.iter().map(|caller| &caller["key"]["name"]).collect();
        assert_eq!(keys, [&json!("other"), &Value::Null], "{name}");
    }
    let both = callers(&database, &["--server", "jira", "--server", "github"]);
    assert_eq!(both.len(), 4);
    let ran = access(&database, &["--server", "github", "key:ci"]).exits(0);
    let _ = ran
        .prints("THROUGH")
        .prints("tools: read, search")
        .prints("own");
    let ran = access(&database, &["--server", "jira", "key:ci"]).exits(0);
    assert!(ran.stdout.starts_with("Nobody.\n"), "{ran}");
}

#[test]
fn every_format_tells_the_same() {
    let database = company();
    for args in [
        &["access"][..],
        &["access", "key:ci"],
        &["access", "--server", "jira"],
    ] {
        for format in Format::BOTH {
            let (ran, documents) = format.run(database.url(), args);
            let _ = ran.exits(0);
            assert!(!documents.is_empty());
        }
    }
    for format in formats() {
        let ran = access(&database, &["--format", format]).exits(0);
        let _ = ran.prints("github").prints("ci");
    }
    let csv = access(&database, &["--format", "csv", "key:ci"]).exits(0);
    let mut lines = csv.stdout.lines();
    let head = "via,key,key_name,team,organization,user,agent,end_user,toolset,server,server_name,tools,denied_by";
    assert_eq!(lines.next(), Some(head));
    let line = format!(
        "key,{},ci,t-1,o-1,,,,,id-1,github,read search,",
        &hash("sk-ci")[..8]
    );
    assert_eq!(lines.next(), Some(line.as_str()));
    let (_, lines) = Format::Ndjson.run(database.url(), &["access"]);
    assert_eq!(lines.first().unwrap()["type"], "header");
    let callers = lines.len() - 2;
    assert_eq!(
        lines.last().unwrap(),
        &json!({"type": "summary", "callers": callers})
    );
}

#[test]
fn the_rules_are_those_of_the_release_that_is_asked_for() {
    let database = company();
    let found = callers(&database, &["key:ci", "--litellm-version", "1.82.0"]);
    // Names do not resolve, and tool permissions grant nothing.
    assert_eq!(servers(&found[0]), Vec::<&str>::new());
    assert_eq!(found[0]["denied_by"]["level"], "team");
    let ran = access(&database, &["--litellm-version", "1.82"]);
    let _ = ran.exits(64).says("must be a release of LiteLLM");
}

/// An array may begin at any index, or have several dimensions, which LiteLLM cannot read.
#[test]
fn arrays_with_other_bounds_are_read_as_litellm_reads_them() {
    let database = company();
    let usual = callers(&database, &["key:ci"]);
    let set = |value: &str| {
        database.execute(&format!(
            r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = '{value}'
               WHERE "object_permission_id" = 'p-ci'"#
        ));
    };
    set(&format!("[-7:-6]={{github,{GONE}}}"));
    assert_eq!(callers(&database, &["key:ci"]), usual);
    set("{{github,jira}}");
    // The row sets no limit then, and the key has what its team has.
    let unreadable = callers(&database, &["key:ci"]);
    assert_eq!(servers(&unreadable[0]), ["github", "jira"]);
}

#[test]
fn what_is_not_known_is_said() {
    let database = demo();
    let ran = run_on(database.url(), &["access", "--format", "json"]).exits(0);
    assert_eq!(ran.json()["callers"][0]["complete"], false);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    std::fs::write(&config, "mcp_servers: {}\n").unwrap();
    let config = config.to_str().unwrap();
    let args = ["access", "--format", "json", "--litellm-config", config];
    let ran = run_on(database.url(), &args).exits(0);
    assert_eq!(ran.json()["callers"][0]["complete"], true);
    let table = run_on(database.url(), &["access"]).exits(0);
    let _ = table.prints("--litellm-config");
}

#[test]
fn a_setting_of_the_config_counts() {
    let database = company();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    let settings = "mcp_servers: {}\ngeneral_settings: {require_key_mcp_access_defined: true}\n";
    std::fs::write(&config, settings).unwrap();
    let config = config.to_str().unwrap();
    let args = ["access", "key:other", "--litellm-config", config];
    let ran = run_on(database.url(), &args).exits(0);
    let _ = ran
        .prints("require_key_mcp_access_defined")
        .prints("=> no server");
}

#[test]
fn bad_input_is_refused_and_says_what_to_do() {
    let database = company();
    database.execute(r#"UPDATE "LiteLLM_VerificationToken" SET "key_alias" = 'twin'"#);
    for (args, status, says) in [
        (&["key:nobody"][..], 1, "there is no key"),
        (&["team:nobody"], 1, "there is no team"),
        (&["key:twin"], 1, "ambiguous"),
        (&["project:p"], 64, "LiteLLM does not look at projects"),
        (&["somebody"], 64, "somebody"),
        (&["--as", "team:t-1"], 64, "say --as end_user:ID"),
        (
            &["--as", "end_user:nobody"],
            1,
            "there is no end user nobody",
        ),
        (&["end_user:e-1", "--as", "end_user:e-1"], 64, "name a key"),
        (&["--server", "nothing"], 1, "no server that is served"),
        // It is there, and not served.
        (
            &["--server", "wiki"],
            1,
            "this server is there, but no proxy serves it (its state is ",
        ),
        (&["--toolset", "nothing"], 1, "toolset nothing"),
        (
            &["--every-caller", "--toolset", "set"],
            64,
            "--every-caller",
        ),
    ] {
        let ran = access(&database, args).exits(status).says(says);
        assert_eq!(ran.stdout, "", "{args:?}");
    }
}

#[test]
fn a_role_that_may_not_read_a_column_is_told_the_grant() {
    if concurrent_server("a role for access").is_none() {
        return;
    }
    let database = company();
    let role = role(&database, "access");
    let url = url_of(&database, &role, "s3cret");
    let grants = run_on(database.url(), &["grants", "--role", &role]).exits(0);
    database.execute(&grants.stdout);
    database.execute(r#"ALTER TABLE "LiteLLM_TeamTable" ADD "blocked" boolean"#);
    let ran = run_on(&url, &["access"]).exits(7);
    let hint = ran.stderr.split("have its owner run: ").nth(1).unwrap();
    let grant = hint.lines().next().unwrap();
    assert!(grant.starts_with("GRANT SELECT (\"blocked\")"), "{ran}");
    database.execute(grant);
    // With SELECT alone it works.
    let _ = run_on(&url, &["access"]).exits(0).prints("github");
}

#[test]
fn a_report_that_nobody_reads_any_more_is_no_failure_of_the_database() {
    let database = company();
    let file = tempfile::tempdir().unwrap().path().join("missing/report");
    let file = file.to_str().unwrap();
    let ran = access(&database, &["--output", file]).exits(1);
    let _ = ran.says("cannot write --output");
}

/// What `grants --for access` prints is enough, and each column of it is needed.
#[test]
fn a_role_made_from_the_grants_tells_access() {
    if concurrent_server("grants for access").is_none() {
        return;
    }
    let database = company();
    database.execute(
        r#"ALTER TABLE "LiteLLM_TeamTable" ADD "members_with_roles" jsonb, ADD "blocked" boolean;
           ALTER TABLE "LiteLLM_UserTable" ADD "teams" text[];"#,
    );
    let role = role(&database, "reviewer");
    let url = url_of(&database, &role, "s3cret");
    let grants = run_on(
        database.url(),
        &["grants", "--role", &role, "--for", "access"],
    );
    let grants = grants.exits(0).stdout;
    for secret in [
        "param_value",
        "credential",
        "password",
        "metadata",
        "UPDATE",
    ] {
        assert!(!grants.contains(secret), "{grants}");
    }
    database.load(&grants);
    let owner = run_on(
        database.url(),
        &["access", "--every-caller", "--format", "csv"],
    );
    let reviewer = run_on(&url, &["access", "--every-caller", "--format", "csv"]).exits(0);
    assert_eq!(reviewer.stdout, owner.stdout);
    let _ = run_on(&url, &["access", "key:ci"]).exits(0);
    let _ = run_on(&url, &["access", "--server", GONE]).exits(0);

    // Without one of them it says which, and the hint is enough.
    for (table, column) in [
        ("LiteLLM_TeamTable", "members_with_roles"),
        ("LiteLLM_UserTable", "teams"),
        ("LiteLLM_AccessGroupTable", "assigned_team_ids"),
        ("LiteLLM_MCPToolsetTable", "tools"),
        ("LiteLLM_ObjectPermissionTable", "mcp_access_groups"),
    ] {
        database.execute(&format!(
            r#"REVOKE SELECT ("{column}") ON "{table}" FROM {role}"#
        ));
        let ran = run_on(&url, &["access"]).exits(7);
        let _ = ran.says("lacks SELECT").says(column);
        grant_what_is_asked(&database, &url, &["access"]);
        let _ = run_on(&url, &["access"]).exits(0);
    }
    let sites = ["grants", "--for", "access", "--sites", "toolsets"];
    let ran = run_on(database.url(), &sites).exits(64);
    let _ = ran.says("whatever the sites");
}

/// A table that somebody keeps locked holds up the question, and a signal ends the wait.
#[test]
fn a_signal_ends_a_question_that_is_not_answered() {
    if concurrent_server("a locked table").is_none() {
        return;
    }
    let database = demo();
    let lock = r#"LOCK TABLE "LiteLLM_VerificationToken""#;
    let ended = crate::concurrent::while_open(&database, lock, || {
        let args = [
            "-s",
            "TERM",
            "-k",
            "60",
            "5",
            env!("CARGO_BIN_EXE_mcp-prune"),
        ];
        let mut run = std::process::Command::new("timeout");
        run.args(args).args(["access", "--statement-timeout", "0"]);
        run.args(["--db-url", database.url()]);
        let run = run.env_clear().env("PATH", std::env::var("PATH").unwrap());
        run.output().unwrap()
    });
    let stderr = String::from_utf8_lossy(&ended.stderr);
    // 137 is what it ends with where it had to be killed.
    assert_eq!(ended.status.code(), Some(124), "{stderr}");
    assert!(stderr.contains("ended by signal 15"), "{stderr}");
}
