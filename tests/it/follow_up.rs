//! The commands that reports suggest next: pasted into a shell, they do what the report promises.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::{Ran, mcp_prune, repository, run, wait_until};
use crate::samples::{case, demo};
use crate::server::{TestDatabase, concurrent_server, skip};
use crate::terminal::{on_a_terminal, shown};

const NEXT: &str = "Next:";
const CARRY_OUT: &str = "To carry it out:";
const TAKE_BACK: &str = "To take it back:";

/// Makes a database with three stale references in two rows, of which none is held.
fn small() -> TestDatabase {
    case("beside_live")
}

/// Returns the command on the line below `lead`.
#[track_caller]
fn command<'a>(text: &'a str, lead: &str) -> &'a str {
    let mut lines = text.lines();
    let found = lines.any(|line| line.ends_with(lead));
    assert!(found, "{lead:?} is not in {text}");
    let line = lines.next().unwrap();
    // Of a terminal the lines come trimmed.
    let command = Some(line.trim_start()).filter(|line| line.starts_with("mcp-prune "));
    command.unwrap_or_else(|| panic!("no command below {lead:?}: {line:?}"))
}

/// A place to work at: the folder that commands run in, and their environment.
struct Desk {
    folder: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Desk {
    fn new(environment: &[(&'static str, &str)]) -> Self {
        let environment = environment.iter();
        Self {
            folder: tempfile::tempdir().unwrap(),
            environment: environment.map(|(n, v)| (*n, (*v).to_owned())).collect(),
        }
    }

    fn prepared(&self, mut command: Command) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_mcp-prune"));
        let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
        command
            .env_clear()
            .env("PATH", path)
            .env("LC_ALL", "C.UTF-8")
            .env("SHELL", "/bin/sh")
            .env("TERM", "dumb")
            .env("XDG_STATE_HOME", self.folder.path().join("state"))
            .envs(self.environment.iter().map(|(n, v)| (*n, v.as_str())))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs the program with these arguments.
    fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-prune"));
        command.args(args);
        run(&mut self.prepared(command))
    }

    /// Pastes a command into a shell.
    fn paste(&self, pasted: &str) -> Ran {
        let mut command = Command::new("sh");
        command.args(["-c", pasted]);
        run(&mut self.prepared(command))
    }

    /// Pastes a command into a shell on a terminal, and answers its question. Returns its exit code
    /// and what was shown; `None` if the test is skipped.
    fn paste_and_answer(&self, pasted: &str, answer: &str) -> Option<(i32, String)> {
        let log = self.folder.path().join("typescript");
        let _ = fs::remove_file(&log);
        let mut command = Command::new("script");
        let script = format!("stty cols 250 rows 50; {pasted}");
        command
            .args(["--quiet", "--flush", "--return", "--command", &script])
            .arg(&log);
        let mut command = self.prepared(command);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let Ok(mut child) = command.spawn() else {
            skip("an answered question", "needs `script` of util-linux");
            return None;
        };
        let told = || String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        wait_until("the question is asked, or the run has ended", || {
            told().contains("[y/N]") || child.try_wait().unwrap().is_some()
        });
        // It may have ended without a question; then its exit code says why.
        let _ = child
            .stdin
            .take()
            .unwrap()
            .write_all(format!("{answer}\r").as_bytes());
        let status = child.wait().unwrap();
        Some((status.code().unwrap(), shown(&told()).join("\n")))
    }

    /// Returns the number of stale references that a scan finds with these arguments.
    fn stale(&self, args: &[&str]) -> u64 {
        let ran = self.run(&[&["scan", "--format", "json"], args].concat());
        ran.json()["summary"]["stale"].as_u64().unwrap()
    }
}

/// Follows the printed commands from a scan on: dry run, repair, undo, undo of the undo.
fn lives_by_what_is_printed(desk: &Desk, args: &[&str]) {
    let scanned = desk.run(&[&["scan"], args].concat()).exits(2);
    let dry_run = desk.paste(command(&scanned.stdout, NEXT)).exits(2);
    let dry_run = dry_run.prints("It would remove 3 stale references from 2 rows.");
    assert_eq!(desk.stale(args), 3);
    let fix = command(&dry_run.stdout, CARRY_OUT);
    let Some((code, told)) = desk.paste_and_answer(fix, "y") else {
        return;
    };
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("Done: remove 3 stale references"), "{told}");
    assert_eq!(desk.stale(args), 0);
    let undo = command(&told, TAKE_BACK);
    let (code, told) = desk.paste_and_answer(undo, "y").unwrap();
    assert_eq!(code, 0, "{told}");
    assert_eq!(desk.stale(args), 3);
    let again = command(&told, "To take that back:");
    let (code, told) = desk.paste_and_answer(again, "y").unwrap();
    assert_eq!(code, 0, "{told}");
    assert_eq!(desk.stale(args), 0);
}

#[test]
fn it_works_on_the_database_that_a_variable_names() {
    let database = small();
    let desk = Desk::new(&[("DATABASE_URL", database.url())]);
    lives_by_what_is_printed(&desk, &[]);
    let (_, address) = database.url().split_once('@').unwrap();
    let (host, name) = address.split_once('/').unwrap();
    let Some((host, port)) = host
        .split_once(':')
        .filter(|(host, _)| *host == "127.0.0.1")
    else {
        return;
    };
    let database = small();
    assert_ne!(name, database.name());
    let desk = Desk::new(&[
        ("PGHOST", host),
        ("PGPORT", port),
        ("PGUSER", "postgres"),
        ("PGDATABASE", database.name()),
    ]);
    lives_by_what_is_printed(&desk, &[]);
}

#[test]
fn it_works_on_the_database_that_an_option_names() {
    // Another database is what the environment names.
    let other = demo();
    let elsewhere = [("DATABASE_URL", other.url())];
    let before = other.permission_rows();

    let database = small();
    let desk = Desk::new(&elsewhere);
    fs::write(desk.folder.path().join("it's the url"), database.url()).unwrap();
    lives_by_what_is_printed(&desk, &["--db-url-file", "it's the url"]);

    let database = small();
    let url = format!("{}?sslmode=prefer&connect_timeout=9", database.url());
    lives_by_what_is_printed(&Desk::new(&elsewhere), &["--db-url", &url]);

    let database = small();
    database.execute(r#"ALTER SCHEMA "public" RENAME TO "My 'own' Schema""#);
    let named = ["--schema", "My 'own' Schema"];
    lives_by_what_is_printed(
        &Desk::new(&elsewhere),
        &[&["--db-url", database.url()], &named[..]].concat(),
    );
    assert_eq!(other.permission_rows(), before);
}

#[test]
fn a_schema_that_is_found_elsewhere_is_quoted() {
    let database = small();
    database.execute(r#"ALTER SCHEMA "public" RENAME TO "My Schema""#);
    database.execute(r#"CREATE SCHEMA "public""#);
    let ran = Desk::new(&[("DATABASE_URL", database.url())]).run(&["scan"]);
    let _ = ran.exits(4).says("use --schema 'My Schema'");
}

#[test]
fn a_password_is_left_out_and_the_rest_works_once_it_is_given() {
    let database = small();
    // Any password does where the server asks for none.
    let url = database.url().replace("postgres@", "postgres:s3cret@");
    let desk = Desk::new(&[]);
    let args = ["--db-url", &url];
    for format in ["table", "markdown"] {
        let args = [&["scan"], &args[..], &["--format", format]].concat();
        let ran = desk.run(&args).exits(2);
        assert!(!ran.to_string().contains("s3cret"), "{ran}");
        let _ = ran.prints("The password of --db-url is left out: give it with PGPASSWORD");
    }
    let desk = Desk::new(&[("PGPASSWORD", "s3cret")]);
    lives_by_what_is_printed(&desk, &args);
}

#[test]
fn a_saved_plan_is_carried_out_by_what_is_printed() {
    let database = demo();
    let desk = Desk::new(&[]);
    fs::write(desk.folder.path().join("url"), database.url()).unwrap();
    let dry_run = [
        "fix",
        "--dry-run",
        "--db-url-file=url",
        "--no-config-servers",
        "--on-empty=deny",
        "--max-rows=50",
        "--plan-out=the plan",
    ];
    let ran = desk.run(&dry_run).exits(2);
    let ran = ran.prints("The plan is in the plan. To carry it out:");
    let fix = command(&ran.stdout, CARRY_OUT);
    assert_eq!(
        fix,
        "mcp-prune fix --plan 'the plan' --db-url-file url --no-config-servers --max-rows 50"
    );
    let before = database.permission_rows();
    let Some((code, told)) = desk.paste_and_answer(fix, "y") else {
        return;
    };
    assert!([0, 3].contains(&code), "{told}");
    assert_ne!(database.permission_rows(), before);
    // Where a prompt was answered there is no dry run to carry out.
    assert!(!told.contains("dry run"), "{told}");
    let undo = command(&told, TAKE_BACK);
    let (code, told) = desk.paste_and_answer(undo, "y").unwrap();
    assert_eq!((code, database.permission_rows()), (0, before), "{told}");
}

#[test]
fn a_dry_run_is_carried_out_with_all_that_decides_what_is_repaired() {
    let database = demo();
    let desk = Desk::new(&[("DATABASE_URL", database.url())]);
    let new = database.texts(r#"SELECT "server_id" FROM "LiteLLM_MCPServerTable" LIMIT 1"#);
    let old = "a15e9c3d-84f2-4d7b-92c6-5e0b8f3a7d05";
    let remap = format!("--remap={old}={}", new[0]);
    fs::write(desk.folder.path().join("live ones"), "legacy\n").unwrap();
    fs::create_dir(desk.folder.path().join("its journals")).unwrap();
    for options in [
        &[
            "--on-empty=deny",
            "--no-config-servers",
            "--journal=its journals",
        ][..],
        &[
            "--on-empty=clear",
            "--accept-widening",
            "--sites=permissions",
        ],
        &["--reference", old, "--keep=@live ones", "--keep=-x"],
        &[
            remap.as_str(),
            "--lock-timeout=0.5",
            "--statement-timeout=30",
        ],
        &[
            "--owner=key:release-bot",
            "--max-percent=100",
            "--on-empty=clear",
            "--accept-widening",
        ],
    ] {
        let dry_run = [&["fix", "--dry-run"], options].concat();
        let shown = desk.run(&dry_run).exits(2);
        let json = [&dry_run[..], &["--format=json"]].concat();
        let changes = desk.run(&json).json()["changes"].clone();
        assert_ne!(changes.as_array().unwrap().len(), 0, "{shown}");
        let fix = command(&shown.stdout, CARRY_OUT);
        // Without a terminal the operator says --yes, which no command does by itself.
        let _ = desk.paste(fix).exits(64).says("say --yes to write");
        let before = database.permission_rows();
        let fixed = desk.paste(&format!("{fix} --yes --format json"));
        assert!([0, 3].contains(&fixed.status), "{fixed}");
        assert_eq!(fixed.json()["changes"], changes);
        let journal = fixed.json()["journal"].as_str().unwrap().to_owned();
        // The undo of a dry run, too, is carried out by what it prints.
        let dry = desk.run(&["undo", "--dry-run", &journal]).exits(0);
        let undo = command(&dry.stdout, CARRY_OUT);
        let undone = desk.paste(&format!("{undo} --yes")).exits(0);
        assert_eq!(database.permission_rows(), before, "{undone}");
    }
    assert_eq!(journals(&desk.folder.path().join("its journals")), 1);
}

fn journals(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn an_undo_keeps_its_journal_beside_the_one_it_undoes() {
    let database = small();
    let desk = Desk::new(&[("DATABASE_URL", database.url())]);
    fs::create_dir(desk.folder.path().join("kept")).unwrap();
    let fix = ["fix", "--yes", "--journal", "kept/-journal"];
    let ran = desk.run(&fix).exits(0);
    let undo = command(&ran.stdout, TAKE_BACK);
    assert_eq!(undo, "mcp-prune undo kept/-journal --journal kept");
    let _ = desk.paste(&format!("{undo} --yes")).exits(0);
    assert_eq!(journals(&desk.folder.path().join("kept")), 2);
}

#[test]
fn what_stands_in_the_way_of_an_undo_comes_alone_with_the_way_round_it() {
    let database = demo();
    let desk = Desk::new(&[("DATABASE_URL", database.url())]);
    let fix = ["fix", "--yes", "--journal", "j"];
    let _ = desk.run(&fix).exits(3);
    let row = database.texts(
        r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = ARRAY['github']
           WHERE "object_permission_id" LIKE '2a7e%' RETURNING "object_permission_id""#,
    );
    let ran = desk.run(&["undo", "--yes", "j"]).exits(5);
    let first = ran.stdout.lines().next().unwrap();
    assert_eq!(first, "1 column is no longer as the journal has it.");
    assert!(ran.stdout.contains(&row[0]), "{ran}");
    assert!(!ran.stdout.contains("SERVERS"), "{ran}");
    let undo = command(&ran.stdout, "put back the others:");
    assert_eq!(undo, "mcp-prune undo j --skip-changed");
    let Some((code, told)) = desk.paste_and_answer(undo, "y") else {
        return;
    };
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("Put back 3 rows"), "{told}");
    let conflict = told.find("expected  ").unwrap();
    assert!(conflict < told.find("SERVERS").unwrap(), "{told}");
}

#[test]
fn a_question_names_the_database_and_is_no_dry_run() {
    let database = small();
    let desk = Desk::new(&[("DATABASE_URL", database.url())]);
    let before = database.permission_rows();
    let asked = |what: &str| {
        let name = database.name();
        format!("{what} 2 rows of database \"{name}\" at ")
    };
    let Some((code, told)) = desk.paste_and_answer("mcp-prune fix", "n") else {
        return;
    };
    assert_eq!((code, database.permission_rows()), (2, before), "{told}");
    assert!(told.contains(&asked("Repair")), "{told}");
    assert!(
        told.contains("It would remove 3 stale references"),
        "{told}"
    );
    assert!(!told.contains("dry run"), "{told}");
    assert!(told.contains("Declined: nothing was written."), "{told}");

    let (code, _) = desk
        .paste_and_answer("mcp-prune fix --journal j", "y")
        .unwrap();
    assert_eq!(code, 0);
    let repaired = database.permission_rows();
    let (code, told) = desk.paste_and_answer("mcp-prune undo j", "n").unwrap();
    assert_eq!((code, database.permission_rows()), (0, repaired), "{told}");
    assert!(told.contains(&asked("Put back")), "{told}");
    assert!(told.contains("It would put back 2 rows."), "{told}");
    assert!(!told.contains("dry run"), "{told}");
    assert!(told.contains("Declined: nothing was written."), "{told}");

    let (code, _) = desk.paste_and_answer("mcp-prune undo j", "y").unwrap();
    assert_eq!(code, 0);
    // Then there is nothing to ask.
    let (code, told) = desk.paste_and_answer("mcp-prune undo j", "y").unwrap();
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("There is nothing to put back."), "{told}");
}

#[test]
fn old_ids_of_config_servers_are_remapped_by_what_is_printed() {
    let fixtures = repository("fixtures/config");
    let database = small();
    let desk = Desk::new(&[("DATABASE_URL", database.url())]);
    for (name, copy) in [
        ("proxy.yaml", "proxy's config.yaml"),
        ("servers.yaml", "servers.yaml"),
    ] {
        fs::copy(fixtures.join(name), desk.folder.path().join(copy)).unwrap();
    }
    let ids = desk.run(&[
        "ids",
        "--format=json",
        "--litellm-config",
        "proxy's config.yaml",
    ]);
    let ids = ids.exits(0).json();
    let servers = ids["servers"].as_array().unwrap();
    let server = servers
        .iter()
        .find(|s| s["ids"].as_array().unwrap().len() == 1 && s["former_ids"][0].is_string())
        .unwrap();
    let (now, old) = (&server["ids"][0], server["former_ids"][0].as_str().unwrap());
    database.execute(&format!(
        r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           VALUES ('old', ARRAY['{old}', 'x'])"#
    ));
    let scanned = desk
        .run(&["scan", "--litellm-config", "proxy's config.yaml"])
        .exits(2);
    let remap = command(&scanned.stdout, "remap them:");
    let dry_run = desk.paste(&format!("{remap} --format json")).exits(2);
    let changes = dry_run.json()["changes"].clone();
    let mut all = changes.as_array().unwrap().iter();
    let change = all.find(|change| change["row"] == "old");
    let after = change.unwrap()["after"]["mcp_servers"].clone();
    assert!(after.as_array().unwrap().contains(now), "{dry_run}");
}

#[test]
fn beside_an_empty_server_table_what_is_printed_works() {
    let database = demo();
    database.execute(r#"DELETE FROM "LiteLLM_MCPServerTable""#);
    let desk = Desk::new(&[("DATABASE_URL", database.url())]);
    let ran = desk.run(&["scan"]).exits(2);
    let next = command(&ran.stdout, "was deleted, next:");
    let dry_run = desk.paste(next).exits(2);
    let fix = command(&dry_run.stdout, CARRY_OUT);
    let fixed = desk.paste(&format!("{fix} --yes --no-journal"));
    assert!([0, 3].contains(&fixed.status), "{fixed}");
}

/// Returns the commands in code fences: that of the run itself, then the next ones.
fn fenced(ticket: &str) -> Vec<String> {
    let fences = ticket.split("```sh\n").skip(1);
    let commands: Vec<String> = fences
        .map(|fence| fence.split_once("\n```").unwrap().0.to_owned())
        .collect();
    assert!(commands.iter().all(|c| !c.contains('\n')), "{ticket}");
    commands
}

#[test]
fn the_commands_of_a_ticket_run_as_pasted() {
    let database = small();
    let desk = Desk::new(&[]);
    let url = format!("{}?sslmode=prefer", database.url());
    let options = ["--db-url", &url, "--no-config-servers", "--format=markdown"];
    let scanned = desk.run(&[&["scan"], &options[..]].concat()).exits(2);
    let commands = fenced(&scanned.stdout);
    let again = desk.paste(&commands[0]).exits(2);
    assert_eq!(fenced(&again.stdout), commands);
    let dry_run = desk.paste(&format!("{} --format=markdown", commands[1]));
    let commands = fenced(&dry_run.exits(2).stdout);
    let [_, fix, verify, back_out] = &commands[..] else {
        panic!("{commands:#?}");
    };
    let fix = format!("{fix} --yes --format=markdown");
    let fixed = desk.paste(&fix).exits(0).prints(TAKE_BACK);
    let _ = desk.paste(verify).exits(0);
    assert_eq!(desk.stale(&options[..2]), 0);
    let _ = desk.paste(&format!("{back_out} --yes")).exits(0);
    assert_eq!(desk.stale(&options[..2]), 3);
    // The ticket of the repair itself has the same two, with a folder for the undo's own journal.
    let [_, again, take_back] = &fenced(&fixed.stdout)[..] else {
        panic!("{fixed}");
    };
    assert_eq!(again, verify);
    assert_eq!(take_back, &format!("{back_out} --journal ."));
}

#[test]
fn a_command_is_one_line_however_narrow_the_terminal() {
    let database = small();
    let keep = "a reference that is longer than the terminal is wide, and it's quoted";
    let args = format!("scan --keep \"{keep}\"");
    let Some(told) = on_a_terminal(&database, 40, &args, "") else {
        return;
    };
    let told = shown(&told).join("\n");
    let next = command(&format!("{told}\n"), NEXT).to_owned();
    assert!(next.ends_with("and it'\\''s quoted'"), "{told}");
}

#[test]
fn doctor_prints_the_command_that_prints_the_grants() {
    let database = small();
    let role = format!("{} \"it's\" me", database.name());
    let identifier = role.replace('"', "\"\"");
    database.execute(&format!(
        r#"CREATE ROLE "{identifier}" LOGIN PASSWORD 's3cret'"#
    ));
    database.execute(&format!(
        r#"GRANT SELECT ON ALL TABLES IN SCHEMA "public" TO "{identifier}""#
    ));
    let encoded = role.replace(' ', "%20").replace('"', "%22");
    let url = database.url().replace("postgres@", &format!("{encoded}@"));
    let desk = Desk::new(&[("PGPASSWORD", "s3cret")]);
    let ran = desk.run(&["doctor", "--no-config-servers", "--db-url", &url]);
    let grants = command(&ran.exits(0).stdout, "run what this prints:").to_owned();
    let printed = desk.paste(&grants).exits(0);
    database.load(&printed.stdout);
    let ran = desk.run(&["fix", "--yes", "--no-journal", "--db-url", &url]);
    let _ = ran.exits(0);
    database.execute(&format!(r#"DROP OWNED BY "{identifier}""#));
    database.execute(&format!(r#"DROP ROLE "{identifier}""#));
}

#[test]
fn redis_is_advised_only_by_a_build_that_has_it_and_where_it_was_not_given() {
    let database = small();
    let desk = Desk::new(&[("DATABASE_URL", database.url())]);
    let fix = ["fix", "--yes", "--journal=j"];
    let advises = desk.run(&fix).exits(0).stdout.contains("--notify-redis");
    assert_eq!(advises, cfg!(feature = "redis"));
    if cfg!(feature = "redis") {
        // Nobody is there, which is a warning.
        let url = "redis://127.0.0.1:1/1";
        let undo = ["undo", "--yes", "j", "--notify-redis", url];
        let ran = desk.run(&undo).exits(0);
        assert!(!ran.stdout.contains("say --notify-redis"), "{ran}");
        let again = command(&ran.stdout, "To take that back:");
        assert!(again.ends_with(&format!(" --notify-redis {url}")), "{ran}");
    }
}

#[test]
fn warnings_about_the_database_are_printed_once() {
    let database = small();
    let desk = Desk::new(&[("DATABASE_URL", database.url())]);
    let other = desk.folder.path().join("j");
    let _ = desk.run(&["fix", "--yes", "--journal=j"]).exits(0);
    let text = fs::read_to_string(&other).unwrap();
    assert!(text.contains(database.name()));
    database.execute(
        r#"CREATE TABLE "Odd" ("id" text, "object_permission_id" text
           REFERENCES "LiteLLM_ObjectPermissionTable" ("object_permission_id"))"#,
    );
    let _ = desk.run(&["undo", "--yes", "j"]).exits(0);
    let Some((code, told)) = desk.paste_and_answer("mcp-prune fix --no-journal", "y") else {
        return;
    };
    assert_eq!(code, 0, "{told}");
    assert_eq!(
        told.matches("table Odd links to permission rows").count(),
        1,
        "{told}"
    );
}

/// Makes a database with so many rows to repair that no pipe holds the report.
fn large() -> TestDatabase {
    TestDatabase::with(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('live');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               SELECT 'p-' || n, ARRAY['live', 'c1e2a7d4-93b6-4d0e-b8a5-6a2f9e4d7c33']
               FROM generate_series(1, 3000) AS n"#,
    )
}

/// Returns whether the rows of [`large`] are repaired.
fn is_repaired(database: &TestDatabase) -> bool {
    let stale = r#"SELECT 'stale' FROM "LiteLLM_ObjectPermissionTable"
                   WHERE "mcp_servers" && ARRAY['c1e2a7d4-93b6-4d0e-b8a5-6a2f9e4d7c33']"#;
    database.texts(stale).is_empty()
}

/// Checks that stderr says that `what` was committed, and returns the command that takes it back.
#[track_caller]
fn told_of_commit(stderr: &str, what: &str) -> String {
    assert!(
        stderr.contains(&format!("{what} was committed, but")),
        "{stderr}"
    );
    assert!(!stderr.contains("nothing was written"), "{stderr}");
    command(stderr, TAKE_BACK).to_owned()
}

#[test]
fn a_report_that_nobody_gets_does_not_hide_the_commit() {
    let database = large();
    let desk = Desk::new(&[("DATABASE_URL", database.url())]);
    let mut run = "mcp-prune fix".to_owned();
    // In turns a repair and the undo of what was done before.
    for (sink, code) in [
        (">/dev/full", 1),
        (">/dev/full", 1),
        ("--format ndjson >/dev/full", 1),
        ("--format json >/dev/full", 1),
        ("| :", 0),
        ("| :", 0),
        ("-q >/dev/full", 1),
        ("-q >/dev/full", 1),
    ] {
        let was_repaired = is_repaired(&database);
        let what = if run.contains(" fix") {
            "the repair"
        } else {
            "the undo"
        };
        let done = if sink.starts_with('|') {
            // The shell tells the exit code of the last command only.
            desk.paste(&format!("{{ {run} --yes; echo \"exit $?\" >&2; }} {sink}"))
                .exits(0)
                .says(&format!("exit {code}\n"))
        } else {
            desk.paste(&format!("{run} --yes {sink}")).exits(code)
        };
        assert_ne!(is_repaired(&database), was_repaired, "{done}");
        run = told_of_commit(&done.stderr, what);
        if sink.starts_with("-q") {
            assert!(
                done.stderr.contains("was committed, but it failed (run "),
                "{done}"
            );
        }
    }
}

#[test]
fn a_signal_while_the_report_is_printed_does_not_say_that_nothing_was_written() {
    // The rows are read while the program still holds its connection.
    if concurrent_server("a signal while a report is printed").is_none() {
        return;
    }
    let database = large();
    let desk = Desk::new(&[("DATABASE_URL", database.url())]);
    let mut run = "mcp-prune fix".to_owned();
    for (what, repaired) in [("the repair", true), ("the undo", false)] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {run} --yes --wide --limit 0")]);
        let mut command = desk.prepared(command);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        wait_until(what, || is_repaired(&database) == repaired);
        // Nobody reads the pipe, so that it is still printing whenever the signal comes.
        let killed = Command::new("kill")
            .args(["-s", "TERM", &child.id().to_string()])
            .status();
        assert!(killed.unwrap().success());
        let mut stderr = String::new();
        let pipe = child.stderr.take().unwrap();
        let _ = std::io::Read::read_to_string(&mut { pipe }, &mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(143), "{stderr}");
        assert!(
            stderr.contains("ended by signal 15 while the report was printed"),
            "{stderr}"
        );
        run = told_of_commit(&stderr, what);
    }
}

#[test]
fn where_nothing_was_committed_a_report_that_nobody_gets_says_so() {
    let database = small();
    let desk = Desk::new(&[("DATABASE_URL", database.url())]);
    let _ = desk
        .paste("mcp-prune fix --dry-run >/dev/full")
        .exits(1)
        .says("error: nothing was written, and: cannot write the report");
    let mut command = mcp_prune(&["fix", "--yes", "--no-journal", "--output", "/dev/full"]);
    let _ = run(command.env("DATABASE_URL", database.url())).exits(1);
    assert_eq!(desk.stale(&[]), 3);
}
