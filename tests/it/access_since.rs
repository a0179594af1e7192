//! `access --save` and `access --since`: what is compared, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mcp_prune::testing::hash;
use serde_json::{Value, json};

use crate::access::{access, company};
use crate::program::{formats, run_on};
use crate::schemas::Format;
use crate::server::TestDatabase;

/// A folder for saved files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Saves the access of `database` with these options.
    fn save(&self, database: &TestDatabase, args: &[&str]) -> String {
        let file = self.file(&format!("{}.ndjson", fastrand_name()));
        let ran = access(database, &[args, &["--save", &file]].concat()).exits(0);
        assert_eq!(ran.stdout, "", "{ran}");
        file
    }
}

/// Returns a name that no other call returns.
fn fastrand_name() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Takes jira from the team, gives `other` a tool of github, adds a key and deletes one.
fn change(database: &TestDatabase) {
    let (other, new) = (hash("sk-other"), hash("sk-new"));
    database.execute(&format!(
        r#"INSERT INTO "LiteLLM_ObjectPermissionTable"
               ("object_permission_id", "mcp_servers", "mcp_tool_permissions") VALUES
               ('p-other', ARRAY['github'], '{{"id-1": ["read"]}}');
           UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_tool_permissions" = '{{"id-1": ["read"]}}'
           WHERE "object_permission_id" = 'p-ci';
           UPDATE "LiteLLM_VerificationToken" SET "object_permission_id" = 'p-other'
           WHERE "token" = '{other}';
           INSERT INTO "LiteLLM_VerificationToken" ("token", "key_alias", "team_id")
               VALUES ('{new}', 'new', 't-1');
           DELETE FROM "LiteLLM_UserTable" WHERE "user_id" = 'u-1';"#
    ));
}

fn changes(document: &Value) -> Vec<Value> {
    document["changes"].as_array().unwrap().clone()
}

#[test]
fn nothing_changed_is_said_and_exits_with_0() {
    let (database, folder) = (company(), Folder::new());
    for args in [
        &[][..],
        &["--every-caller"],
        &["key:ci", "team:platform"],
        &["end_user:e-1"],
        &["organization:acme"],
        &["agent:helper"],
        &["--as", "end_user:e-1"],
        &["--toolset", "set"],
    ] {
        let file = folder.save(&database, args);
        let args = [args, &["--since", &file]].concat();
        let ran = access(&database, &args).exits(0);
        let _ = ran.prints("Nobody gained or lost").prints("0 are new");
        for format in Format::BOTH {
            let args = [&["access", "--no-config-servers"], args.as_slice()].concat();
            let (ran, documents) = format.run(database.url(), &args);
            let _ = ran.exits(0);
            assert!(!documents.is_empty());
        }
    }
}

