//! So many stale rows that the owners of all of them are read at once and put aside.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::program::run_on;
use crate::server::TestDatabase;

/// Stale rows, one after the other: more than eight parts of the rows of a script.
const STALE: u32 = 80_002;

const GONE: &str = "d7c3f1a8-0e6b-4a92-85d4-1b7e3c9f6a04";

/// Rows before them that have owners too, of which one in 17 is stale.
const OTHERS: u32 = 5_000;

/// The plan of a repair names the owners of each row.
#[test]
fn the_owners_of_very_many_rows_are_those_who_link_to_them() {
    let all = STALE + OTHERS;
    let database = TestDatabase::with(&format!(
        r#"INSERT INTO "LiteLLM_MCPServerTable" ("server_id") VALUES ('id-1');
        INSERT INTO "LiteLLM_ObjectPermissionTable" ("object_permission_id", "mcp_servers")
        SELECT md5('row ' || n), CASE WHEN n % 17 = 0 OR n > {OTHERS} THEN ARRAY['id-1', '{GONE}']
                                      ELSE ARRAY['id-1'] END
        FROM generate_series(1, {all}) AS n;
        INSERT INTO "LiteLLM_VerificationToken" ("token", "key_alias", "object_permission_id")
        SELECT md5('a' || n) || md5('b' || n), 'key-' || n, md5('row ' || n)
        FROM generate_series(1, {all}) AS n WHERE n % 3 > 0;
        INSERT INTO "LiteLLM_VerificationToken" ("token", "key_alias", "object_permission_id")
        SELECT md5('c' || n) || md5('d' || n), 'more-' || n, md5('row ' || n)
        FROM generate_series(1, {all}, 10) AS n;
        INSERT INTO "LiteLLM_TeamTable" ("team_id", "team_alias", "object_permission_id")
        SELECT 'team-' || n, 'alias-' || n, md5('row ' || n)
        FROM generate_series(1, {all}, 100) AS n;
        ANALYZE;"#
    ));
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan");
    let plan_out = ["--plan-out", plan.to_str().unwrap()];
    let fix = ["fix", "--dry-run", "--format", "sql", "-vv"];
    let ran = run_on(database.url(), &[&fix[..], &plan_out].concat()).exits(2);
    let reads_everybody = ran.stderr.contains(") AS o WHERE o.link IS NOT NULL");
    assert!(reads_everybody, "the owners were not read at once");
    let plan = std::fs::read_to_string(plan).unwrap();
    let lines = plan.lines().map(|line| serde_json::from_str(line).unwrap());
    let changes = lines.filter(|line: &Value| line["type"] == "row");
    let planned: BTreeMap<String, String> = changes
        .map(|change| {
            let owners = change["owners"].as_array().map(Vec::as_slice);
            let names = owners
                .unwrap_or_default()
                .iter()
                .map(|owner| &owner["name"]);
            let mut names: Vec<&str> = names.map(|name| name.as_str().unwrap()).collect();
            names.sort_unstable();
            (change["key"].as_str().unwrap().to_owned(), names.join(" "))
        })
        .collect();
    assert!(planned.len() > STALE as usize, "{}", planned.len());
    let linked = database.texts(&format!(
        r#"SELECT p."object_permission_id" || ' ' || coalesce(string_agg(o.name, ' ' ORDER BY o.name COLLATE "C"), '')
           FROM "LiteLLM_ObjectPermissionTable" AS p
           LEFT JOIN (SELECT "key_alias" AS name, "object_permission_id" FROM "LiteLLM_VerificationToken"
                      UNION ALL
                      SELECT "team_alias", "object_permission_id" FROM "LiteLLM_TeamTable") AS o
                USING ("object_permission_id")
           WHERE '{GONE}' = ANY (p."mcp_servers") GROUP BY p."object_permission_id""#
    ));
    assert_eq!(linked.len(), planned.len());
    for row in linked {
        let (key, names) = row.split_once(' ').unwrap();
        assert_eq!(planned[key], names, "{key}");
    }
}
