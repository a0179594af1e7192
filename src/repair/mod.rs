//! Decides what to do about the findings: plain values and functions, no I/O.

#[cfg(test)]
pub(crate) mod access_unchanged_test;
pub(crate) mod changeset;
pub(crate) mod conflict;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod selection;
