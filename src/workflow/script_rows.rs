//! Makes the script of `fix --dry-run --format sql`, and the one that takes it back: reads what a
//! script compares, for the rows that a dry run writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::db::repair_script;
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::db::verification::Verification;
use crate::error::{ErrorKind, Failure};
use crate::litellm::deleted_servers::{DeletedServer, ServerPlace};
use crate::litellm::reference_sites::{Group, SiteTable};
use crate::litellm::server_catalog::ServerCatalog;
use crate::process::print::cannot_put_aside;
use crate::repair::changeset::RowChange;
use crate::repair::plan::RowPlan;
use crate::repair::policy::OnEmpty;
use crate::repair::script_code::ServerCheck;
use crate::report::sql_script::{RowDigests, SqlScript};
use crate::workflow::changeset_file::now;
use crate::workflow::planner::Planner;

/// Which scripts are made, and how long they may wait and work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scripts {
    /// Whether there is one that takes the other back.
    pub(crate) take_back: bool,
    /// How long to wait for the lock of a table.
    pub(crate) lock_timeout: Duration,
    /// How long all of a script may take; zero for no limit.
    pub(crate) time_limit: Duration,
}

/// Reads the rows of a script while a dry run plans and writes them.
#[derive(Debug)]
pub(crate) struct ScriptRowReader {
    script: SqlScript,
    /// The digests of the owners of some rows of one table, by key.
    owners: BTreeMap<String, String>,
    /// The names of servers that have no row.
    config: BTreeSet<String>,
}

impl ScriptRowReader {
    /// Begins the scripts.
    pub(crate) fn begin(
        scripts: Scripts,
        schema: &Schema,
        catalog: &ServerCatalog,
        verification: &Verification,
    ) -> Self {
        let Scripts {
            take_back,
            lock_timeout,
            time_limit,
        } = scripts;
        let limit = (!time_limit.is_zero()).then(|| format!("{} s", time_limit.as_secs_f64()));
        let limits = (lock_timeout.as_millis().to_string(), limit);
        let code = |check| repair_script::code(schema, verification, check);
        let take_back = take_back.then(|| code(ServerCheck::LeftOut));
        let mut script = SqlScript::new(now(), limits, code(ServerCheck::Made), take_back);
        let deleted = catalog.deleted().iter();
        let rows = deleted.filter(|server| server.place == ServerPlace::Database);
        let ids = rows.flat_map(|DeletedServer { ids, .. }| ids.iter().cloned());
        script.left_out = ids.collect();
        script.no_servers = catalog.rows() == 0;
        let config = catalog.config().servers().iter();
        let config = config.flat_map(|server| server.ids.iter().chain(&server.names).cloned());
        Self {
            script,
            owners: BTreeMap::new(),
            config: config.collect(),
        }
    }

    /// Reads who owns the next rows of a table.
    pub(crate) async fn begin_rows(
        &mut self,
        connection: &mut Connection,
        schema: &Schema,
        table: &SiteTable,
        keys: &[String],
    ) -> Result<(), Failure> {
        self.owners.clear();
        if table.group == Group::Permissions {
            self.owners = repair_script::read_owners(connection, schema, keys).await?;
        }
        Ok(())
    }

    /// Adds the rows that are written. They must not be written yet.
    pub(crate) async fn add(
        &mut self,
        connection: &mut Connection,
        schema: &Schema,
        table: &'static SiteTable,
        plans: &[RowPlan],
        changes: &[RowChange],
    ) -> Result<(), Failure> {
        let keys: Vec<String> = changes
            .iter()
            .map(|change| change.key().to_owned())
            .collect();
        let beside = repair_script::read_beside(connection, schema, table, &keys).await?;
        let mut changes = changes.iter().peekable();
        for plan in plans {
            self.script.count_held(plan);
            let Some(change) = changes.next_if(|change| change.key() == plan.audit.row) else {
                continue;
            };
            let owners = self.owners.get(change.key()).map_or("", String::as_str);
            let digests = RowDigests {
                beside: beside.get(change.key()).map(String::as_str),
                owners: (table.group == Group::Permissions).then_some(owners),
            };
            let has_row = |new: &str| !self.config.contains(new);
            let added = self.script.add(plan, change, digests, has_row);
            added.map_err(cannot_put_aside)?;
        }
        Ok(())
    }

    /// Finishes the scripts, if there are any: reads the servers, if what becomes of lists was
    /// decided by them.
    pub(crate) async fn finish(
        this: Option<Self>,
        connection: &mut Connection,
        planner: &Planner<'_>,
    ) -> Result<Option<SqlScript>, Failure> {
        let Some(Self { mut script, .. }) = this else {
            return Ok(None);
        };
        if planner.policy.on_empty != OnEmpty::Hold {
            let left_out = &script.left_out;
            let servers = repair_script::read_servers(connection, planner.schema, left_out);
            script.servers_then = Some(servers.await?);
        }
        Ok(Some(script))
    }
}

/// Builds the error for credentials, of which no script is made.
pub(crate) fn refuse_credentials() -> Failure {
    Failure::new(
        ErrorKind::Refused,
        "no script deletes credentials: it would show what users stored; no script was made",
    )
    .hint("carry out the plan with fix --plan, or plan the other sites alone")
}
