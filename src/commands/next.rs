//! The options to repeat in the command that a report says is next, so that it does what was shown.

use std::path::Path;

use crate::cli::{FixArgs, PlaceArgs, PreviousArgs, ScanArgs, ServerArgs};
use crate::report::markdown::quoted;

impl ScanArgs {
    /// The options of the repair of what was found; `None` where it needs none.
    pub(super) fn next(&self) -> Option<String> {
        let mut words = Words::default();
        self.previous.repeat(&mut words);
        self.servers.repeat(&mut words);
        self.places.repeat(&mut words);
        words.joined()
    }
}

impl FixArgs {
    /// The options of carrying out a plan made with these; all others are in the plan.
    pub(super) fn next(&self) -> Option<String> {
        let mut words = Words::default();
        self.servers.repeat(&mut words);
        words.joined()
    }
}

impl PreviousArgs {
    fn repeat(&self, words: &mut Words) {
        for path in &self.previous_litellm_config {
            words.file("--previous-litellm-config", path);
        }
    }
}

impl ServerArgs {
    fn repeat(&self, words: &mut Words) {
        for path in &self.litellm_config {
            words.file("--litellm-config", path);
        }
        if self.no_config_servers {
            words.0.push("--no-config-servers".to_owned());
        }
        for reference in &self.keep {
            words.option("--keep", reference);
        }
    }
}

impl PlaceArgs {
    fn repeat(&self, words: &mut Words) {
        let sites = self
            .sites
            .iter()
            .filter_map(clap::ValueEnum::to_possible_value);
        let sites: Vec<String> = sites.map(|site| site.get_name().to_owned()).collect();
        if !sites.is_empty() {
            words.option("--sites", &sites.join(","));
        }
        for owner in &self.owner {
            words.option("--owner", &owner.argument());
        }
        for reference in &self.reference {
            words.option("--reference", reference);
        }
        for row in &self.row {
            words.option("--row", row);
        }
    }
}

#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    /// An option and its value, as a shell takes them.
    fn option(&mut self, option: &str, value: &str) {
        self.0.push(format!("{option} {}", quoted(value)));
    }

    fn file(&mut self, option: &str, path: &Path) {
        self.option(option, &path.display().to_string());
    }

    fn joined(self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.join(" "))
    }
}
