//! Names in a database, messages of a server and words of the command line that try to forge what
//! is shown.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use crate::program::{Ran, formats, mcp_prune, run, wait_until};
use crate::server::{TestDatabase, skip};
use crate::terminal::terminal;

/// A line break and a forged line, a screen cleared in two ways, text turned around.
const HOSTILE: &str = "=x\nerror: forged\r\x1b[2J\u{9b}2J\u{202e}z";

/// Quotes a text as an SQL literal.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Makes a database whose name, schema, servers, rows and owners are all hostile; returns its URL
/// too.
fn hostile() -> (TestDatabase, String) {
    let database = TestDatabase::with("");
    let gone = format!("{HOSTILE} gone");
    database.load(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "server_name") VALUES ('id-1', {name});
        INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers", "mcp_tool_permissions")
            VALUES ({name}, ARRAY['id-1', {gone}, {name}],
                    jsonb_build_object({gone}, jsonb_build_array({name}))),
                   ('last', ARRAY[{gone}], NULL);
        INSERT INTO "LiteLLM_TeamTable" ("team_id", "team_alias", "object_permission_id")
            VALUES ({name}, {name}, {name}), ('t-2', {name}, 'last');
        ALTER SCHEMA public RENAME TO "{HOSTILE}";"#,
        name = literal(HOSTILE),
        gone = literal(&gone),
    ));
    let schema = HOSTILE.bytes().map(|byte| format!("%{byte:02X}"));
    let schema = schema.collect::<Vec<_>>().concat();
    let url = format!("{}?schema={schema}", database.url());
    (database, url)
}

#[track_caller]
fn forges_nothing(told: &str, what: &str) {
    let bad = |c: char| c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
    if let Some(found) = told.chars().find(|c| bad(*c)) {
        panic!("{what} shows {found:?}: {told:?}");
    }
    assert!(
        !told.lines().any(|line| line.starts_with("error: forged")),
        "{what}: {told}"
    );
}

#[test]
fn no_command_lets_a_name_forge_what_is_shown() {
    let (_database, url) = hostile();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(format!("{HOSTILE} {name}"));
        path.to_str().unwrap().to_owned()
    };
    let [journal, plan, config] = ["journal", "plan", "config"].map(file);
    fs::write(
        &config,
        format!(
            "mcp_servers:\n  {}:\n    url: http://127.0.0.1/x\n",
            // YAML takes none of these raw.
            serde_json::json!(HOSTILE)
                .to_string()
                .replace('\u{9b}', r"\u009b")
        ),
    )
    .unwrap();
    let told = |args: &[&str]| -> Ran {
        let ran = run(mcp_prune(args).env("DATABASE_URL", &url));
        let stdout = if args.contains(&"csv") {
            ran.stdout.replace("\r\n", "\n")
        } else {
            ran.stdout.clone()
        };
        forges_nothing(&stdout, &format!("stdout of {args:?}"));
        forges_nothing(&ran.stderr, &format!("stderr of {args:?}"));
        ran
    };
    for format in crate::program::formats() {
        let args = ["--no-config-servers", "--format", format];
        let _ = told(&[&["scan", "--notes"], &args[..]].concat()).exits(2);
        let _ = told(&[&["fix", "--dry-run"], &args[..]].concat()).exits(2);
    }
    let with_config = ["--litellm-config", config.as_str()];
    let _ = told(&[&["scan"], &with_config[..]].concat()).exits(2);
    let _ = told(&[&["ids"], &with_config[..]].concat());
    let _ = told(&["ids", "--litellm-config", &file("none")]).exits(1);
    let _ = told(&["doctor", "--no-config-servers"]);
    let _ = told(&["doctor", "--no-config-servers", "--format", "json"]);
    let none = ["--no-config-servers"];
    for args in [
        &["scan", "--row", HOSTILE][..],
        &["scan", "--owner", &format!("team:{HOSTILE}")],
        &["scan", "--owner", HOSTILE],
        &["scan", "--reference", HOSTILE],
        &["scan", "--sites", HOSTILE],
        &["scan", &format!("--format={HOSTILE}")],
        &["scan", "--schema", "no such"],
        &["scan", HOSTILE],
        &[HOSTILE],
        &["scan", "--keep", &format!("@{}", file("none"))],
        &["scan", "--output", &file("none/none")],
        &[
            "fix",
            "--dry-run",
            "--remap",
            &format!("{HOSTILE}={HOSTILE}"),
        ],
        &["undo", "--dry-run", &file("none")],
    ] {
        let _ = told(&[args, &none[..]].concat());
    }
    let _ = told(&[&["fix", "--dry-run", "--plan-out", &plan], &none[..]].concat()).exits(2);
    let args = ["fix", "--yes", "--plan", &plan, "--journal", &journal];
    let _ = told(&[&args[..], &none[..]].concat());
    assert!(fs::exists(&journal).unwrap());
    let _ = told(&[&args[..], &none[..]].concat());
    let _ = told(&["undo", "--dry-run", &journal]).exits(0);
    let _ = told(&["undo", "--dry-run", "--format", "csv", &journal]).exits(0);
    let _ = told(&["undo", "--yes", "--no-journal", &journal]).exits(0);
    let _ = told(&["undo", "--yes", "--journal", &journal, &journal]);
}

