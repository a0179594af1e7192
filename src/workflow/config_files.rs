//! The `config.yaml` files that the operator names, read with what they include.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::cli::servers::LITELLM_CONFIG;
use crate::error::{ErrorKind, Failure};
use crate::litellm::config::{Config, ConfigError, ConfigServer, Derivation, Remedy};
use crate::process::text_file::read_text;
use crate::shell::quoted;

/// Where the path of a config comes from, as errors name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathSource {
    /// `--litellm-config`.
    Option,
    /// `MCP_PRUNE_LITELLM_CONFIG`.
    Variable,
    /// `--previous-litellm-config`.
    Previous,
}

impl fmt::Display for PathSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Option => "--litellm-config",
            Self::Variable => LITELLM_CONFIG,
            Self::Previous => "--previous-litellm-config",
        })
    }
}

/// Returns the configs to read: those of the option, else those of `MCP_PRUNE_LITELLM_CONFIG`.
pub(crate) fn config_paths(of_option: &[PathBuf]) -> Vec<(PathSource, PathBuf)> {
    if !of_option.is_empty() {
        let paths = of_option.iter().cloned();
        return paths.map(|path| (PathSource::Option, path)).collect();
    }
    let variable = std::env::var_os(LITELLM_CONFIG).unwrap_or_default();
    let paths = std::env::split_paths(&variable).filter(|path| !path.as_os_str().is_empty());
    paths.map(|path| (PathSource::Variable, path)).collect()
}

/// A file with everything it includes merged into it.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    source: PathSource,
    path: PathBuf,
    config: Config,
}

impl ConfigFile {
    /// Tells whether a setting of a section is switched on.
    pub(crate) fn is_on(&self, section: &str, setting: &str) -> bool {
        self.config.is_on(section, setting)
    }

    /// Reads a file, the files that it includes, and those that they include. Each is read once.
    ///
    /// An included name is relative to the file that includes it, or else to the first file.
    ///
    /// # Errors
    ///
    /// Fails where a file cannot be read, or the first is not a config of LiteLLM.
    ///
    /// Source: LiteLLM 1.109.1 `proxy/common_utils/config_includes.py`, `resolve_includes` and
    /// `resolve_include_file_path`.
    pub(crate) fn read(source: PathSource, path: &Path) -> Result<Self, Failure> {
        let told = |path: &Path, error: &ConfigError| told(source, path, error);
        let mut config =
            Config::parse(&text(source, path, None)?).map_err(|error| told(path, &error))?;
        let mut pending = includes(source, path, &config)?;
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
            let included = Config::parse_included(&text(source, &file, Some(&declared_in))?)
                .map_err(|error| told(&file, &error))?;
            pending.extend(includes(source, &file, &included)?);
            config.merge(&included);
        }
        config
            .ensure_litellm()
            .map_err(|error| told(path, &error))?;
        Ok(Self {
            source,
            path: path.to_owned(),
            config,
        })
    }

    /// Returns the file that the operator named.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the servers of the file, with `os.environ/` resolved in this process's environment.
    ///
    /// # Errors
    ///
    /// Fails where LiteLLM would not start with the file.
    pub(crate) fn servers(&self, derivation: Derivation) -> Result<Vec<ConfigServer>, Failure> {
        let env = |name: &str| std::env::var(name).ok();
        let servers = self.config.servers(derivation, &env);
        servers.map_err(|error| told(self.source, &self.path, &error))
    }
}

/// Reads a file that the operator names, or that another one includes.
fn text(source: PathSource, path: &Path, included_by: Option<&Path>) -> Result<String, Failure> {
    read_text(path).map_err(|error| {
        let by = match included_by {
            Some(file) => format!("{} includes", file.display()),
            None => format!("{source} names"),
        };
        let message = format!("cannot read {}, which {by}: {error}", path.display());
        Failure::new(ErrorKind::Error, message)
    })
}

fn includes(
    source: PathSource,
    path: &Path,
    config: &Config,
) -> Result<Vec<(String, PathBuf)>, Failure> {
    let names = config.includes();
    let names = names.map_err(|error| told(source, path, &error))?;
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
            ErrorKind::Error,
            format!("cannot read {}: {error}", path.display()),
        )
    })
}

/// The file that the command of [`extract`] writes.
const EXTRACTED: &str = "extracted-litellm-config.yaml";

fn told(source: PathSource, path: &Path, error: &ConfigError) -> Failure {
    let place = path.display();
    let message = match error.at {
        Some((line, column)) => format!("{place}:{line}:{column}: {}", error.message),
        None => format!("{place}: {}", error.message),
    };
    let hint = match &error.remedy {
        None => format!("{source} must name the file that the proxy is started with"),
        Some(Remedy::Advice(advice)) => advice.clone(),
        Some(Remedy::Extract(keys)) => format!(
            "take the config out and give {EXTRACTED} instead (needs PyYAML):\n  {}",
            extract(path, keys)
        ),
    };
    Failure::new(ErrorKind::Error, message).hint(hint)
}

/// Returns the command that takes a config out of another file.
fn extract(path: &Path, keys: &[String]) -> String {
    let words = [path.display().to_string()];
    let words: Vec<String> = words.iter().chain(keys).map(quoted).collect();
    format!(
        "python3 -c 'import functools, sys, yaml; \
         v = functools.reduce(dict.get, sys.argv[2:], yaml.safe_load(open(sys.argv[1]))); \
         print(v if isinstance(v, str) else yaml.safe_dump(v))' {} > {EXTRACTED}",
        words.join(" ")
    )
}
