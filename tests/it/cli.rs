//! The binary with wrong words, with readers that go away, and with a person at a terminal.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use clap::{CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;
use mcp_prune::testing::Cli;

use crate::program::{Ran, formats, mcp_prune, repository, run, run_on, wait_until};
use crate::samples::{NOWHERE, case, demo};
use crate::server::{TestDatabase, concurrent_server, skip};

#[test]
fn help_names_every_command() {
    let ran = run(&mut mcp_prune(&["--help"])).exits(0);
    for command in Cli::command().get_subcommands() {
        let about = command.get_about().unwrap().to_string();
        let name = format!("\n  {} ", command.get_name());
        let (_, line) = ran.stdout.split_once(&name).unwrap();
        assert!(line.trim_start().starts_with(&about), "{about} in {ran}");
    }
}

#[test]
fn help_names_the_options_the_environment_and_the_exit_codes() {
    for (args, expected) in [
        (
            &["--help"][..],
            &["DATABASE_URL", "Examples:", "Exit codes"][..],
        ),
        (
            &["scan", "--help"],
            &[
                "Connection:",
                "Servers:",
                "Filters:",
                "Output:",
                "DATABASE_URL",
                "PGHOST",
                "Examples:",
            ],
        ),
        (
            &["fix", "--help"],
            &[
                "Repair:",
                "--dry-run",
                "--yes",
                "--on-empty",
                "held",
                "Examples:",
            ],
        ),
    ] {
        let ran = run(&mut mcp_prune(args)).exits(0);
        for text in expected {
            assert!(ran.stdout.contains(text), "{text} in {ran}");
        }
        assert_eq!(ran.stderr, "");
    }
}

/// `exit_code.rs` has the codes of each command; here they are where somebody looks for them.
#[test]
fn the_help_and_the_manual_page_of_every_command_list_its_exit_codes() {
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        let help = command.get_after_help().unwrap().to_string();
        let (_, codes) = help.split_once("Exit codes:\n").unwrap();
        let page = run(&mut mcp_prune(&["man", name])).exits(0).stdout;
        // As roff spells a hyphen and an apostrophe.
        let page = page.replace("\\*(Aq", "'").replace('\\', "");
        for option in ["-h", "--help"] {
            let shown = run(&mut mcp_prune(&[name, option])).exits(0).stdout;
            for line in codes.lines().filter(|line| !line.is_empty()) {
                assert!(shown.contains(line), "{name}: {line} in {shown}");
                assert!(page.contains(line.trim()), "{name}: {line} in {page}");
            }
        }
    }
}

#[test]
fn an_unknown_word_or_value_is_a_usage_error_that_names_it() {
    for (args, told) in [
        (&["--no-such-option"][..], &["'--no-such-option'"][..]),
        (&[], &["Usage: mcp-prune", "scan", "fix"]),
        (&["scna"], &["'scna'", "similar", "'scan'"]),
        (
            &["scan", "--format", "yaml"],
            &["'yaml'", "--format", "ndjson", "markdown"],
        ),
        (&["scan", "--yes"], &["'--yes'", "Usage: mcp-prune scan"]),
        (
            &["fix", "--yes", "--dry-run"],
            &["--dry-run does not go with --yes"],
        ),
        (
            &["fix", "--yes", "--lock-timeout", "0"],
            &[
                "'0'",
                "--lock-timeout",
                "must be a number of seconds from 0.01 to",
            ],
        ),
        (
            &["fix", "--yes", "--on-empty", "perhaps"],
            &["'perhaps'", "--on-empty", "hold", "deny", "clear"],
        ),
    ] {
        let ran = run(&mut mcp_prune(args)).exits(64);
        assert_eq!(ran.stdout, "", "{args:?}");
        for text in told {
            assert!(ran.stderr.contains(text), "{text} in {ran}");
        }
    }
}

#[test]
fn access_changes_only_with_the_option_that_accepts_it() {
    for (args, told) in [
        (&["--on-empty", "clear"][..], "add --accept-widening"),
        (&["--on-empty", "clear", "--accept-narrowing"], "deny"),
        (&["--on-empty", "deny", "--accept-widening"], "clear"),
        (&["--accept-widening"], "--on-empty clear"),
        (&["--accept-narrowing"], "--on-empty deny"),
    ] {
        let args = [&["fix", "--yes"], args].concat();
        run_on(NOWHERE, &args).exits(64).says(told);
    }
}