#[test]
fn who_gained_and_who_lost_is_told_by_server_and_tool() {
    let (database, folder) = (company(), Folder::new());
    let file = folder.save(&database, &[]);
    change(&database);
    let args = ["access", "--no-config-servers", "--since", &file];
    let (ran, documents) = Format::Json.run(database.url(), &args);
    let _ = ran.exits(2);
    let found = changes(&documents[0]);
    let of = |name: &str| {
        let mut found = found.iter();
        found.find(|change| change["key"]["name"] == name).unwrap()
    };
    let server =
        |id: &str, name: &str, tools: Value| json!([{"id": id, "name": name, "tools": tools}]);
    assert_eq!(of("ci")["change"], "changed");
    assert_eq!(
        of("ci")["lost"],
        server("id-1", "github", json!(["search"]))
    );
    assert_eq!(of("ci")["gained"], json!([]));
    let lost = json!([
        {"id": "id-1", "name": "github", "tools": null, "except": ["read"]},
        {"id": "id-2", "name": "jira", "tools": null},
    ]);
    assert_eq!(of("other")["lost"], lost);
    assert_eq!(of("new")["change"], "new");
    assert_eq!(of("new")["gained"].as_array().unwrap().len(), 2);
    assert_eq!(of("new")["complete"], json!({"then": null, "now": false}));
    let gone = found.iter().find(|change| change["change"] == "gone");
    assert_eq!(gone.unwrap()["user"], "u-1");
    let summary = &documents[0]["summary"];
    let expected = json!({"callers": 5, "callers_then": 5, "unchanged": 2, "gained": 1, "lost": 2,
                          "new": 1, "gone": 1, "incomplete": 3});
    assert_eq!(*summary, expected);
    assert_eq!(documents[0]["since"]["file"], file.as_str());

    let (ran, lines) = Format::Ndjson.run(database.url(), &args);
    let _ = ran.exits(2);
    let kinds: Vec<&str> = lines
        .iter()
        .map(|line| line["type"].as_str().unwrap())
        .collect();
    let change = "access-change";
    assert_eq!(kinds, ["header", change, change, change, change, "summary"]);
    for format in formats() {
        let ran = access(&database, &["--since", &file, "--format", format]).exits(2);
        let _ = ran
            .prints("github")
            .prints("new")
            .prints("gone")
            .prints("u-1");
    }
    let csv = access(&database, &["--since", &file, "--format", "csv"]).exits(2);
    let line = format!(
        "key,{},other,t-1,o-1,,a-1,,,changed,lost,id-1,github,*,read",
        &hash("sk-other")[..8]
    );
    assert!(csv.stdout.lines().any(|found| found == line), "{csv}");
    let table = access(&database, &["--since", &file]).exits(2);
    let _ = table
        .prints("github (all tools but read)")
        .prints("5 callers then, 5 now. Of these, 1 gained, 2 lost, 1 are new");
    // A table keeps no more rows than it shows.
    let table = access(&database, &["--since", &file, "--limit", "1"]).exits(2);
    let _ = table.prints("1 of 4 rows are shown");
}

#[test]
fn a_file_may_be_saved_while_another_is_compared_with() {
    let (database, folder) = (company(), Folder::new());
    let first = folder.save(&database, &[]);
    change(&database);
    let second = folder.file("second");
    let _ = access(&database, &["--since", &first, "--save", &second]).exits(2);
    let ran = access(&database, &["--since", &second]).exits(0);
    let _ = ran.prints("Nobody gained or lost");
}

#[test]
fn the_upgrade_is_asked_for_with_the_release_and_is_said() {
    let (database, folder) = (company(), Folder::new());
    let file = folder.save(&database, &["--litellm-version", "1.92.2"]);
    let ran = access(
        &database,
        &["--since", &file, "--litellm-version", "1.82.0"],
    )
    .exits(2);
    let _ =
        ran.prints("By the rules of LiteLLM 1.92.2 then, and of 1.82.0 (--litellm-version) now.");
    let same = access(
        &database,
        &["--since", &file, "--litellm-version", "1.92.2"],
    )
    .exits(0);
    let _ = same.prints("By the rules of LiteLLM 1.92.2 (--litellm-version), then and now.");
}

#[test]
fn who_says_that_there_is_no_config_server_is_told_to_name_the_config_instead() {
    let (database, folder) = (company(), Folder::new());
    // Whether a key without servers inherits those of its team is a setting.
    change(&database);
    let ran = access(&database, &["--save", &folder.file("saved")]).exits(0);
    let _ = ran.says("with --litellm-config in place of --no-config-servers");
}

