//! Files that are not LiteLLM's config, and references to config servers that were edited or
//! removed.

use std::path::PathBuf;

use crate::program::{Ran, mcp_prune, run};
use crate::samples::NOWHERE;
use crate::server::TestDatabase;
use crate::terminal::{on_a_terminal, shown};

/// The hash of `gh|https://gh.example.com/mcp|http||`.
const GITHUB: &str = "5d7f11dfb734f58003505ed198788f8d";

/// A reference that has the shape of a config server's id, and that nothing yields.
const EDITED: &str = "0123456789abcdef0123456789abcdef";

const ROW: &str = "0f5b9a52-0001-4000-8000-000000000001";

/// Makes a database with one row, whose list holds the row's id and `references`.
fn database(references: &[&str]) -> TestDatabase {
    let references = references.join("', '");
    TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('{ROW}');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           VALUES ('p', ARRAY['{ROW}', '{references}']);"#
    ))
}

/// A folder of files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn run_on(database: &TestDatabase, args: &[&str]) -> Ran {
    run(mcp_prune(args).env("DATABASE_URL", database.url()))
}

const CONFIGMAP: &str = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: litellm-config
data:
  config.yaml: |
    mcp_servers:
      gh:
        url: https://gh.example.com/mcp
        transport: http
";

const VALUES: &str = "\
replicaCount: 1
proxy_config:
  mcp_servers:
    gh:
      url: https://gh.example.com/mcp
      transport: http
";

const MISPLACED: &str = "\
litellm_settings:
  mcp_servers:
    gh:
      url: https://gh.example.com/mcp
      transport: http
";

const COMPOSE: &str = "services:\n  litellm:\n    image: ghcr.io/berriai/litellm\n";

const CLIENT: &str = r#"{"mcpServers": {"gh": {"url": "https://gh.example.com/mcp"}}}"#;

#[test]
fn a_file_that_is_not_litellms_is_no_word_that_there_are_no_servers() {
    let database = database(&[GITHUB, "gh"]);
    let before = database.permission_rows();
    let folder = Folder::new();
    let files = [
        ("empty.yaml", "", "the file is empty"),
        ("comment.yaml", "# nothing\n", "the file is empty"),
        ("values.yaml", VALUES, "under proxy_config"),
        ("configmap.yaml", CONFIGMAP, "under data > config.yaml"),
        ("docker-compose.yml", COMPOSE, "a docker-compose file"),
        ("mcp.json", CLIENT, "an MCP client's list of servers"),
        ("misplaced.yaml", MISPLACED, "belongs at the top level"),
        ("invalid.yaml", "a: [\n", "is not closed"),
    ];
    for (name, text, told) in files {
        let file = folder.write(name, text);
        let args = ["--litellm-config", &file];
        for command in [&["scan"][..], &["fix", "--yes"], &["ids"]] {
            let _ = run_on(&database, &[command, &args].concat())
                .exits(1)
                .says(told)
                .says(name);
        }
        let doctor = run_on(&database, &[&["doctor"][..], &args].concat()).exits(1);
        assert!(doctor.stdout.contains(told), "{doctor}");
    }
    // A file that is not there exits in the same way, whoever names it.
    let nowhere = folder.path("nowhere.yaml");
    let nowhere = nowhere.to_str().unwrap();
    let _ = run_on(&database, &["scan", "--litellm-config", nowhere])
        .exits(1)
        .says("nowhere.yaml, which --litellm-config names: No such file");
    let by_variable = |command: &str, file: &str| {
        let mut command = mcp_prune(&[command]);
        run(command
            .env("DATABASE_URL", database.url())
            .env("MCP_PRUNE_LITELLM_CONFIG", file))
    };
    for command in ["scan", "ids"] {
        let _ = by_variable(command, nowhere)
            .exits(1)
            .says("which MCP_PRUNE_LITELLM_CONFIG names: No such file");
    }
    let empty = folder.write("empty.yaml", "");
    let _ = by_variable("scan", &empty)
        .exits(1)
        .says("hint: MCP_PRUNE_LITELLM_CONFIG must name");
    let doctor = by_variable("doctor", &empty).exits(1);
    assert!(doctor.stdout.contains("the file is empty"), "{doctor}");
    assert_eq!(database.permission_rows(), before);
}

