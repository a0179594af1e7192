//! Databases and values that the tests of several files begin with.

use crate::program::repository;
use crate::server::TestDatabase;

/// A URL at which nothing listens. Its password must not be shown anywhere.
pub(crate) const NOWHERE: &str = "postgresql://u:s3cret@127.0.0.1:1/litellm";

/// The id of a deleted server.
pub(crate) const GONE: &str = "f0e1d2c3-b4a5-4687-9788-99aabbccddee";

/// Makes a database from `fixtures/demo.sql`.
pub(crate) fn demo() -> TestDatabase {
    let database = TestDatabase::empty();
    database.load(&std::fs::read_to_string(repository("fixtures/demo.sql")).unwrap());
    database
}

/// Makes a database with LiteLLM's tables and the rows of a script of `fixtures/cases`.
pub(crate) fn case(name: &str) -> TestDatabase {
    let script = std::fs::read_to_string(repository(&format!("fixtures/cases/{name}.sql")));
    TestDatabase::with(&script.unwrap())
}
