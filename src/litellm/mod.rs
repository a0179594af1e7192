//! What LiteLLM stores and how it reads it: plain values and functions, no I/O.
//!
//! A comment that begins with "Source: LiteLLM" cites a release and a file below `litellm/` of its
//! wheel, such as `proxy/mcp_server/db.py`, and often a function in it. Before 1.109.0 the folder
//! `proxy/mcp_server/` was `proxy/_experimental/mcp_server/`.

pub mod access;
pub mod api_key;
pub mod caches;
pub mod config;
pub mod emptied;
pub mod finding;
pub mod marker;
pub mod notes;
pub mod owners;
pub mod release;
pub mod row;
#[cfg(test)]
pub(crate) mod samples;
pub mod server;
pub mod sites;