/// A stand-in for `PyYAML`, which may not be installed: both read JSON in the same way.
const YAML: &str = "import json\nsafe_load = json.load\nsafe_dump = json.dumps\n";

#[test]
fn the_command_that_takes_a_config_out_runs_as_pasted() {
    let folder = Folder::new();
    folder.write("yaml.py", YAML);
    let config =
        r#"{"mcp_servers": {"gh": {"url": "https://gh.example.com/mcp", "transport": "http"}}}"#;
    let inside = serde_json::to_string(&format!("{config}\n")).unwrap();
    for (name, text) in [
        (
            "the values.json",
            format!(r#"{{"proxy_config": {config}}}"#),
        ),
        (
            "configmap.json",
            format!(
                r#"{{"apiVersion": "v1", "kind": "ConfigMap", "data": {{"config.yaml": {inside}}}}}"#
            ),
        ),
    ] {
        let file = folder.write(name, &text);
        let ran = run(&mut mcp_prune(&["ids", "--litellm-config", &file])).exits(1);
        let printed = ran.stderr.lines().last().unwrap().to_owned();
        // On a narrow terminal it is one line as well, or it could not be pasted.
        let args = format!("ids --litellm-config '{file}'");
        let nowhere = TestDatabase::at(NOWHERE.to_owned());
        let narrow = on_a_terminal(&nowhere, 80, &args, "").map(|told| {
            let lines = shown(&told);
            let mut commands = lines.iter().filter(|line| line.contains("python3 "));
            commands.next().unwrap().clone()
        });
        for command in [Some(printed), narrow].into_iter().flatten() {
            let done = std::process::Command::new("sh")
                .args(["-c", &command])
                .current_dir(folder.0.path())
                .env("PYTHONPATH", folder.0.path())
                .output()
                .unwrap();
            assert!(done.status.success(), "{command}\n{done:?}");
            let extracted = folder.path("extracted-litellm-config.yaml");
            let args = ["ids", "--litellm-config", extracted.to_str().unwrap()];
            let _ = run(&mut mcp_prune(&args)).exits(0).prints(GITHUB);
            std::fs::remove_file(extracted).unwrap();
        }
    }
}

#[test]
fn a_config_without_mcp_servers_says_that_it_has_none() {
    let database = database(&["gone", EDITED]);
    let folder = Folder::new();
    for text in [
        "model_list: []\n",
        "mcp_servers:\n",
        "model_list: []\nmcp_servers: []\n",
        "mcp_servers: false\n",
        "mcp_servers: ''\n",
    ] {
        let file = folder.write("config.yaml", text);
        let ran = run_on(
            &database,
            &["scan", "--litellm-config", &file, "--format", "json"],
        );
        assert_eq!(ran.json()["servers"]["config"], 0, "{text}: {ran}");
        assert_eq!(ran.json()["findings"][0]["kind"], "stale", "{text}: {ran}");
    }
}

#[test]
fn what_looks_like_an_edited_config_server_is_held_until_it_is_said_to_be_gone() {
    let database = database(&["gone", EDITED]);
    let folder = Folder::new();
    let config = folder.write("config.yaml", "model_list: []\n");
    for known in [&["--litellm-config", &config][..], &["--no-config-servers"]] {
        let json = run_on(&database, &[&["scan", "--format", "json"], known].concat());
        let findings = json.exits(2).json()["findings"].clone();
        let finding = |at: usize| {
            let [kind, reference, held] =
                ["kind", "reference", "held"].map(|field| findings[at][field].clone());
            (kind, reference, held)
        };
        assert_eq!(finding(0), ("stale".into(), "gone".into(), ().into()));
        assert_eq!(
            finding(1),
            ("stale".into(), EDITED.into(), "maybe-edited".into())
        );

        let scan = run_on(&database, &[&["scan"][..], known].concat()).exits(2);
        let (deleted, edited) = scan
            .stdout
            .split_once("CONFIG SERVERS, EDITED OR REMOVED")
            .unwrap();
        assert!(
            deleted.contains("\ngone: ") && !deleted.contains(&format!("\n{EDITED}: ")),
            "{scan}"
        );
        assert!(edited.contains(EDITED), "{scan}");
        let _ = scan
            .prints("config server edited?")
            .prints("add --prune-config-ids");

        // A scan says what the repair would do, and hands the option on to it.
        let prune = [&["scan", "--prune-config-ids"][..], known].concat();
        let scan = run_on(&database, &prune).exits(2);
        assert!(!scan.stdout.contains("EDITED OR REMOVED"), "{scan}");
        let _ = scan
            .prints("would remove 2 stale references")
            .prints("--prune-config-ids");
    }
    let _ = run_on(&database, &["fix", "--yes", "--no-config-servers"]).exits(3);
    assert!(database.permission_rows()[0].contains(EDITED));
    assert!(!database.permission_rows()[0].contains("gone"));

    // What is planned with the option is carried out without it.
    let plan = folder.path("plan");
    let plan = plan.to_str().unwrap();
    let known = ["--no-config-servers"];
    let planning = ["fix", "--dry-run", "--prune-config-ids", "--plan-out", plan];
    let _ = run_on(&database, &[&planning[..], &known].concat()).exits(2);
    let _ = run_on(
        &database,
        &[&["fix", "--yes", "--plan", plan][..], &known].concat(),
    )
    .exits(0);
    assert!(!database.permission_rows()[0].contains(EDITED));
}

#[test]
fn the_option_needs_to_know_of_config_servers() {
    let database = database(&[EDITED]);
    for command in [&["scan"][..], &["fix", "--yes"]] {
        let _ = run_on(&database, &[command, &["--prune-config-ids"]].concat())
            .exits(64)
            .says("goes with --litellm-config or --no-config-servers");
    }
    let folder = Folder::new();
    let config = folder.write("config.yaml", "model_list: []\n");
    let previous = ["scan", "--previous-litellm-config", &config];
    let _ = run_on(&database, &previous).exits(64);
    let _ = run_on(
        &database,
        &[&previous[..], &["--no-config-servers"]].concat(),
    )
    .exits(64);
    // The variable is as good as the option.
    let _ = run(mcp_prune(&previous)
        .env("DATABASE_URL", database.url())
        .env("MCP_PRUNE_LITELLM_CONFIG", &config))
    .exits(2);
    let _ = run(mcp_prune(&["scan", "--prune-config-ids"])
        .env("DATABASE_URL", database.url())
        .env("MCP_PRUNE_LITELLM_CONFIG", &config))
    .exits(2);
}

/// The text whose hash is the id of `wiki`.
const WIKI: &str = "wiki|https://wiki.example.com/mcp|MCPTransport.http||";

fn hash(text: &str) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(text.as_bytes());
    let hex = digest[..16].iter().map(|byte| format!("{byte:02x}"));
    hex.collect::<Vec<_>>().concat()
}

