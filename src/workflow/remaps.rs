//! Reads the remaps of `--remap` and `--remap-file`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cli::repair::RepairArgs;
use crate::error::{ErrorKind, Failure};
use crate::litellm::api_key::may_be_a_key;
use crate::workflow::csv_error::csv_reason;

/// The form of `--remap-file`.
const TWO_VALUES: &str =
    "after the header old,new each line names a deleted server and the one that replaces it";

impl RepairArgs {
    /// Returns the server that replaces each deleted one, from `--remap` and `--remap-file`.
    pub(crate) fn remaps(&self) -> Result<BTreeMap<String, String>, Failure> {
        let given = self.remap.iter().map(|(old, new)| Remap {
            place: "--remap".to_owned(),
            old: old.clone(),
            new: new.clone(),
        });
        let mut given: Vec<Remap> = given.collect();
        if let Some(path) = &self.remap_file {
            given.extend(read_remaps(path)?);
        }
        let mut remaps: BTreeMap<String, &Remap> = BTreeMap::new();
        for remap in &given {
            let first = remaps.entry(remap.old.clone()).or_insert(remap);
            if first.new != remap.new {
                let message = format!(
                    "{} and {} remap {} to different servers, {} and {}",
                    first.place, remap.place, remap.old, first.new, remap.new
                );
                let hint = "leave one of them out: one server replaces a deleted one";
                return Err(Failure::new(ErrorKind::Usage, message).hint(hint));
            }
        }
        let remaps = remaps.into_iter();
        let remaps = remaps
            .map(|(old, remap)| (old, remap.new.clone()))
            .collect();
        Ok(remaps)
    }
}

/// A deleted server, and the server that replaces it.
struct Remap {
    /// The option, or the line of the file, as errors name it.
    place: String,
    old: String,
    new: String,
}

/// Reads the lines of `--remap-file`.
fn read_remaps(path: &Path) -> Result<Vec<Remap>, Failure> {
    let file = format!("--remap-file {}", path.display());
    let failed = |error: csv::Error| {
        let message = format!("cannot read {file}: {}", csv_reason(&error));
        let failure = Failure::new(ErrorKind::Error, message);
        if error.is_io_error() {
            failure
        } else {
            failure.hint(TWO_VALUES)
        }
    };
    let mut reader = csv::Reader::from_path(path).map_err(failed)?;
    if reader.headers().map_err(failed)? != vec!["old", "new"] {
        return Err(
            Failure::new(ErrorKind::Error, format!("cannot read {file}"))
                .hint("its first line must be the header: old,new"),
        );
    }
    let mut remaps = Vec::new();
    for record in reader.records() {
        let record = record.map_err(failed)?;
        let (old, new): (String, String) = record.deserialize(None).map_err(failed)?;
        let line = record.position().map_or(0, csv::Position::line);
        let place = format!("line {line} of {file}");
        if may_be_a_key(&old) || may_be_a_key(&new) {
            let message = format!("{place} names a key, which is not shown");
            return Err(Failure::new(ErrorKind::Error, message)
                .hint("a server has an id, an alias or a name; keys stay out of such files"));
        }
        if old.is_empty() || new.is_empty() || old == new {
            let message = format!("{place} does not name two different servers");
            return Err(Failure::new(ErrorKind::Error, message).hint(TWO_VALUES));
        }
        remaps.push(Remap { place, old, new });
    }
    Ok(remaps)
}
