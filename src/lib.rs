//! Finds and repairs stale MCP-server references in a LiteLLM proxy's PostgreSQL database.
//!
//! Data flows one way: [`db`] loads, [`litellm`] tells what it means, [`repair`] decides, [`db`]
//! applies, [`report`] renders. [`commands`] is the pipe between them.

pub mod cli;
pub mod commands;
pub mod db;
pub mod diagnosis;
pub mod exit;
pub mod failure;
pub mod litellm;
pub mod notify;
mod printable;
mod prose;
pub mod repair;
pub mod report;
pub mod shell;
pub mod usage_message;