#[test]
fn a_server_that_may_have_several_new_ids_keeps_its_references() {
    let old_id = hash(WIKI);
    let database = database(&[&old_id]);
    let before = database.permission_rows();
    let folder = Folder::new();
    let old = folder.write(
        "old.yaml",
        "mcp_servers:\n  wiki: {url: https://wiki.example.com/mcp}\n",
    );
    let new = folder.write(
        "new.yaml",
        "mcp_servers:\n  wiki: {url: https://wiki.example.com/mcp, auth_type: oauth_delegate}\n",
    );
    let known = ["--previous-litellm-config", &old, "--litellm-config", &new];
    for option in [&[][..], &["--prune-config-ids"]] {
        let args = [&["fix", "--yes", "--format", "json"][..], &known, option].concat();
        let ran = run_on(&database, &args).exits(3);
        assert_eq!(ran.json()["held"][0]["reason"], "maybe-renewed", "{ran}");
        let _ = ran.says("references to its old ids are held: pin its server_id");
        assert_eq!(database.permission_rows(), before);
    }
    let ran = run_on(&database, &[&["fix", "--yes"][..], &known].concat()).exits(3);
    let words: Vec<&str> = ran.stdout.split_whitespace().collect();
    let advice = "Pin its server_id there, or name the server with --remap OLD=NEW.";
    assert!(words.join(" ").contains(advice), "{ran}");
    // Once its transport is written down, it has one id.
    let new = folder.write(
        "new.yaml",
        "mcp_servers:\n  wiki: {url: https://wiki.example.com/mcp, auth_type: oauth_delegate, \
         transport: http}\n",
    );
    let known = ["--previous-litellm-config", &old, "--litellm-config", &new];
    let _ = run_on(&database, &[&["fix", "--yes"][..], &known].concat()).exits(0);
    let now = hash("wiki|https://wiki.example.com/mcp|http|oauth_delegate|");
    assert!(database.permission_rows()[0].contains(&now));
}