#[test]
fn fix_off_a_terminal_is_a_usage_error_before_anything_is_connected_to() {
    run_on(NOWHERE, &["fix"]).exits(64).says("say --yes");
}

#[test]
fn a_keep_file_that_is_not_there_is_named() {
    run_on(NOWHERE, &["scan", "--keep", "@no/such/file"])
        .exits(1)
        .says("cannot read --keep @no/such/file: No such file or directory");
}

#[test]
fn exit_zero_hides_findings_and_nothing_else() {
    let database = demo();
    run_on(database.url(), &["scan", "--exit-zero"]).exits(0);
    run_on(database.url(), &["fix", "--dry-run", "--exit-zero"]).exits(0);
    run_on(NOWHERE, &["scan", "--exit-zero"]).exits(7);
}

#[test]
fn json_is_one_object_as_the_readme_promises() {
    let database = demo();
    let scan = run_on(database.url(), &["scan", "--format", "json"])
        .exits(2)
        .json();
    assert_eq!(scan["version"], 1);
    assert_eq!(scan["command"], "scan");
    assert_eq!(scan["database"]["schema"], "public");
    assert_eq!(
        scan["servers"],
        serde_json::json!({"database": 3, "inactive": 1, "config": null})
    );
    assert_eq!(scan["litellm"]["schema_of"], "1.108.0");
    assert_eq!(
        scan["summary"],
        serde_json::json!({
            "rows": 6, "stale": 6, "unverified": 1, "inactive": 1, "malformed": 0,
            "dangling_toolsets": 0, "last_grant_rows": 1, "notes": 0
        })
    );
    assert_eq!(
        scan["findings"][3],
        serde_json::json!({
            "kind": "stale",
            "table": "LiteLLM_ObjectPermissionTable",
            "row": "3b9dd9b3-7b1d-4e3a-9c5f-0a2b4c6d8e03",
            "column": "mcp_servers",
            "reference": "d7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04",
            "last_grant": true, "held": "last-grant",
            "owners": [{
                "kind": "key", "id": "784395b4", "name": "release-bot",
                "if_emptied": {
                    "effect": "inherits-team",
                    "from": "platform",
                    "servers": [
                        "3f6d1b52-7c1e-4b0a-9d39-8c5f0f6a1e01",
                        "9b2e4c70-1a5d-4f3e-8a77-2d9c6b8e5f02"
                    ],
                    "server_names": {
                        "3f6d1b52-7c1e-4b0a-9d39-8c5f0f6a1e01": "github",
                        "9b2e4c70-1a5d-4f3e-8a77-2d9c6b8e5f02": "jira"
                    },
                    "incomplete": false,
                    "assuming": "general_settings.require_key_mcp_access_defined is off"
                }
            }]
        })
    );

    let dry = run_on(database.url(), &["fix", "--dry-run", "--format", "json"])
        .exits(2)
        .json();
    let fix = run_on(database.url(), &["fix", "--yes", "--format", "json"])
        .exits(3)
        .json();
    assert_eq!(dry["outcome"], "dry-run");
    assert_eq!(fix["outcome"], "applied");
    for same in ["changes", "held", "summary"] {
        assert_eq!(dry[same], fix[same], "the dry run is the real run");
    }
    assert_eq!(
        fix["changes"][1]["before"]["mcp_servers"],
        serde_json::json!([
            "3f6d1b52-7c1e-4b0a-9d39-8c5f0f6a1e01",
            "d7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04"
        ])
    );
    assert_eq!(
        fix["changes"][1]["after"]["mcp_servers"],
        serde_json::json!(["3f6d1b52-7c1e-4b0a-9d39-8c5f0f6a1e01"])
    );
    assert_eq!(fix["held"][0]["reason"], "last-grant");
    assert!(fix["journal"].is_string(), "{fix}");

    let again = run_on(database.url(), &["fix", "--yes", "--format", "json"])
        .exits(3)
        .json();
    assert_eq!(again["outcome"], "nothing-to-do");
    assert_eq!(again["changes"], serde_json::json!([]));
}

