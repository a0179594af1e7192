//! Schemas that are LiteLLM's by their names alone. They have other types, other kinds of
//! relations, rows without keys, or triggers and rules that change what is written.

use crate::program::{Ran, run_on};
use crate::samples::demo;
use crate::server::TestDatabase;

/// Makes a database with two stale references in rows of a team and a key.
fn company() -> TestDatabase {
    TestDatabase::with(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id", "alias") VALUES ('live', 'github');
           INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               VALUES ('p-1', ARRAY['live', 'gone']), ('p-2', ARRAY['gone', 'github']);
           INSERT INTO "LiteLLM_TeamTable" ("team_id", "object_permission_id") VALUES ('1', 'p-1');
           INSERT INTO "LiteLLM_VerificationToken" ("token", "object_permission_id")
               VALUES ('2', 'p-2');"#,
    )
}

const FIX: [&str; 4] = ["fix", "--yes", "--no-journal", "--no-config-servers"];

/// Checks that every command refuses the database over `what` and that nothing was written.
#[track_caller]
fn is_refused(database: &TestDatabase, what: &str) {
    let rows = |table: &str| database.texts(&format!(r#"SELECT t::text FROM "{table}" AS t"#));
    let before = rows("LiteLLM_ObjectPermissionTable");
    for args in [
        &["scan", "--no-config-servers"][..],
        &FIX,
        &["fix", "--dry-run", "--no-config-servers"],
    ] {
        let ran = run_on(database.url(), args)
            .exits(4)
            .says(what)
            .says("hint: ");
        assert!(!ran.stderr.contains("panicked"), "{ran}");
    }
    assert_eq!(rows("LiteLLM_ObjectPermissionTable"), before);
}

#[track_caller]
fn doctor_fails(database: &TestDatabase, what: &str) {
    let ran: Ran = run_on(database.url(), &["doctor"]).exits(1);
    assert!(ran.stdout.contains(what), "{what}: {ran}");
}

#[test]
fn a_column_of_another_type_is_refused_by_its_name() {
    for (change, what) in [
        (
            r#"ALTER TABLE "LiteLLM_ObjectPermissionTable"
               ALTER "mcp_tool_permissions" TYPE json"#,
            r#"column "mcp_tool_permissions" of "LiteLLM_ObjectPermissionTable" is of type json, not jsonb"#,
        ),
        (
            r#"ALTER TABLE "LiteLLM_ObjectPermissionTable"
               ALTER "mcp_servers" DROP DEFAULT, ALTER "mcp_servers" TYPE varchar(40)[]"#,
            "is of type character varying[], not text[]",
        ),
        (
            r#"ALTER TABLE "LiteLLM_ObjectPermissionTable" ALTER "mcp_toolsets" DROP DEFAULT,
               ALTER "mcp_toolsets" TYPE jsonb USING '[]'"#,
            r#"column "mcp_toolsets" of "LiteLLM_ObjectPermissionTable" is of type jsonb"#,
        ),
        (
            r#"ALTER TABLE "LiteLLM_ObjectPermissionTable" ALTER "mcp_access_groups" DROP DEFAULT,
               ALTER "mcp_access_groups" TYPE text"#,
            r#"column "mcp_access_groups" of "LiteLLM_ObjectPermissionTable" is of type text, not text[]"#,
        ),
        (
            r#"ALTER TABLE "LiteLLM_TeamTable" ALTER "team_id" TYPE int USING 1"#,
            r#"column "team_id" of "LiteLLM_TeamTable" is of type integer, not text"#,
        ),
        (
            r#"ALTER TABLE "LiteLLM_MCPServerTable" ALTER "alias" TYPE varchar(20)"#,
            r#"column "alias" of "LiteLLM_MCPServerTable" is of type character varying, not text"#,
        ),
        (
            r#"ALTER TABLE "LiteLLM_MCPServerTable" ALTER "allow_all_keys" DROP DEFAULT,
               ALTER "allow_all_keys" TYPE int USING 0"#,
            r#"column "allow_all_keys" of "LiteLLM_MCPServerTable" is of type integer, not boolean"#,
        ),
        (
            r#"CREATE DOMAIN public.id AS text; ALTER TABLE "LiteLLM_VerificationToken"
               ALTER "token" TYPE public.id"#,
            r#"column "token" of "LiteLLM_VerificationToken" is of type "#,
        ),
        (
            r#"ALTER TABLE "LiteLLM_VerificationToken" ALTER "team_id" TYPE uuid USING NULL"#,
            r#"column "team_id" of "LiteLLM_VerificationToken" is of type uuid, not text"#,
        ),
        (
            r#"ALTER TABLE "LiteLLM_MCPToolsetTable" ALTER "updated_at" TYPE timestamptz"#,
            "is of type timestamp with time zone, not timestamp without time zone",
        ),
    ] {
        let database = company();
        database.load(change);
        is_refused(&database, what);
        doctor_fails(&database, what);
    }
}

#[test]
fn a_column_of_a_nondeterministic_collation_is_refused() {
    let database = company();
    let icu = "SELECT collname::text FROM pg_collation WHERE collname LIKE '%-x-icu' LIMIT 1";
    if database.texts(icu).is_empty() {
        return crate::server::skip("a nondeterministic collation", "needs PostgreSQL with ICU");
    }
    database.load(
        r#"CREATE COLLATION public.nocase
               (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
           ALTER TABLE "LiteLLM_MCPServerTable" ALTER "server_id" TYPE text COLLATE public.nocase"#,
    );
    let what = r#"column "server_id" of "LiteLLM_MCPServerTable" has the collation "nocase""#;
    is_refused(&database, what);
    doctor_fails(&database, what);
}

/// Gives every column of texts a collation of its own, which compares as PostgreSQL's `C` does.
const OWN_COLLATIONS: &str = r#"
DO $$
DECLARE c record;
BEGIN
  FOR c IN SELECT attrelid::regclass AS "table", attname AS "column", atttypid::regtype AS "type",
                  row_number() OVER () AS number
           FROM pg_attribute
           WHERE attrelid IN (SELECT oid FROM pg_class
                              WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace)
                 AND attnum > 0 AND atttypid IN ('text'::regtype, 'text[]'::regtype)
  LOOP
    EXECUTE format('CREATE COLLATION public.own_%s (locale = ''C'')', c.number);
    EXECUTE format('ALTER TABLE %s ALTER %I TYPE %s COLLATE public.own_%s', c."table", c."column",
                   c."type", c.number);
  END LOOP;
END $$"#;

/// Makes the demo with more owners that lead to each other.
fn related_owners() -> TestDatabase {
    let database = demo();
    database.load(
        r#"INSERT INTO "LiteLLM_AgentsTable" ("agent_id", "agent_name", "object_permission_id")
               VALUES ('a-1', 'bot', '7fa33af7-7b1d-4e3a-9c5f-0a2b4c6d8e07');
           UPDATE "LiteLLM_VerificationToken" SET "agent_id" = 'a-1' WHERE "key_alias" = 'ci-bot';
           UPDATE "LiteLLM_VerificationToken" SET "organization_id" = '5c7f2e90-org'
               WHERE "key_alias" = 'notebook';
           INSERT INTO "LiteLLM_AccessGroupTable" ("access_group_id", "access_group_name",
                   "access_mcp_server_ids", "assigned_team_ids", "assigned_key_ids",
                   "updated_by")
               SELECT 'g-1', 'readers', ARRAY['d7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04'],
                      ARRAY['research'], ARRAY[t."token"], 'mcp-prune'
               FROM "LiteLLM_VerificationToken" AS t WHERE t."key_alias" = 'ci-bot';
           UPDATE "LiteLLM_TeamTable" SET "access_group_ids" = ARRAY['g-1']
               WHERE "team_id" = 'research';
           INSERT INTO "LiteLLM_MCPServerOAuthClient" ("server_id")
               SELECT s."server_id" FROM "LiteLLM_MCPServerTable" AS s"#,
    );
    database
}

#[test]
fn columns_of_different_collations_are_compared_all_the_same() {
    // One database, so that the names in the reports are the same.
    let database = related_owners();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let [saved, saved_again] = ["saved", "saved-again"].map(file);
    let looks: [&[&str]; 9] = [
        &["scan", "--no-config-servers", "--format", "csv"],
        &["scan", "--if-deleted", "jira", "--format", "csv"],
        &[
            "scan",
            "--no-config-servers",
            "--owner",
            "team:platform",
            "--format",
            "csv",
        ],
        &[
            "fix",
            "--dry-run",
            "--on-empty",
            "unchanged",
            "--format",
            "csv",
        ],
        &[
            "fix",
            "--dry-run",
            "--on-empty",
            "clear",
            "--accept-widening",
            "--format",
            "csv",
        ],
        &["access", "--every-caller", "--format", "csv"],
        &["access", "--server", "jira", "--format", "csv"],
        &["access", "organization:acme", "--format", "csv"],
        &["access", "agent:bot", "--format", "csv"],
    ];
    let look = |args: &[&str]| {
        let ran = run_on(database.url(), args);
        assert!(ran.status < 4 && ran.status != 1, "{args:?}: {ran}");
        ran.stdout
    };
    let before = looks.map(look);
    run_on(
        database.url(),
        &["access", "--every-caller", "--save", &saved],
    )
    .exits(0);
    database.load(OWN_COLLATIONS);
    for (args, before) in looks.into_iter().zip(&before) {
        assert_eq!(look(args), *before, "{args:?}");
    }
    run_on(
        database.url(),
        &["access", "--every-caller", "--save", &saved_again],
    )
    .exits(0);
    run_on(
        database.url(),
        &["access", "--every-caller", "--since", &saved],
    )
    .exits(0);
    run_on(database.url(), &["doctor"]).exits(0);
}

#[test]
fn columns_of_different_collations_are_repaired_and_put_back() {
    let database = related_owners();
    database.load(OWN_COLLATIONS);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let [journal, plan] = ["journal", "plan"].map(file);
    let rows = || (database.permission_rows(), database.other_rows());
    let found = rows();
    let script = [
        "fix",
        "--dry-run",
        "--on-empty",
        "unchanged",
        "--format",
        "sql",
    ];
    let script = run_on(database.url(), &script).exits(2).stdout;
    let dry = [
        "fix",
        "--dry-run",
        "--on-empty",
        "unchanged",
        "--plan-out",
        &plan,
    ];
    run_on(database.url(), &dry).exits(2);
    let fix = ["fix", "--yes", "--plan", &plan, "--journal", &journal];
    let status = run_on(database.url(), &fix).status;
    assert!(matches!(status, 0 | 3), "exit {status}");
    let repaired = rows();
    assert_ne!(repaired, found);
    run_on(database.url(), &["undo", "--yes", "--no-journal", &journal]).exits(0);
    assert_eq!(rows(), found);
    database.load(&script);
    assert_eq!(rows(), repaired);
}

#[test]
fn a_citext_column_is_refused() {
    let database = company();
    let there = "SELECT name::text FROM pg_available_extensions WHERE name = 'citext'";
    if database.texts(there).is_empty() {
        return crate::server::skip("a citext column", "needs the extension citext");
    }
    database.load(
        r#"CREATE EXTENSION citext;
           ALTER TABLE "LiteLLM_MCPServerTable" ALTER "server_name" TYPE citext"#,
    );
    is_refused(
        &database,
        r#"column "server_name" of "LiteLLM_MCPServerTable" is of type "#,
    );
}

#[test]
fn a_row_without_a_key_is_refused_by_its_name() {
    for (change, what) in [
        (
            r#"ALTER TABLE "LiteLLM_ObjectPermissionTable"
                   DROP CONSTRAINT "LiteLLM_ObjectPermissionTable_pkey" CASCADE;
               ALTER TABLE "LiteLLM_ObjectPermissionTable"
                   ALTER "object_permission_id" DROP NOT NULL;
               INSERT INTO "LiteLLM_ObjectPermissionTable" ("mcp_servers") VALUES (ARRAY['gone'])"#,
            r#"column "object_permission_id" of "LiteLLM_ObjectPermissionTable" is NULL in some row"#,
        ),
        (
            r#"ALTER TABLE "LiteLLM_MCPServerTable"
                   DROP CONSTRAINT "LiteLLM_MCPServerTable_pkey" CASCADE;
               ALTER TABLE "LiteLLM_MCPServerTable" ALTER "server_id" DROP NOT NULL;
               INSERT INTO "LiteLLM_MCPServerTable" ("alias") VALUES ('gone')"#,
            r#"column "server_id" of "LiteLLM_MCPServerTable" is NULL in some row"#,
        ),
        (
            r#"ALTER TABLE "LiteLLM_TeamTable" DROP CONSTRAINT "LiteLLM_TeamTable_pkey" CASCADE;
               ALTER TABLE "LiteLLM_TeamTable" ALTER "team_id" DROP NOT NULL;
               UPDATE "LiteLLM_TeamTable" SET "team_id" = NULL"#,
            r#"column "team_id" of "LiteLLM_TeamTable" is NULL in some row"#,
        ),
        (
            r#"ALTER TABLE "LiteLLM_VerificationToken"
                   DROP CONSTRAINT "LiteLLM_VerificationToken_pkey" CASCADE;
               ALTER TABLE "LiteLLM_VerificationToken" ALTER "token" DROP NOT NULL;
               UPDATE "LiteLLM_VerificationToken" SET "token" = NULL"#,
            r#"column "token" of "LiteLLM_VerificationToken" is NULL in some row"#,
        ),
        (
            r#"ALTER TABLE "LiteLLM_MCPToolsetTable"
                   DROP CONSTRAINT "LiteLLM_MCPToolsetTable_pkey" CASCADE;
               ALTER TABLE "LiteLLM_MCPToolsetTable" ALTER "toolset_id" DROP NOT NULL;
               INSERT INTO "LiteLLM_MCPToolsetTable" ("toolset_name") VALUES ('x')"#,
            r#"column "toolset_id" of "LiteLLM_MCPToolsetTable" is NULL in some row"#,
        ),
    ] {
        let database = company();
        database.load(change);
        is_refused(&database, what);
    }
}

/// Replaces a table with another relation; the table itself gets another name.
fn replaced(table: &str, by: &str) -> String {
    format!(r#"ALTER TABLE "{table}" RENAME TO "kept"; CREATE {by} AS SELECT * FROM "kept";"#)
}

#[test]
fn a_relation_that_is_no_table_is_refused_by_its_name() {
    for (table, by, kind) in [
        ("LiteLLM_AgentsTable", "VIEW", "a view"),
        ("LiteLLM_EndUserTable", "VIEW", "a view"),
        (
            "LiteLLM_ProjectTable",
            "MATERIALIZED VIEW",
            "a materialized view",
        ),
        ("LiteLLM_TeamTable", "VIEW", "a view"),
        ("LiteLLM_VerificationToken", "VIEW", "a view"),
        ("LiteLLM_MCPServerTable", "VIEW", "a view"),
        ("LiteLLM_ObjectPermissionTable", "VIEW", "a view"),
        ("LiteLLM_AccessGroupTable", "VIEW", "a view"),
        (
            "LiteLLM_MCPToolsetTable",
            "MATERIALIZED VIEW",
            "a materialized view",
        ),
    ] {
        let database = company();
        database.load(&replaced(table, &format!("{by} \"{table}\"")));
        let what = format!("\"{table}\" is {kind}, not a table");
        is_refused(&database, &what);
        doctor_fails(&database, &what);
    }
}

#[test]
fn a_foreign_table_in_the_place_of_a_table_is_refused() {
    let database = company();
    // No wrapper has to be there: nothing ever reads it.
    database.load(
        r#"CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER elsewhere FOREIGN DATA WRAPPER nothing;
           DROP TABLE "LiteLLM_AgentsTable";
           CREATE FOREIGN TABLE "LiteLLM_AgentsTable"
               ("agent_id" text, "agent_name" text, "object_permission_id" text) SERVER elsewhere"#,
    );
    is_refused(
        &database,
        r#""LiteLLM_AgentsTable" is a foreign table, not a table"#,
    );
}

const UNKNOWN: &str = "links to permission rows in a way that this mcp-prune does not know";

#[test]
fn a_relation_that_may_link_unseen_is_an_unknown_link() {
    for (make, counts) in [
        // LiteLLM makes this one itself: its links are the keys'.
        (
            r#"CREATE VIEW "LiteLLM_VerificationTokenView" AS
               SELECT v.*, t."team_alias" FROM "LiteLLM_VerificationToken" AS v
               LEFT JOIN "LiteLLM_TeamTable" AS t ON t."team_id" = v."team_id""#,
            false,
        ),
        (
            r#"CREATE MATERIALIZED VIEW "report" AS
               SELECT "object_permission_id" FROM "LiteLLM_TeamTable"
               UNION ALL SELECT "object_permission_id" FROM "LiteLLM_VerificationToken""#,
            false,
        ),
        (
            r#"CREATE SCHEMA "other";
               CREATE TABLE "other"."bots" ("id" text, "object_permission_id" text);
               CREATE VIEW "bots" AS SELECT * FROM "other"."bots""#,
            true,
        ),
        (
            r#"CREATE VIEW "bots" AS SELECT 'b'::text AS "object_permission_id""#,
            true,
        ),
        (
            r#"CREATE FOREIGN DATA WRAPPER nothing;
               CREATE SERVER elsewhere FOREIGN DATA WRAPPER nothing;
               CREATE FOREIGN TABLE "bots" ("object_permission_id" text) SERVER elsewhere"#,
            true,
        ),
    ] {
        let database = company();
        // A row of nobody's, which may run empty only where every link is known.
        database.load(
            r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               VALUES ('p-3', ARRAY['gone'])"#,
        );
        database.load(make);
        let ran = run_on(database.url(), &FIX);
        assert_eq!(ran.stderr.contains(UNKNOWN), counts, "{make}: {ran}");
        assert_eq!(ran.status, if counts { 3 } else { 0 }, "{make}: {ran}");
        let left = r#"SELECT "mcp_servers"::text FROM "LiteLLM_ObjectPermissionTable"
                      WHERE "object_permission_id" = 'p-3'"#;
        assert_eq!(database.texts(left), [if counts { "{gone}" } else { "{}" }]);
    }
}

/// Returns the SQL of a trigger function, and of a trigger of permission rows that calls it.
fn trigger(when: &str, body: &str) -> String {
    format!(
        r#"CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql SET search_path = public
               AS $$ BEGIN {body} END $$;
           CREATE {when} "LiteLLM_ObjectPermissionTable" {defer} FOR EACH ROW
               EXECUTE FUNCTION act()"#,
        when = when.trim_end_matches(" DEFERRED"),
        defer = if when.ends_with(" DEFERRED") {
            "DEFERRABLE INITIALLY DEFERRED"
        } else {
            ""
        },
    )
}

const REPAIRED: [&str; 2] = ["p-1 {live}", "p-2 {github}"];

fn servers(database: &TestDatabase) -> Vec<String> {
    database.texts(
        r#"SELECT "object_permission_id" || ' ' || "mcp_servers"::text
           FROM "LiteLLM_ObjectPermissionTable" ORDER BY 1"#,
    )
}

#[test]
fn a_trigger_that_notes_who_wrote_when_is_told_and_in_nobodys_way() {
    let database = company();
    database.load(
        r#"ALTER TABLE "LiteLLM_ObjectPermissionTable"
               ADD "updated_at" timestamptz, ADD "version" int DEFAULT 0, ADD "updated_by" text,
               ADD "number" int GENERATED ALWAYS AS (cardinality("mcp_servers")) STORED,
               ADD "spelled" text GENERATED ALWAYS AS ("mcp_servers"[2]) STORED"#,
    );
    database.load(&trigger(
        "TRIGGER touch BEFORE UPDATE ON",
        r#"NEW."updated_at" := now(); NEW."version" := OLD."version" + 1;
           NEW."updated_by" := current_user; RETURN NEW;"#,
    ));
    let before = servers(&database);
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    let fix = ["fix", "--yes", "--no-config-servers", "--journal", journal];
    let ran = run_on(database.url(), &fix).exits(0);
    let ran = ran.says(r#"trigger "touch" on "LiteLLM_ObjectPermissionTable""#);
    for column in ["updated_at", "updated_by", "version"] {
        let told = format!("a trigger changes column \"{column}\" of the rows");
        assert!(ran.stderr.contains(&told), "{ran}");
    }
    assert!(!ran.stderr.contains("\"number\""), "{ran}");
    assert_eq!(servers(&database), REPAIRED);
    let written = r#"SELECT "version"::text FROM "LiteLLM_ObjectPermissionTable""#;
    assert_eq!(database.texts(written), ["1", "1"]);
    run_on(database.url(), &["undo", "--yes", journal, "--no-journal"])
        .exits(0)
        .says("a trigger changes column \"version\"");
    assert_eq!(servers(&database), before);
}

#[test]
fn a_deferred_trigger_that_notes_who_wrote_when_is_told_too() {
    let database = company();
    database.load(
        r#"ALTER TABLE "LiteLLM_ObjectPermissionTable" ADD "version" int, ADD "updated_by" text"#,
    );
    database.load(&trigger(
        "CONSTRAINT TRIGGER later AFTER UPDATE ON DEFERRED",
        r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "version" = 9
           WHERE "object_permission_id" = NEW."object_permission_id" AND "version" IS NULL;
           RETURN NULL;"#,
    ));
    let fix = ["fix", "--yes", "--no-config-servers", "--no-journal"];
    let ran = run_on(database.url(), &fix).exits(0);
    let ran = ran.says("a trigger changes column \"version\" of the rows");
    assert!(!ran.stderr.contains("\"updated_by\""), "{ran}");
    assert_eq!(servers(&database), REPAIRED);
}

#[test]
fn a_trigger_that_changes_what_grants_access_stops_everything() {
    for (when, body) in [
        (
            "TRIGGER evil BEFORE UPDATE ON",
            r#"NEW."mcp_access_groups" := ARRAY['all']; RETURN NEW;"#,
        ),
        (
            "TRIGGER evil BEFORE UPDATE ON",
            r#"NEW."mcp_toolsets" := ARRAY['all']; RETURN NEW;"#,
        ),
        (
            "TRIGGER evil BEFORE UPDATE ON",
            r#"NEW."mcp_tool_search_enabled" := true; RETURN NEW;"#,
        ),
        (
            "TRIGGER evil BEFORE UPDATE ON",
            r#"NEW."vector_stores" := ARRAY['all']; RETURN NEW;"#,
        ),
        (
            "TRIGGER evil BEFORE UPDATE ON",
            r#"NEW."mcp_servers" := NEW."mcp_servers" || 'secret'::text; RETURN NEW;"#,
        ),
        ("TRIGGER evil BEFORE UPDATE ON", "RETURN NULL;"),
        (
            "TRIGGER evil AFTER UPDATE ON",
            r#"IF pg_trigger_depth() = 1 THEN
                   UPDATE "LiteLLM_ObjectPermissionTable"
                   SET "mcp_servers" = "mcp_servers" || 'secret'::text; END IF;
               RETURN NULL;"#,
        ),
        // What is deferred comes after the rows have been compared.
        (
            "CONSTRAINT TRIGGER evil AFTER UPDATE ON DEFERRED",
            r#"IF pg_trigger_depth() = 1 THEN
                   UPDATE "LiteLLM_ObjectPermissionTable"
                   SET "mcp_servers" = "mcp_servers" || 'secret'::text; END IF;
               RETURN NULL;"#,
        ),
        (
            "CONSTRAINT TRIGGER evil AFTER UPDATE ON DEFERRED",
            r#"IF pg_trigger_depth() = 1 THEN
                   UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_access_groups" = ARRAY['all'];
               END IF; RETURN NULL;"#,
        ),
        (
            "CONSTRAINT TRIGGER evil AFTER UPDATE ON DEFERRED",
            r#"DELETE FROM "LiteLLM_ObjectPermissionTable" WHERE "object_permission_id" = 'p-1';
               RETURN NULL;"#,
        ),
    ] {
        let database = company();
        let before = database.permission_rows();
        database.load(&trigger(when, body));
        for args in [&FIX[..], &["fix", "--dry-run", "--no-config-servers"]] {
            run_on(database.url(), args)
                .exits(1)
                .says(r#"trigger "evil" on "LiteLLM_ObjectPermissionTable""#)
                .says("hint: look for a trigger");
            assert_eq!(database.permission_rows(), before, "{body}");
        }
    }
}

#[test]
fn a_trigger_that_reaches_back_to_rows_compared_before_stops_everything() {
    let database = company();
    // More than are written at a time; the last row changes the first.
    database.load(
        r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
               SELECT 'q-' || lpad(n::text, 4, '0'), ARRAY['live', 'gone']
               FROM generate_series(1, 2500) AS n"#,
    );
    database.load(&trigger(
        "TRIGGER evil AFTER UPDATE ON",
        r#"IF NEW."object_permission_id" = 'q-2500' THEN
               UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_access_groups" = ARRAY['all']
               WHERE "object_permission_id" = 'p-1'; END IF;
           RETURN NULL;"#,
    ));
    let before = database.permission_rows();
    run_on(database.url(), &FIX).exits(1).says("row p-1 of");
    assert_eq!(database.permission_rows(), before);
}

#[test]
fn a_rule_in_the_place_of_an_update_stops_everything_and_one_beside_it_is_told() {
    let database = company();
    let before = database.permission_rows();
    database.load(
        r#"CREATE RULE "never" AS ON UPDATE TO "LiteLLM_ObjectPermissionTable" DO INSTEAD NOTHING"#,
    );
    run_on(database.url(), &FIX)
        .exits(1)
        .says(r#"rule "never" on "LiteLLM_ObjectPermissionTable""#)
        .says("0 rows of \"LiteLLM_ObjectPermissionTable\" were written");
    assert_eq!(database.permission_rows(), before);

    let database = company();
    database.load(
        r#"CREATE TABLE "audit" ("row" text);
           CREATE RULE "audited" AS ON UPDATE TO "LiteLLM_ObjectPermissionTable"
               DO ALSO INSERT INTO "audit" VALUES (NEW."object_permission_id")"#,
    );
    let ran = run_on(database.url(), &["doctor"]);
    assert!(ran.stdout.contains("rule \"audited\""), "{ran}");
    run_on(database.url(), &FIX)
        .exits(0)
        .says(r#"rule "audited" on "LiteLLM_ObjectPermissionTable""#);
    assert_eq!(servers(&database), REPAIRED);
}

#[test]
fn triggers_that_do_not_fire_are_not_told() {
    let database = company();
    let table = r#""LiteLLM_ObjectPermissionTable""#;
    database.load(
        "CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$",
    );
    for (name, when) in [
        ("replica", "UPDATE"),
        ("disabled", "UPDATE"),
        ("inserted", "INSERT"),
        ("elsewhere", r#"UPDATE OF "vector_stores""#),
    ] {
        database.execute(&format!(
            "CREATE TRIGGER {name} BEFORE {when} ON {table} FOR EACH ROW EXECUTE FUNCTION act()"
        ));
    }
    database.execute(&format!(
        "ALTER TABLE {table} ENABLE REPLICA TRIGGER replica"
    ));
    database.execute(&format!("ALTER TABLE {table} DISABLE TRIGGER disabled"));
    let ran = run_on(database.url(), &["doctor"]);
    assert!(ran.stdout.contains("none acts on what fix writes"), "{ran}");
    let ran = run_on(database.url(), &FIX).exits(0);
    assert!(!ran.stderr.contains("trigger"), "{ran}");
    database.execute(&format!(
        "ALTER TABLE {table} ENABLE ALWAYS TRIGGER disabled"
    ));
    let ran = run_on(database.url(), &["doctor"]);
    assert!(ran.stdout.contains("trigger \"disabled\""), "{ran}");
}

#[test]
fn arrays_keep_their_bounds() {
    let database = company();
    database.execute(
        r#"UPDATE "LiteLLM_ObjectPermissionTable" SET "mcp_servers" =
               CASE "object_permission_id" WHEN 'p-1' THEN '[0:2]={live,gone,NULL-like}'
               ELSE '[-7:-5]={gone,github,"a,b"}' END::text[]"#,
    );
    let before = servers(&database);
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    let keep = ["--keep", "NULL-like", "--keep", "a,b"];
    let fix = ["fix", "--yes", "--no-config-servers", "--journal", journal];
    run_on(database.url(), &[&fix[..], &keep].concat()).exits(0);
    let after = [
        "p-1 [0:1]={live,NULL-like}",
        r#"p-2 [-7:-6]={github,"a,b"}"#,
    ];
    assert_eq!(servers(&database), after);
    run_on(database.url(), &["undo", "--yes", journal, "--no-journal"]).exits(0);
    assert_eq!(servers(&database), before);
}

#[test]
fn an_array_that_would_lose_its_bounds_is_refused_and_the_hint_runs_as_pasted() {
    let database = company();
    // A row of nobody's, which may run empty.
    database.execute(
        r#"INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
           VALUES ('p-''3', '[0:0]={gone}')"#,
    );
    let before = servers(&database);
    let ran = run_on(database.url(), &FIX).exits(4).says(
        r#"column "mcp_servers" of "LiteLLM_ObjectPermissionTable" begins at element 0 in row p-'3"#,
    );
    assert_eq!(servers(&database), before);
    let (_, command) = ran
        .stderr
        .split_once("which LiteLLM reads alike: ")
        .unwrap();
    database.execute(command.trim());
    run_on(database.url(), &FIX).exits(0);
    assert_eq!(servers(&database)[..1], ["p-'3 {}"]);
}

/// The names of a placeholder, of an operator and of nothing, in every table that is read and in
/// one that is read for its link alone.
#[test]
fn a_brace_in_a_name_is_a_brace() {
    let database = company();
    for table in [
        "LiteLLM_ObjectPermissionTable",
        "LiteLLM_MCPUserCredentials",
        "LiteLLM_AccessGroupTable",
        "LiteLLM_MCPServerTable",
        "LiteLLM_TeamTable",
    ] {
        let columns = ["{key}", "{=}", "{schema}", "{", "{columns} {rest}"];
        let columns = columns.map(|name| format!(r#"ADD "{name}" text DEFAULT 'as it was'"#));
        database.execute(&format!(r#"ALTER TABLE "{table}" {}"#, columns.join(", ")));
    }
    database.load(
        r#"CREATE TABLE "{table} {all}" ("object_permission_id" text);
           INSERT INTO "LiteLLM_MCPUserCredentials" ("id", "user_id", "server_id", "credential_b64")
               VALUES ('c-1', 'ada', 'gone', 'x');
           CREATE FUNCTION idle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
           CREATE TRIGGER idle AFTER UPDATE ON "LiteLLM_ObjectPermissionTable"
               FOR EACH ROW EXECUTE FUNCTION idle();
           CREATE TRIGGER idle AFTER DELETE ON "LiteLLM_MCPUserCredentials"
               FOR EACH ROW EXECUTE FUNCTION idle()"#,
    );
    let sites = "permissions,access-groups,credentials";
    run_on(
        database.url(),
        &["scan", "--no-config-servers", "--sites", sites],
    )
    .exits(2);
    let more = ["--delete-rows", "--sites", sites];
    run_on(database.url(), &[&FIX[..], &more].concat()).exits(0);
    let rows = r#"SELECT array_to_string("mcp_servers", ' ') || ', ' || "{key}"
                  FROM "LiteLLM_ObjectPermissionTable" ORDER BY "object_permission_id""#;
    assert_eq!(
        database.texts(rows),
        ["live, as it was", "github, as it was"]
    );
    let credentials = r#"SELECT "id" FROM "LiteLLM_MCPUserCredentials""#;
    assert_eq!(database.texts(credentials), [""; 0]);
}
