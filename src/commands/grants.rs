//! `grants`: prints the least privileges that a role needs on this very database.

use super::asked::places;
use super::run::Run;
use super::{Interrupt, manual};
use crate::cli::{GrantsArgs, GrantsFor};
use crate::db::schema::Purpose;
use crate::exit::Outcome;
use crate::failure::Failure;

/// Runs `grants`.
///
/// # Errors
///
/// Why the database could not be read or the answer not be printed.
pub async fn run(args: &GrantsArgs, run: &Run) -> Result<Outcome, Failure> {
    let mut interrupt = Interrupt::listen()?;
    let asking = async {
        let mut session = args
            .connection
            .open(args.connection.statement_timeout, run)
            .await?;
        let database = session.database().clone();
        let places = places(&args.sites, false);
        let mut open = session.begin(Purpose::Read, &places).await?;
        let (_, schema) = open.parts();
        let purpose = match args.purpose {
            GrantsFor::Scan => Purpose::Read,
            GrantsFor::Fix => Purpose::Write,
        };
        let grants = schema.grants(&database, purpose, &args.role);
        open.rollback().await?;
        session.close().await;
        Ok(grants)
    };
    let grants = interrupt.guard(Box::pin(asking)).await?;
    manual::printed(format!("{}\n", grants.join("\n")).as_bytes())
}
