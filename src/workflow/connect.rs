//! Connects to the database that the operator named.

use std::time::Duration;

use anyhow::Context as _;

use crate::cli::connection::ConnectionArgs;
use crate::db::connect::Target;
use crate::db::session::{Session, Timeouts};
use crate::error::Failure;
use crate::process::invocation::Run;
use crate::process::progress::Progress;
use crate::process::stderr::{note, warn};

impl ConnectionArgs {
    /// Finds the database that the operator named. The file with its URL may be a pipe that nobody
    /// writes to, so it is read where a signal can end the wait.
    pub(crate) async fn find_target(&self) -> Result<Target, Failure> {
        let args = self.clone();
        let reading = tokio::task::spawn_blocking(move || args.target());
        reading.await.context("cannot find the database's URL")?
    }

    /// Connects to the database that the operator named, and prints which it is.
    ///
    /// `lock` is the longest wait for the lock of one table.
    pub(crate) async fn open(&self, lock: Duration, run: &Run) -> Result<Session, Failure> {
        let timeouts = Timeouts {
            lock,
            statement: self.statement_timeout,
        };
        let target = self.find_target().await?.of_run(run.id());
        if let Target::Server(server) = &target {
            server.warnings().iter().for_each(warn);
        }
        let progress = Progress::begin("connecting");
        let opening = Session::open(target, self.schema.clone(), timeouts);
        let session = Box::pin(opening).await?;
        drop(progress);
        session.warning().iter().for_each(warn);
        note(session.database());
        Ok(session)
    }
}
