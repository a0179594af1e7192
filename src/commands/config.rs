//! The `config.yaml` files that the operator names, read with what they include.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Kind};
use crate::litellm::config::{self, ConfigError, ConfigServer, Derivation, Mapping};

/// A file with everything it includes merged into it.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    config: Mapping,
}

impl ConfigFile {
    /// Reads a file and what it includes, however deep; a file is read once.
    ///
    /// A name is relative to the file that holds it, else to the first file.
    ///
    /// Source: LiteLLM 1.109.1 `common_utils/config_includes.py`, `resolve_includes` and
    /// `resolve_include_file_path`.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let mut config = parse(path)?;
        let mut pending = includes(path, &config)?;
        let mut read = BTreeSet::from([absolute(path)?]);
        while !pending.is_empty() {
            let (name, declared_in) = pending.remove(0);
            let beside = folder(&declared_in).join(&name);
            let beside_first = folder(path).join(&name);
            let file = if !beside.exists() && beside_first.exists() {
                beside_first
            } else {
                beside
            };
            if !read.insert(absolute(&file)?) {
                continue;
            }
            let included = parse(&file)?;
            pending.extend(includes(&file, &included)?);
            config::merge(&mut config, included);
        }
        Ok(Self {
            path: path.to_owned(),
            config,
        })
    }

    /// Returns the file that the operator named.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The servers of the file; `os.environ/` is this process's environment.
    pub(crate) fn servers(&self, derivation: Derivation) -> Result<Vec<ConfigServer>, Failure> {
        let env = |name: &str| std::env::var(name).ok();
        config::servers(&self.config, derivation, &env).map_err(|error| told(&self.path, &error))
    }
}

fn parse(path: &Path) -> Result<Mapping, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(
            Kind::Error,
            format!("cannot read {}: {error}", path.display()),
        )
    })?;
    config::parse(&text).map_err(|error| told(path, &error))
}

fn includes(path: &Path, config: &Mapping) -> Result<Vec<(String, PathBuf)>, Failure> {
    let names = config::includes(config).map_err(|error| told(path, &error))?;
    Ok(names
        .into_iter()
        .map(|name| (name, path.to_owned()))
        .collect())
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        Failure::new(
            Kind::Error,
            format!("cannot read {}: {error}", path.display()),
        )
    })
}

fn told(path: &Path, error: &ConfigError) -> Failure {
    let place: &dyn Display = &path.display();
    let message = match error.at {
        Some((line, column)) => format!("{place}:{line}:{column}: {}", error.message),
        None => format!("{place}: {}", error.message),
    };
    Failure::new(Kind::Error, message)
        .hint("give --litellm-config the file that the proxy is started with")
}