#[test]
fn what_is_not_known_on_either_side_is_told() {
    let (database, folder) = (company(), Folder::new());
    let file = folder.file("open");
    let ran = run_on(database.url(), &["access", "--save", &file]).exits(0);
    let _ = ran.says("is not certain: name the proxy's config");
    let then = access(&database, &["--since", &file]).exits(0);
    let _ = then
        .prints("Not certain for 5 callers")
        .prints("that was not named then may change the answer");
    let known = folder.save(&database, &[]);
    let now = run_on(database.url(), &["access", "--since", &known]).exits(0);
    let _ = now.prints("that was not named now may change the answer");
    let config = folder.file("config.yaml");
    let settings = "mcp_servers: {}\ngeneral_settings: {require_key_mcp_access_defined: true}\n";
    fs::write(&config, settings).unwrap();
    let args = ["access", "--litellm-config", &config, "--since", &known];
    let ran = run_on(database.url(), &args).exits(2);
    let _ =
        ran.prints("The setting require_key_mcp_access_defined was not known then and is on now.");
}

/// The server sorts as its collation says, and both sides are compared by bytes.
#[test]
fn the_order_hangs_on_no_collation_and_the_whole_of_many_pages_is_read() {
    let (database, folder) = (company(), Folder::new());
    database.execute(
        r#"INSERT INTO "LiteLLM_UserTable" ("user_id")
               SELECT unnest(ARRAY['a', 'B', 'b', 'A', 'ä', 'Z', 'z', '_', '-x', '10', '9', 'é']);
           INSERT INTO "LiteLLM_TeamTable" ("team_id")
               SELECT unnest(ARRAY['a', 'B', 'b', 'A', 'ä', 'Z', 'z', '_', '-x', '10', '9', 'é']);
           INSERT INTO "LiteLLM_VerificationToken" ("token")
               SELECT encode(sha256(convert_to(n::text, 'UTF8')), 'hex')
               FROM generate_series(1, 4500) AS n;
           INSERT INTO "LiteLLM_VerificationToken" ("token")
               SELECT 'sk-' || n FROM generate_series(1, 20) AS n;"#,
    );
    let collations = r#"SELECT "collname"::text FROM "pg_collation" WHERE "collname" = 'en-x-icu'"#;
    if !database.texts(collations).is_empty() {
        for (table, column) in [
            ("LiteLLM_UserTable", "user_id"),
            ("LiteLLM_TeamTable", "team_id"),
            ("LiteLLM_VerificationToken", "token"),
        ] {
            database.execute(&format!(
                r#"ALTER TABLE "{table}" ALTER "{column}" TYPE text COLLATE "en-x-icu""#
            ));
        }
    }
    let file = folder.save(&database, &[]);
    let ran = access(&database, &["--since", &file]).exits(0);
    let _ = ran.prints("4549 callers then, 4549 now");
    database.execute(r#"DELETE FROM "LiteLLM_VerificationToken" WHERE "token" = 'sk-7'"#);
    let ran = access(&database, &["--since", &file, "--format", "ndjson"]).exits(0);
    assert_eq!(
        ran.stdout.matches("\"change\":\"gone\"").count(),
        1,
        "{ran}"
    );
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&hash("sk-ci")) && !text.contains("sk-7"));
}

#[test]
fn a_saved_file_is_its_owners_alone_and_is_there_as_a_whole_or_not_at_all() {
    let (database, folder) = (company(), Folder::new());
    let file = folder.save(&database, &[]);
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read(&file).unwrap();
    let ran = access(&database, &["--save", &file]).exits(1);
    let _ = ran.says("no file is written over; name one that is not there yet");
    assert_eq!(fs::read(&file).unwrap(), before);
    let left = folder.file("left");
    let _ = access(&database, &["key:nobody", "--save", &left]).exits(1);
    assert!(!Path::new(&left).exists());
    assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 1);
    let nowhere = folder.file("missing/file");
    let ran = access(&database, &["--save", &nowhere]).exits(1);
    let _ = ran
        .says("cannot write --save")
        .says("a folder you may write");
    // The command that it prints runs as it is.
    let ran = access(&database, &["key:ci", "--save", &left]).exits(0);
    let _ = ran.says(&format!(
        "mcp-prune access key:ci --since {left} --no-config-servers"
    ));
}

