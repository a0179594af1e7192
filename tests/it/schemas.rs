//! What is printed for machines, and what is kept in files, is as `fixtures/schema` says.
//!
//! A reader must accept fields and kinds that were added later, so the schemas as published let
//! them through. Here they are closed first: then a field or kind that they do not know is an
//! error.

use std::fs;
use std::sync::OnceLock;

use jsonschema::error::{ValidationError, ValidationErrorKind};
use jsonschema::{Registry, Validator};
use serde_json::{Value, json};

use crate::program::{Ran, repository, run_on};
use crate::samples::{NOWHERE, case, demo};

/// A form of the report that has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Ndjson,
}

struct Schemas {
    report: Validator,
    line: Validator,
}

fn read(name: &str) -> Value {
    let text = fs::read_to_string(repository(&format!("fixtures/schema/{name}.json")));
    serde_json::from_str(&text.unwrap()).unwrap()
}

/// Reads both schemas, after `prepare` has changed them.
fn schemas(prepare: fn(&mut Value)) -> Schemas {
    let [mut report, mut line] = ["report", "ndjson"].map(read);
    prepare(&mut report);
    prepare(&mut line);
    // Next to each other, as they are here.
    let registry = Registry::new().add("file:///schema/report.json", report.clone());
    let registry = registry.unwrap().prepare().unwrap();
    let options = || jsonschema::options().with_registry(&registry);
    let line = options()
        .with_base_uri("file:///schema/ndjson.json")
        .build(&line);
    Schemas {
        report: options().build(&report).unwrap(),
        line: line.unwrap(),
    }
}

fn published() -> Schemas {
    schemas(|_| ())
}

fn closed() -> &'static Schemas {
    static CLOSED: OnceLock<Schemas> = OnceLock::new();
    CLOSED.get_or_init(|| schemas(close))
}

/// Lets nothing through that the schema does not name.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(schema) => {
            schema.values_mut().for_each(close);
            let is = |name: &str| schema.get("type").is_some_and(|kind| kind == name);
            if is("object") && !schema.contains_key("additionalProperties") {
                schema.insert("unevaluatedProperties".to_owned(), json!(false));
            } else if is("string") && schema.contains_key("examples") {
                schema.insert("enum".to_owned(), schema["examples"].clone());
            }
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
    }
}

/// What is wrong with a document, each with the place; of alternatives those of the one that comes
/// nearest.
fn wrongs(errors: impl Iterator<Item = ValidationError<'static>>) -> Vec<String> {
    errors
        .flat_map(|error| {
            let ValidationErrorKind::OneOfNotValid { context } = error.kind() else {
                return vec![wrong(&error)];
            };
            let nearest = context.iter().min_by_key(|errors| errors.len());
            nearest.unwrap().iter().map(wrong).collect()
        })
        .collect()
}

fn wrong(error: &ValidationError<'_>) -> String {
    format!("{}: {error}", error.instance_path())
}

#[track_caller]
fn assert_valid(schema: &Validator, document: &Value) {
    let errors = schema.iter_errors(document).map(ValidationError::to_owned);
    let wrongs = wrongs(errors);
    assert!(wrongs.is_empty(), "{wrongs:#?} in {document:#}");
}

impl Format {
    pub(crate) const BOTH: [Self; 2] = [Self::Json, Self::Ndjson];

    /// Runs a command in this form, checks all that it prints, and returns the objects.
    #[track_caller]
    pub(crate) fn run(self, url: &str, args: &[&str]) -> (Ran, Vec<Value>) {
        let ran = run_on(url, &[args, &["--format", self.name()]].concat());
        let documents = match self {
            // A command that fails prints nothing; the error is on stderr.
            Self::Json if ran.stdout.is_empty() && ![0, 2, 3].contains(&ran.status) => Vec::new(),
            Self::Json => vec![ran.json()],
            Self::Ndjson => {
                let lines = ran.stdout.lines();
                lines
                    .map(|line| serde_json::from_str(line).unwrap())
                    .collect()
            }
        };
        for document in &documents {
            self.check(document);
        }
        (ran, documents)
    }