#[test]
fn with_several_configs_a_name_does_not_tell_what_an_old_id_became() {
    let old_id = hash("wiki|https://a.example.com/mcp|http||");
    let database = database(&[&old_id]);
    let before = database.permission_rows();
    let folder = Folder::new();
    let config = |name: &str, url: &str| {
        let text = format!("mcp_servers:\n  wiki: {{url: {url}, transport: http}}\n");
        folder.write(name, &text)
    };
    let old = config("old.yaml", "https://a.example.com/mcp");
    let new = config("new.yaml", "https://a2.example.com/mcp");
    let other = config("other.yaml", "https://b.example.com/mcp");
    let known = [
        "--previous-litellm-config",
        &old,
        "--litellm-config",
        &new,
        "--litellm-config",
        &other,
    ];
    let fix = [&["fix", "--yes", "--format", "json"][..], &known].concat();
    let ran = run_on(&database, &fix).exits(3);
    assert_eq!(ran.json()["held"][0]["reason"], "maybe-renewed", "{ran}");
    assert_eq!(database.permission_rows(), before);
    // The operator says which one it is.
    let now = hash("wiki|https://a2.example.com/mcp|http||");
    let remap = format!("{old_id}={now}");
    let _ = run_on(&database, &[&fix[..], &["--remap", &remap]].concat()).exits(0);
    assert!(database.permission_rows()[0].contains(&now));
}