#[test]
fn a_file_that_is_not_as_it_was_saved_is_refused() {
    let (database, folder) = (company(), Folder::new());
    let file = folder.save(&database, &[]);
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let without = |at: usize| {
        let mut lines = lines.clone();
        lines.remove(at);
        lines.join("\n") + "\n"
    };
    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    let cut = &text[..text.len() - 10];
    for (content, says) in [
        (String::new(), "is no file of access --save"),
        ("{}\n".to_owned(), "is no file of access --save"),
        ("\u{0}\u{1}binary".to_owned(), "is no file of access --save"),
        (without(0), "is no file of access --save"),
        (without(2), "lines are missing"),
        (without(lines.len() - 1), "it was cut short"),
        (cut.to_owned(), "it was cut short"),
        (swapped.join("\n") + "\n", "not in their order"),
        (
            text.replace("\"servers\"", "\"server\""),
            "line 2 is not as it was written",
        ),
        (text.clone() + "{}\n", "lines follow its last one"),
        (
            text.replace("\"format\":1", "\"format\":2"),
            "has format 2, and this mcp-prune reads format 1",
        ),
    ] {
        let bad = folder.file("bad");
        fs::write(&bad, content).unwrap();
        let ran = access(&database, &["--since", &bad]).exits(1).says(says);
        assert_eq!(ran.stdout, "", "{ran}");
        assert!(ran.stderr.contains("hint: "), "{ran}");
    }
    let missing = folder.file("missing");
    let _ = access(&database, &["--since", &missing])
        .exits(1)
        .says("cannot read --since");
    let report = folder.file("report");
    let _ = access(&database, &["--format", "ndjson", "--output", &report]).exits(0);
    let _ = access(&database, &["--since", &report])
        .exits(1)
        .says("a report of access is none");
}

#[test]
fn a_file_of_another_database_or_of_other_callers_is_refused() {
    let (database, other, folder) = (company(), company(), Folder::new());
    let file = folder.save(&database, &[]);
    let ran = access(&other, &["--since", &file]).exits(4);
    let _ = ran.says("is of database").says("say --other-database");
    let _ = access(&other, &["--since", &file, "--other-database"]).exits(0);
    let of_key = folder.save(&database, &["key:ci"]);
    // However the same owner is named.
    let prefix = format!("key:{}", &hash("sk-ci")[..8]);
    let _ = access(&database, &[&prefix, "--since", &of_key]).exits(0);
    for (file, args, says) in [
        (
            &file,
            &["--every-caller"][..],
            "was saved with no --every-caller",
        ),
        (
            &file,
            &["--as", "end_user:e-1"],
            "no --as, and this run has --as e-1",
        ),
        (
            &file,
            &["--toolset", "set"],
            "no --toolset, and this run has --toolset set",
        ),
        (&file, &["team:t-1"], "no owner, and this run has team:t-1"),
        (&of_key, &[], "and this run has no owner"),
    ] {
        let ran = access(&database, &[args, &["--since", file]].concat()).exits(64);
        let _ = ran.says(says).says("name the same callers as then");
    }
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let (database, folder) = (company(), Folder::new());
    let (one, two) = (folder.file("one"), folder.file("two"));
    for (args, says) in [
        (&["--save", "-"][..], "--save names a file, and - is none"),
        (&["--since", "-"], "--since names a file, and - is none"),
        (&["--save", ""], "--save"),
        (
            &["--save", &one, "--format", "json"],
            "--save alone reports nothing",
        ),
        (
            &["--save", &one, "--output", &two],
            "--save alone reports nothing",
        ),
        (
            &["--save", &one, "--server", "jira"],
            "the whole access of each caller is saved",
        ),
        (&["--since", &one, "--server", "jira"], "is compared"),
        (&["--other-database"], "goes with --since"),
        (&["--save", &one, "--since", &one], "are the same file"),
        (
            &["--save", &one, "--since", &two, "--output", &one],
            "are the same file",
        ),
    ] {
        let ran = access(&database, args).exits(64);
        let _ = ran.says(says);
    }
    assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 0);
}