#[test]
fn no_secret_is_printed() {
    let database = case("last_grant");
    for format in formats() {
        let ran = run_on(database.url(), &["scan", "--format", format]).exits(2);
        for secret in ["hunter2", "sk-secret", "sk-deleted", "ann@example.com"] {
            assert!(!ran.to_string().contains(secret), "{secret} in {ran}");
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let database = TestDatabase::with(
        r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           SELECT 'p-' || n, ARRAY[md5(n::text)::uuid::text] FROM generate_series(1, 2000) AS n"#,
    );
    // What was found decides the exit code, as for a reader who stays.
    for format in ["table", "json", "ndjson", "csv", "markdown"] {
        let mut child = mcp_prune(&["scan", "--wide", "--limit", "0", "--format", format])
            .env("DATABASE_URL", database.url())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut first = [0; 64];
        stdout.read_exact(&mut first).unwrap();
        drop(stdout);
        let ran: Ran = child.wait_with_output().unwrap().into();
        let ran = ran.exits(2);
        assert!(!ran.stderr.contains("error"), "{format}: {ran}");
    }
}

/// Runs a command whose output nobody reads.
fn unread(database: &TestDatabase, args: &[&str]) -> Ran {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = mcp_prune(args);
    command.env("DATABASE_URL", database.url()).stdout(writer);
    run(&mut command)
}

#[test]
fn a_report_that_nobody_reads_hides_no_verdict() {
    let database = case("last_grant");
    let _ = unread(&database, &["scan"]).exits(2);
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved").display().to_string();
    let _ = run_on(database.url(), &["access", "--save", &saved]).exits(0);
    // The rest of the callers was not compared.
    let _ = unread(&database, &["access", "--since", &saved])
        .exits(1)
        .says("not every caller was compared")
        .says("--output");
    let _ = unread(&database, &["access"]).exits(0);
    let doctor = ["doctor", "--db-url", "postgresql://127.0.0.1:1/none"];
    let _ = unread(&database, &doctor).exits(7);
}

/// Runs `fix` on a terminal that `script` makes; once it asks, does `meanwhile` and types `keys`.
fn fix_on_a_terminal(
    database: &TestDatabase,
    keys: &[u8],
    meanwhile: impl FnOnce(),
) -> Option<(i32, String)> {
    if run(Command::new("sh").args(["-c", "command -v script"])).status != 0 {
        skip("the prompt", "needs `script` of util-linux");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("typescript");
    let mut child = Command::new("script")
        .args(["--quiet", "--flush", "--return", "--command"])
        .arg(concat!(env!("CARGO_BIN_EXE_mcp-prune"), " fix"))
        .arg(&log)
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("SHELL", "/bin/sh")
        .env("XDG_STATE_HOME", folder.path())
        .env("DATABASE_URL", database.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let asked = || std::fs::read_to_string(&log).is_ok_and(|told| told.contains("[y/N]"));
    wait_until("the question is asked", asked);
    meanwhile();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(keys).unwrap();
    let status = child.wait().unwrap().code().unwrap();
    Some((status, std::fs::read_to_string(&log).unwrap()))
}

#[test]
fn on_a_terminal_fix_shows_the_plan_and_asks() {
    let database = demo();
    let before = database.permission_rows();
    // No, Ctrl-C, and then yes.
    for (keys, status, told) in [
        (b"no\r".as_slice(), 2, "Declined: nothing was written."),
        (b"\r", 2, "Declined: nothing was written."),
        (b"\x03", 130, "ended by signal 2; nothing was written"),
    ] {
        let Some(ran) = fix_on_a_terminal(&database, keys, || ()) else {
            return;
        };
        assert_eq!(ran.0, status, "{keys:?}: {}", ran.1);
        assert!(ran.1.contains(told), "{keys:?}: {}", ran.1);
        assert!(
            ran.1.contains("d7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04"),
            "{}",
            ran.1
        );
        assert_eq!(database.permission_rows(), before, "{keys:?}");
    }
    let Some((status, told)) = fix_on_a_terminal(&database, b"y\r", || ()) else {
        return;
    };
    assert_eq!(status, 3, "{told}");
    assert!(told.contains("verified and committed"), "{told}");
    assert_ne!(database.permission_rows(), before);
}

#[test]
fn a_plan_that_moved_while_the_operator_thought_is_not_carried_out() {
    if concurrent_server("a plan that moved").is_none() {
        return;
    }
    let database = demo();
    let move_it = || {
        database.execute(
            r#"UPDATE "LiteLLM_ObjectPermissionTable"
               SET "mcp_servers" = "mcp_servers" || 'github'::text
               WHERE "object_permission_id" LIKE '2a7e%'"#,
        );
    };
    let Some((status, told)) = fix_on_a_terminal(&database, b"y\r", move_it) else {
        return;
    };
    assert_eq!(status, 5, "{told}");
    assert!(told.contains("is no longer as shown"), "{told}");
    run_on(database.url(), &["scan"]).exits(2);
    let stale = run_on(database.url(), &["scan", "--format", "json"]).json();
    assert_eq!(stale["summary"]["stale"], 6, "nothing was written");
}

#[test]
fn a_write_that_a_trigger_tampers_with_is_not_committed() {
    for (when, body) in [
        (
            "BEFORE",
            r#"NEW."mcp_tool_permissions" = OLD."mcp_tool_permissions""#,
        ),
        ("BEFORE", r#"NEW."mcp_servers" = '{}'"#),
        (
            "AFTER",
            r#"UPDATE public."LiteLLM_ObjectPermissionTable" SET "mcp_servers" = '{}'
               WHERE "object_permission_id" = NEW."object_permission_id" AND pg_trigger_depth() = 1"#,
        ),
    ] {
        let database = demo();
        let before = database.permission_rows();
        database.load(&format!(
            r#"CREATE FUNCTION tamper() RETURNS trigger LANGUAGE plpgsql AS $$
               BEGIN {body}; RETURN NEW; END $$;
               CREATE TRIGGER tamper {when} UPDATE ON "LiteLLM_ObjectPermissionTable"
                   FOR EACH ROW EXECUTE FUNCTION tamper();"#
        ));
        run_on(database.url(), &["fix", "--yes"])
            .exits(1)
            .says("error: after the write, row ")
            .says(" does not hold what it should in mcp_")
            .says("; nothing was committed")
            .says("hint: look for a trigger");
        assert_eq!(database.permission_rows(), before, "{when} {body}");
    }
}

#[test]
fn each_shell_gets_its_own_completions_of_every_command() {
    let definition = Cli::command();
    for shell in Shell::value_variants() {
        let registers = match shell {
            Shell::Bash => "complete -F _mcp",
            Shell::Elvish => "set edit:completion:arg-completer[mcp-prune]",
            Shell::Fish => "complete -c mcp-prune",
            Shell::PowerShell => "Register-ArgumentCompleter -Native -CommandName 'mcp-prune'",
            Shell::Zsh => "#compdef mcp-prune",
            other => panic!("say how {other} is told of a completion"),
        };
        let ran = run(&mut mcp_prune(&["completions", &shell.to_string()])).exits(0);
        let ran = ran.prints(registers);
        for command in definition.get_subcommands() {
            assert!(ran.stdout.contains(command.get_name()), "{shell}: {ran}");
        }
        assert_eq!(ran.stderr, "");
    }
}

#[test]
fn the_version_is_one_line_or_all_that_the_program_is_built_from() {
    let version = env!("CARGO_PKG_VERSION");
    let short = run(&mut mcp_prune(&["-V"])).exits(0).stdout;
    assert_eq!(short, format!("mcp-prune {version}\n"));
    let long = run(&mut mcp_prune(&["--version"])).exits(0).stdout;
    let lines: Vec<&str> = long.lines().collect();
    assert_eq!(lines[0], format!("mcp-prune {version}"));
    let fields: Vec<(&str, &str)> = lines[1..]
        .iter()
        .map(|line| line.split_once(": ").unwrap())
        .collect();
    let [
        ("commit", commit),
        ("target", target),
        ("features", features),
    ] = fields[..]
    else {
        panic!("{long}");
    };
    assert!(target.contains(std::env::consts::ARCH), "{target}");
    for (feature, is_on) in [
        ("embedded", cfg!(feature = "embedded")),
        ("redis", cfg!(feature = "redis")),
        (
            "none",
            cfg!(not(any(feature = "embedded", feature = "redis"))),
        ),
    ] {
        assert_eq!(
            features.split(',').any(|f| f == feature),
            is_on,
            "{features}"
        );
    }
    // Every command tells it, and no manual page, because a page is of every build of the version.
    let command = run(&mut mcp_prune(&["scan", "--version"])).exits(0).stdout;
    assert!(command.contains(&lines[1..].join("\n")), "{command}");
    let page = run(&mut mcp_prune(&["man"])).exits(0).stdout;
    assert!(!page.contains("commit:"), "{page}");

    // git need not be there, and need not trust this folder.
    let head = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(repository(""))
        .output();
    let head = head.ok().filter(|head| head.status.success());
    let is_checkout = repository(".git").exists();
    if let Some(head) = head.filter(|_| is_checkout) {
        assert_eq!(commit, String::from_utf8(head.stdout).unwrap().trim_end());
    } else {
        let is_id = commit.len() >= 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
        assert!(commit == "unknown" || is_id, "{commit}");
    }
}

#[test]
fn what_is_no_command_has_no_manual_page() {
    for word in ["scna", "help"] {
        run(&mut mcp_prune(&["man", word]))
            .exits(64)
            .says("there is no such command");
    }
}

/// Returns the manual pages that a page refers to.
fn pages_named_in(page: &str) -> BTreeSet<String> {
    let words = page.split_whitespace();
    let pages = words.filter_map(|word| word.strip_suffix("(1)"));
    pages.map(|name| name.replace('\\', "")).collect()
}

#[test]
fn every_manual_page_is_of_its_command_and_refers_to_pages_that_are_shipped() {
    let script = std::fs::read_to_string(repository("packaging/build-pages")).unwrap();
    let (_, list) = script.split_once("for command in ").unwrap();
    let (list, _) = list.split_once(';').unwrap();
    let commands: BTreeSet<&str> = list.split_whitespace().collect();
    let definition = Cli::command();
    let all: BTreeSet<&str> = definition
        .get_subcommands()
        .map(clap::Command::get_name)
        .collect();
    assert_eq!(commands, all, "build-pages makes a page of each command");

    let version = env!("CARGO_PKG_VERSION");
    let mut shipped = BTreeSet::from(["mcp-prune".to_owned()]);
    let mut pages = vec![(
        "mcp-prune".to_owned(),
        run(&mut mcp_prune(&["man"])).exits(0).stdout,
    )];
    for command in commands {
        let name = format!("mcp-prune-{command}");
        let page = run(&mut mcp_prune(&["man", command])).exits(0).stdout;
        shipped.insert(name.clone());
        pages.push((name, page));
    }
    for (name, page) in pages {
        let title = page.lines().find(|line| line.starts_with(".TH ")).unwrap();
        let wanted = format!(".TH {name} 1  \"mcp-prune {version}\"");
        assert_eq!(title.trim_end(), wanted);
        let named = pages_named_in(&page);
        assert!(named.is_subset(&shipped), "{name}: {named:?}");
    }
}

#[test]
fn a_release_says_which_tools_are_missing_before_it_builds() {
    let folder = tempfile::tempdir().unwrap();
    // Next to nothing on the path: the shell, and what it needs to find its way.
    for tool in ["bash", "dirname", "uname"] {
        let found = ["/usr/bin", "/bin"].map(|bin| std::path::Path::new(bin).join(tool));
        let found = found.into_iter().find(|path| path.exists()).unwrap();
        std::os::unix::fs::symlink(found, folder.path().join(tool)).unwrap();
    }
    let mut script = Command::new("/bin/bash");
    script
        .arg(repository("packaging/build-release"))
        .args(["x86_64-unknown-linux-musl", "nowhere"]);
    let ran = run(script.env_clear().env("PATH", folder.path())).exits(1);
    for tool in ["cargo: ", "cargo-auditable: ", "musl-gcc: ", "dpkg-deb: "] {
        assert!(
            ran.stderr
                .contains(&format!("build-release: missing {tool}")),
            "{ran}"
        );
    }
    assert_eq!(ran.stdout, "", "nothing is built: {ran}");
}
