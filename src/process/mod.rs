//! This process: signals, standard error, the prompt, and where a report goes.

pub(crate) mod atomic_file;
pub(crate) mod command_args;
pub(crate) mod database_url;
pub(crate) mod display_options;
pub(crate) mod formats;
pub(crate) mod invocation;
pub(crate) mod key_file;
pub(crate) mod litellm_variables;
pub(crate) mod log;
pub(crate) mod metrics_file;
pub(crate) mod print;
pub(crate) mod progress;
pub(crate) mod prompt;
pub(crate) mod report_sink;
pub(crate) mod shown_command_line;
pub(crate) mod shown_url;
pub(crate) mod signals;
pub(crate) mod stderr;
pub(crate) mod text_file;
