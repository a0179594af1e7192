//! What LiteLLM stores and how it reads it: plain values and functions, no I/O.
//!
//! Paths in comments are below `litellm/proxy/` of the LiteLLM release named.

pub mod access;
pub mod api_key;
pub mod caches;
pub mod config;
pub mod emptied;
pub mod finding;
pub mod last_grant;
pub mod marker;
pub mod notes;
pub mod owners;
pub mod release;
pub mod row;
#[cfg(test)]
pub(crate) mod samples;
pub mod server;
pub mod sites;
