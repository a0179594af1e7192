//! The command line: what the user may say, nothing about how it is done.

pub(crate) mod connection;
pub(crate) mod filters;
pub(crate) mod journals;
pub(crate) mod numbers;
pub(crate) mod option_rules;
pub(crate) mod output;
pub(crate) mod repair;
pub(crate) mod servers;
pub(crate) mod site_variables;
pub(crate) mod verbosity;
