//! What the operator asked of a repair, out of the options, and what cannot be asked.

use std::collections::BTreeMap;

use anyhow::Context as _;

use crate::cli::{EmptyArgs, OnEmpty, RepairArgs};
use crate::failure::{Failure, Kind};
use crate::repair::policy::{self, Policy};

impl EmptyArgs {
    /// What the operator asked for.
    pub(super) fn policy(&self) -> Result<Policy, Failure> {
        let usage = |message: &str| Err(Failure::new(Kind::Usage, message));
        let accept_narrowing = self.accept_narrowing;
        let on_empty = match self.on_empty {
            OnEmpty::Deny if self.accept_widening => {
                return usage("--accept-widening goes with --on-empty clear");
            }
            OnEmpty::Hold if self.accept_narrowing || self.accept_widening => {
                return usage(
                    "--accept-narrowing goes with --on-empty deny, and --accept-widening with \
                     --on-empty clear",
                );
            }
            OnEmpty::Clear if self.accept_narrowing => {
                return usage("--accept-narrowing goes with --on-empty deny");
            }
            OnEmpty::Clear if !self.accept_widening => {
                return Err(Failure::new(
                    Kind::Usage,
                    "--on-empty clear lets owners inherit servers or lifts their ceilings",
                )
                .hint("scan shows what each would gain; say --accept-widening if that is wanted"));
            }
            OnEmpty::Hold => policy::OnEmpty::Hold,
            OnEmpty::Deny => policy::OnEmpty::Deny { accept_narrowing },
            OnEmpty::Clear => policy::OnEmpty::Clear,
        };
        Ok(Policy { on_empty })
    }
}

impl RepairArgs {
    /// What the operator says that deleted servers are by now.
    pub(super) fn remaps(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut pairs = self.remap.clone();
        if let Some(path) = &self.remap_file {
            let cannot = || format!("cannot read --remap-file {}", path.display());
            let mut reader = csv::Reader::from_path(path).with_context(cannot)?;
            if reader.headers().with_context(cannot)? != vec!["old", "new"] {
                return Err(Failure::new(Kind::Error, cannot())
                    .hint("its first line must be the header: old,new"));
            }
            for pair in reader.deserialize() {
                pairs.push(pair.with_context(cannot)?);
            }
        }
        let mut remaps = BTreeMap::new();
        for (old, new) in pairs {
            if remaps
                .insert(old.clone(), new.clone())
                .is_some_and(|other| other != new)
            {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("{old} is remapped twice, to different servers"),
                ));
            }
        }
        Ok(remaps)
    }
}
