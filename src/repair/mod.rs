//! Decides what to do about the findings: plain values and functions, no I/O.

pub mod changeset;
pub mod compare;
pub mod plan;
pub mod policy;
pub mod selection;
#[cfg(test)]
mod unchanged;
