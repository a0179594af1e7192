//! Databases and values that the tests of several files begin with.

use crate::program::repository;
use crate::server::TestDatabase;

/// A URL at which nothing listens. Its password must not be shown anywhere.
pub(crate) const NOWHERE: &str = "postgresql://u:s3cret@127.0.0.1:1/litellm";

/// The id of a server that is there.
pub(crate) const LIVE: &str = "0b8f8e0c-2f5d-4a51-9a35-1f4a1c9f7d10";

/// The id of a deleted server.
pub(crate) const GONE: &str = "f0e1d2c3-b4a5-4687-9788-99aabbccddee";

/// Reads a script of `fixtures/`: `demo`, `schema` or one of `cases/`.
pub(crate) fn script(name: &str) -> String {
    std::fs::read_to_string(repository(&format!("fixtures/{name}.sql"))).unwrap()
}

/// Makes a database from `fixtures/demo.sql`.
pub(crate) fn demo() -> TestDatabase {
    let database = TestDatabase::empty();
    database.load(&script("demo"));
    database
}

/// Makes a database with LiteLLM's tables and the rows of a script of `fixtures/cases`.
pub(crate) fn case(name: &str) -> TestDatabase {
    TestDatabase::with(&script(&format!("cases/{name}")))
}

/// A script that the embedded server loads cannot include another one, and the README's first
/// command loads the demo alone.
#[test]
fn the_demo_has_the_tables_of_the_schema() {
    let (demo, schema) = (script("demo"), script("schema"));
    let first_table = schema.find("CREATE TABLE ").unwrap();
    let (_, tables) = schema.split_at(first_table);
    assert!(
        demo.contains(tables),
        "copy the tables of schema.sql into demo.sql"
    );
    assert_eq!(
        demo.matches("CREATE TABLE ").count(),
        schema.matches("CREATE TABLE ").count()
    );
}
