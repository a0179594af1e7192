//! Decides what to do about the findings: plain values and functions, no I/O.

pub(crate) mod access_comparison;
#[cfg(test)]
pub(crate) mod access_unchanged_test;
pub(crate) mod baseline;
pub(crate) mod caller_rows;
pub(crate) mod changeset;
pub(crate) mod conflict;
pub(crate) mod credentials_change;
pub(crate) mod credentials_conflict;
pub(crate) mod credentials_plan;
pub(crate) mod empty_lists;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod proposed_lists;
pub(crate) mod recorded_owner;
pub(crate) mod repaired_column;
pub(crate) mod script_code;
pub(crate) mod selection;
pub(crate) mod undone_runs;
