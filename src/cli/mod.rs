//! The command line: what the user may say, nothing about how it is done.

pub(crate) mod connection;
pub(crate) mod filters;
pub(crate) mod option_rules;
pub(crate) mod output;
pub(crate) mod repair;
pub(crate) mod servers;

use crate::cli::filters::Sites;
use crate::litellm::reference_sites::Group;

impl From<Sites> for Group {
    fn from(sites: Sites) -> Self {
        match sites {
            Sites::Permissions => Self::Permissions,
            Sites::AccessGroups => Self::AccessGroups,
            Sites::Toolsets => Self::Toolsets,
            Sites::Defaults => Self::Defaults,
            Sites::Credentials => Self::Credentials,
        }
    }
}