    /// Checks one object.
    #[track_caller]
    pub(crate) fn check(self, document: &Value) {
        assert_valid(self.schema(closed()), document);
    }

    fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
        }
    }

    fn schema(self, schemas: &Schemas) -> &Validator {
        match self {
            Self::Json => &schemas.report,
            Self::Ndjson => &schemas.line,
        }
    }
}

/// Returns objects of every kind that a run can print without a person at a terminal. The cases of
/// `fixtures` do not bring about all of them.
fn rare(format: Format) -> Vec<Value> {
    let mut documents = Vec::new();
    let mut run = |url: &str, args: &[&str], status: i32| {
        let (ran, printed) = format.run(url, args);
        let _ = ran.exits(status);
        documents.extend(printed);
    };
    run(NOWHERE, &["scan"], 7);
    run(case("notes").url(), &["scan", "--notes"], 0);
    let config = ["scan", "--litellm-config", "fixtures/config/proxy.yaml"];
    run(demo().url(), &config, 2);

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let [plan, journal] = [file("plan"), file("journal")];
    let database = demo();
    run(
        database.url(),
        &["fix", "--dry-run", "--plan-out", &plan],
        2,
    );
    run(database.url(), &["fix", "--yes", "--journal", &journal], 3);
    database.execute(
        r#"DELETE FROM "LiteLLM_ObjectPermissionTable" WHERE "object_permission_id" LIKE '2a7e%';
           UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" = '{github}'
           WHERE "object_permission_id" LIKE '1f0c%'"#,
    );
    run(database.url(), &["fix", "--yes", "--plan", &plan], 5);
    run(database.url(), &["undo", "--yes", &journal], 5);
    run(
        database.url(),
        &["undo", "--yes", "--skip-changed", &journal],
        0,
    );
    documents
}

#[test]
fn what_comes_up_rarely_is_as_the_schema_says() {
    for format in Format::BOTH {
        let documents = rare(format);
        let has = |text: &str| documents.iter().any(|d| d.to_string().contains(text));
        for text in [
            "\"note\"",
            "\"moved\"",
            "\"row-gone\"",
            "\"changed\"",
            "\"done\"",
            "\"plan\":",
        ] {
            assert!(has(text), "{text} in {format:?}");
        }
        assert_eq!(has("\"type\":\"error\""), format == Format::Ndjson);
    }
}

#[test]
fn answers_that_are_no_reports_are_as_the_schema_says() {
    let config = ["ids", "--litellm-config", "fixtures/config/proxy.yaml"];
    Format::Json.run(NOWHERE, &config).0.exits(0);
    Format::Json.run(demo().url(), &["doctor"]).0.exits(0);
    let (ran, documents) = Format::Json.run(NOWHERE, &["doctor", "--for", "fix"]);
    let _ = ran.exits(7);
    assert_eq!(documents.len(), 1);
}

/// What may be left out of an object, whatever else it holds.
const OPTIONAL: [&str; 14] = [
    "access",
    "settled_by",
    "because",
    "if",
    "successor",
    "row_name",
    "server_name",
    "server_names",
    "approval_status",
    "if_emptied",
    "on_empty",
    "plan",
    "detail",
    "rows",
];

/// What names what there is of something, and so may be added to.
const KINDS: [&str; 6] = ["kind", "reason", "effect", "outcome", "status", "name"];

