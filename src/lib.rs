//! Finds and repairs stale MCP-server references in a LiteLLM proxy's PostgreSQL database.
//!
//! Data flows one way: `db` loads, `litellm` tells what it means, `repair` decides, `db` applies,
//! `report` renders. A file of `commands` is the pipe of one subcommand; what several share is in
//! `workflow`, what concerns this process in `process`, and what the user may say in `cli`.

mod build_info;
mod cli;
mod command_line;
mod commands;
mod database;
mod db;
mod error;
mod exit_code;
mod litellm;
mod printable;
mod process;
mod prose;
mod redis;
mod repair;
mod report;
mod shell;
mod usage_message;
mod workflow;

pub use self::commands::run;

/// What the integration tests need of the inside. No promise is made about it.
#[doc(hidden)]
pub mod testing {
    pub use crate::cli::output::Format;
    pub use crate::commands::{Cli, Invocation, run_unaccepted_fix};
    pub use crate::db::connect::Target;
    #[cfg(feature = "embedded")]
    pub use crate::db::embedded::Embedded;
    pub use crate::db::purpose::Purpose;
    pub use crate::db::session::{Session, Timeouts};
    pub use crate::error::ErrorKind;
    pub use crate::litellm::api_key::hash;
    pub use crate::litellm::reference_sites::{Choice, Group, TABLES};
    pub use crate::report::sql_literal::{SqlLiteral, in_comment};
}