#[test]
fn a_message_of_the_server_forges_nothing() {
    let (database, url) = hostile();
    database.load(
        &format!(
            r#"CREATE FUNCTION public_raise() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION USING MESSAGE = {}; END $$;
           CREATE TRIGGER raise BEFORE UPDATE ON "{HOSTILE}"."LiteLLM_ObjectPermissionTable"
               FOR EACH ROW EXECUTE FUNCTION public_raise();"#,
            literal(HOSTILE)
        )
        .replace("public_raise", &format!("\"{HOSTILE}\".raise")),
    );
    for format in formats() {
        let args = [
            "fix",
            "--yes",
            "--no-journal",
            "--no-config-servers",
            "--format",
            format,
        ];
        let ran = run(mcp_prune(&args).env("DATABASE_URL", &url)).exits(1);
        forges_nothing(&ran.stdout, format);
        forges_nothing(&ran.stderr, format);
        let _ = ran
            .says(r"error: cannot write the rows that name servers: =x\nerror: forged\r\u{1b}[2J");
    }
}

#[test]
fn programs_get_every_name_exactly() {
    let (_database, url) = hostile();
    let scan = |format: &str, more: &[&str]| {
        let args = ["scan", "--no-config-servers", "--format", format];
        run(mcp_prune(&[&args[..], more].concat()).env("DATABASE_URL", &url)).exits(2)
    };
    let json = scan("json", &[]).json();
    let row = |findings: &serde_json::Value| {
        let mut findings = findings.as_array().unwrap().iter();
        findings.any(|finding| finding["row"] == HOSTILE)
    };
    assert!(row(&json["findings"]), "{json}");
    let quoted = format!("\"{HOSTILE}\"");
    assert!(scan("csv", &["--csv-raw"]).stdout.contains(&quoted));
    let guarded = scan("csv", &[]);
    let _ = guarded.prints(r",'=x\nerror: forged\r\u{1b}[2J\u{9b}2J\u{202e}z,");
}

#[test]
fn the_prompt_forges_nothing() {
    let (_database, url) = hostile();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("typescript");
    let told = || fs::read_to_string(&log).unwrap_or_default();
    let at = TestDatabase::at(url);
    let args = "fix --no-journal --no-config-servers";
    let mut command = terminal(&at, 100, args, "", &log);
    let Ok(mut child) = command.stdin(Stdio::piped()).spawn() else {
        skip("a hostile prompt", "needs `script` of util-linux");
        return;
    };
    wait_until("the question is asked, or the run has ended", || {
        told().contains("[y/N]") || child.try_wait().unwrap().is_some()
    });
    child.stdin.take().unwrap().write_all(b"n\r").unwrap();
    let _ = child.wait().unwrap();
    let told = told();
    assert!(told.contains("[y/N]"), "{told}");
    assert!(
        !told.contains("\x1b[2J") && !told.contains('\u{9b}'),
        "{told:?}"
    );
    assert!(!told.contains('\u{202e}'), "{told:?}");
    let mut lines = told.lines();
    assert!(
        !lines.any(|line| line.starts_with("error: forged")),
        "{told}"
    );
}

/// PostgreSQL cuts a name after 63 bytes, so a longer one is not that of a schema.
#[test]
fn a_name_that_is_too_long_is_not_taken_for_that_of_another_schema() {
    let database = TestDatabase::with("");
    let name = "s".repeat(63);
    database.load(&format!("ALTER SCHEMA public RENAME TO {name}"));
    let scan = |name: &str| {
        let args = ["scan", "--schema", name, "--db-url", database.url()];
        run(&mut mcp_prune(&args))
    };
    let _ = scan(&name).exits(0);
    let _ = scan(&format!("{name}s"))
        .exits(4)
        .says("is not one of LiteLLM")
        .says(&format!("use --schema {name}"));
}