/// Every document that differs from `document` in one thing that breaks it, each with what that is.
fn broken(document: &Value, at: &str) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let wrong = json!({"": 0.5});
    let children: Vec<(String, &Value)> = match document {
        Value::Object(fields) => fields.iter().map(|(name, v)| (name.clone(), v)).collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(n, v)| (n.to_string(), v))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    // By the names of columns or servers, as many as there are.
    let is_map = at
        .split('/')
        .any(|part| ["before", "after", "expected", "found", "server_names"].contains(&part))
        && document.get("server_id").is_none();
    if document.is_object() {
        let mut added = document.clone();
        added["unheard_of"] = json!(true);
        all.push((format!("{at} has one more field"), added));
    }
    for (name, child) in children {
        let path = format!("{at}/{name}");
        let mut with = |what: &str, value: Value| {
            let mut changed = document.clone();
            *changed.pointer_mut(&format!("/{name}")).unwrap() = value;
            all.push((format!("{path} {what}"), changed));
        };
        with("is of another type", wrong.clone());
        for (what, value) in broken(child, &path) {
            let mut changed = document.clone();
            *changed.pointer_mut(&format!("/{name}")).unwrap() = value;
            all.push((what, changed));
        }
        let is_optional = OPTIONAL.contains(&name.as_str())
            || is_map
            // A line does not tell whether it is of an undo, which has none.
            || (name == "owners" && document["type"] == "change")
            || (at.ends_with("/if_emptied") && name != "effect")
            // Of a finding it is a reason, of a repair the list of what is held.
            || (name == "held" && child.is_string());
        if document.is_object() && !is_optional {
            let mut less = document.clone();
            less.as_object_mut().unwrap().shift_remove(&name);
            all.push((format!("{path} is not there"), less));
        }
    }
    all
}

#[test]
fn a_broken_document_is_refused() {
    for format in Format::BOTH {
        let schema = format.schema(closed());
        let mut documents = rare(format);
        let args: [&[&str]; 2] = [&["scan"], &["fix", "--dry-run"]];
        for args in args {
            let (ran, reports) = format.run(case("sites").url(), args);
            let _ = ran.exits(2);
            documents.extend(reports);
        }
        let mut tried = 0;
        for document in documents {
            for (what, broken) in broken(&document, "") {
                assert!(!schema.is_valid(&broken), "{format:?}: {what}: {broken:#}");
                tried += 1;
            }
        }
        assert!(tried > 1000, "{tried}");
    }
}

/// Adds a field to every object that has no names of its own, and makes every kind one that is new.
fn as_of_a_later_version(document: &mut Value) {
    match document {
        Value::Object(fields) => {
            let is_map = fields.keys().any(|name| name.starts_with("mcp_"));
            for (name, value) in fields.iter_mut().filter(|_| !is_map) {
                if KINDS.contains(&name.as_str()) && value.is_string() {
                    *value = json!("a-later-one");
                } else {
                    as_of_a_later_version(value);
                }
            }
            if !is_map {
                fields.insert("unheard_of".to_owned(), json!(true));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(as_of_a_later_version),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
    }
}

#[test]
fn the_published_schemas_accept_fields_and_kinds_of_a_later_version() {
    let published = published();
    for format in Format::BOTH {
        let (ran, documents) = format.run(case("last_grant").url(), &["scan"]);
        let _ = ran.exits(2);
        assert!(!documents.is_empty());
        for mut document in documents {
            as_of_a_later_version(&mut document);
            // A summary of `scan` alone is told by its outcome.
            if document["type"] == "summary" {
                document["outcome"] = json!("scanned");
            }
            assert_valid(format.schema(&published), &document);
            assert!(!format.schema(closed()).is_valid(&document));
        }
    }
}

#[test]
fn every_line_of_a_changeset_is_as_the_schema_says() {
    let schema = jsonschema::validator_for(&read("changeset")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let [plan, fix, undo] = ["plan", "fix", "undo"].map(file);
    for database in [demo(), case("sites")] {
        let run = |args: &[&str], status| run_on(database.url(), args).exits(status);
        let _ = run(&["fix", "--dry-run", "--plan-out", &plan], 2);
        let _ = run(&["fix", "--yes", "--journal", &fix], 3);
        let _ = run(&["undo", "--yes", &fix, "--journal", &undo], 0);
        for file in [&plan, &fix, &undo] {
            let text = fs::read_to_string(file).unwrap();
            for line in text.lines() {
                assert_valid(&schema, &serde_json::from_str(line).unwrap());
            }
            fs::remove_file(file).unwrap();
        }
    }
    assert!(!schema.is_valid(&json!({"type": "row"})));
}