#[test]
fn an_alias_that_the_database_saves_may_be_live() {
    let config = "mcp_servers:\n  wiki: {url: https://wiki.example.com/mcp, transport: http}\n";
    let with_alias = hash("wiki|https://wiki.example.com/mcp|http||short");
    let database = database(&["short", "gone", &with_alias]);
    let folder = Folder::new();
    let known = folder.write("config.yaml", config);
    let save = |settings: &str| {
        database.execute(&format!(
            r#"INSERT INTO "LiteLLM_Config" ("param_name", "param_value")
               VALUES ('litellm_settings', '{settings}')
               ON CONFLICT ("param_name") DO UPDATE SET "param_value" = EXCLUDED."param_value""#
        ));
    };
    let kinds = |known: &str| {
        let args = ["scan", "--format", "json", "--litellm-config", known];
        let ran = run_on(&database, &[&args[..], &["--prune-config-ids"]].concat()).exits(2);
        let findings = ran.json()["findings"].as_array().cloned().unwrap();
        let kind = |reference: &str| {
            let finding = findings.iter().find(|f| f["reference"] == reference);
            finding.map(|f| f["kind"].as_str().unwrap_or_default().to_owned())
        };
        (["short", "gone", &with_alias].map(kind), ran)
    };
    let some = |kinds: [&str; 3]| kinds.map(|kind| Some(kind.to_owned()));
    save(r#"{"mcp_aliases": {"short": "elsewhere"}}"#);
    assert_eq!(kinds(&known).0, some(["stale", "stale", "stale"]));
    save(r#"{"mcp_aliases": {"short": "wiki"}}"#);
    let (found, ran) = kinds(&known);
    assert_eq!(found, some(["unverified", "stale", "unverified"]), "{ran}");
    let _ = ran.says("short for config server wiki");
    // Once the file maps it as well, everything is known.
    let text = format!("{config}litellm_settings: {{mcp_aliases: {{short: wiki}}}}\n");
    let both = folder.write("both.yaml", &text);
    let (found, ran) = kinds(&both);
    assert_eq!(found, [None, Some("stale".to_owned()), None], "{ran}");
    // A value that cannot be read may hold anything.
    save(r#""not an object""#);
    let (found, ran) = kinds(&known);
    assert_eq!(found, some(["unverified"; 3]), "{ran}");
    let _ = ran.says("mcp_aliases");
}

#[test]
fn a_previous_config_tells_of_a_server_that_it_was_removed() {
    let gone = hash("wiki|https://wiki.example.com/mcp|http||");
    let database = database(&[&gone, EDITED]);
    let folder = Folder::new();
    let old = folder.write(
        "old.yaml",
        "mcp_servers:\n  wiki: {url: https://wiki.example.com/mcp, transport: http}\n",
    );
    let new = folder.write("new.yaml", "model_list: []\n");
    let known = ["--previous-litellm-config", &old, "--litellm-config", &new];
    // Also where a plan is carried out, which is not told of the old file.
    let plan = folder.path("plan");
    let plan = plan.to_str().unwrap();
    let planning = ["fix", "--dry-run", "--plan-out", plan];
    let _ = run_on(&database, &[&planning[..], &known].concat()).exits(2);
    let carry_out = ["fix", "--yes", "--plan", plan, "--litellm-config", &new];
    let _ = run_on(&database, &carry_out).exits(3);
    let rows = database.permission_rows();
    assert!(!rows[0].contains(&gone), "{rows:?}");
    assert!(rows[0].contains(EDITED), "{rows:?}");
}

#[test]
fn what_the_database_itself_tells_is_not_contradicted_in_silence() {
    // Neither is shaped as an id of a config server: they are pinned.
    let uuid = "5d0c5c3e-8f0b-4f7e-a6f4-3f1f3a0f8b21";
    let database = database(&[uuid, "pinned"]);
    database.execute(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerOAuthClient" ("server_id") VALUES ('{uuid}'), ('pinned');
           INSERT INTO "LiteLLM_Config" VALUES ('mcp_servers', '{{}}', 1);"#
    ));
    let before = database.permission_rows();
    let ran = run_on(&database, &["fix", "--yes", "--no-config-servers"])
        .exits(3)
        .says("proxies have OAuth clients for 2 servers in neither the server table nor a config")
        .says("no config given has MCP servers");
    assert!(ran.stdout.contains("Held: 2 references"), "{ran}");
    assert_eq!(database.permission_rows(), before);

    // A config that has them is no contradiction.
    let folder = Folder::new();
    let config = folder.write(
        "config.yaml",
        &format!(
            "mcp_servers:\n  a: {{url: u, server_id: {uuid}}}\n  b: {{url: u, server_id: pinned}}\n"
        ),
    );
    let ran = run_on(&database, &["scan", "--litellm-config", &config]).exits(0);
    assert!(!ran.stderr.contains("OAuth"), "{ran}");

    let prune = ["fix", "--yes", "--no-config-servers", "--prune-config-ids"];
    let _ = run_on(&database, &prune)
        .exits(0)
        .says("taken for stale, as --prune-config-ids says");
    assert_ne!(database.permission_rows(), before);
}

#[test]
fn ids_begins_with_the_current_one_and_prints_the_line_that_pins_it() {
    let folder = Folder::new();
    let config = folder.write(
        "config.yaml",
        "mcp_servers:\n  wiki: {url: https://wiki.example.com/mcp}\n  pinned: {url: u, server_id: mine}\n",
    );
    let ids = |format: &str| {
        let mut command = mcp_prune(&["ids", "--format", format]);
        run(command.env("MCP_PRUNE_LITELLM_CONFIG", &config)).exits(0)
    };
    let current = hash(WIKI);
    let json = ids("json").json();
    let servers = json["servers"].as_array().unwrap();
    assert_eq!(servers[0]["ids"].as_array().unwrap().len(), 2);
    assert_eq!(servers[0]["ids"][0], current.as_str());
    assert_eq!(
        (&servers[0]["pinned"], &servers[1]["pinned"]),
        (&false.into(), &true.into())
    );
    let table = ids("table").prints(&format!("wiki:\n    server_id: \"{current}\"\n"));
    assert!(!table.stdout.contains("server_id: \"mine\""), "{table}");

    // Pasted, it keeps the id whatever is edited.
    let config = folder.write(
        "config.yaml",
        &format!(
            "mcp_servers:\n  wiki:\n    server_id: \"{current}\"\n    url: http://elsewhere\n"
        ),
    );
    let pinned = run(&mut mcp_prune(&[
        "ids",
        "--litellm-config",
        &config,
        "--format",
        "json",
    ]));
    assert_eq!(
        pinned.json()["servers"][0]["ids"],
        serde_json::json!([current])
    );
}
