//! Reads from the options at which sites and rows a command looks, and refuses a filter that fits
//! none.

use std::collections::BTreeSet;

use crate::cli::filters::{FilterArgs, Sites};
use crate::command_line::CommandLine;
use crate::database::Database;
use crate::db::lookup;
use crate::db::named_owners::{self, Meant};
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::error::{ErrorKind, Failure};
use crate::litellm::reference_sites::Choice;
use crate::printable::one_line;
use crate::repair::selection::{NamedOwner, Selection};
use crate::shell::quoted;

/// Returns the sites that `--sites` names, or the `usual` ones where it names none.
pub(crate) fn chosen_sites(sites: &[Sites], usual: Choice) -> Choice {
    if sites.is_empty() {
        return usual;
    }
    Choice {
        groups: sites.iter().copied().map(Into::into).collect(),
        by_name: true,
        ..usual
    }
}

impl FilterArgs {
    /// Returns whether a filter limits the command to some rows or references.
    pub(crate) fn narrows(&self) -> bool {
        !(self.owner.is_empty() && self.reference.is_empty() && self.row.is_empty())
    }

    /// Returns the filters as they were given; `None` without any.
    pub(crate) fn narrowed(&self) -> Option<String> {
        let mut command = CommandLine::new("scan");
        self.repeat(&mut command);
        let words = command.to_string();
        let filters = words.strip_prefix("mcp-prune scan ")?;
        Some(one_line(filters).into_owned())
    }

    /// Returns the references that `--reference` names; `None` means all.
    pub(crate) fn references(&self) -> Option<BTreeSet<String>> {
        let references: BTreeSet<String> = self.reference.iter().cloned().collect();
        Some(references).filter(|references| !references.is_empty())
    }

    /// Looks up the owners and rows that `--owner` and `--row` name, and refuses one that is not
    /// there.
    pub(crate) async fn selection(
        &self,
        connection: &mut Connection,
        schema: &Schema,
        database: &Database,
    ) -> Result<Selection, Failure> {
        let ids = find_owners(&self.owner, connection, schema, database).await?;
        let owners = self.owner.iter().zip(ids);
        let owners: BTreeSet<_> = owners.map(|(owner, id)| (owner.kind, id)).collect();
        for row in &self.row {
            if !lookup::has_row(connection, schema, row).await? {
                return Err(nothing(
                    "--row",
                    &format!("row {row} at the sites looked at"),
                ));
            }
        }
        Ok(Selection {
            owners,
            rows: self.row.iter().cloned().collect(),
        })
    }
}

/// Looks up the ids of the owners that `--owner` names, in its order, and refuses one that is not
/// there.
pub(crate) async fn find_owners(
    named: &[NamedOwner],
    connection: &mut Connection,
    schema: &Schema,
    database: &Database,
) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    for owner in named {
        let NamedOwner { kind, name } = owner;
        match named_owners::named(connection, schema, database, *kind, name).await? {
            Meant::Nobody => return Err(nothing("--owner", &owner.to_string())),
            Meant::One(id) => ids.push(id),
            Meant::Several(ids) => return Err(ambiguous("--owner ", owner, &ids)),
        }
    }
    Ok(ids)
}

fn nothing(option: &str, what: &str) -> Failure {
    Failure::new(
        ErrorKind::Error,
        format!("{option} matches nothing: there is no {what}"),
    )
    .hint("check how it is spelled; scan without it shows what there is")
}

/// How many ids or owners an error names.
const NAMED: usize = 20;

pub(crate) fn ambiguous(option: &str, owner: &NamedOwner, ids: &[String]) -> Failure {
    let shown = ids[..ids.len().min(NAMED)].join(", ");
    let more = if ids.len() > NAMED { " and more" } else { "" };
    let kind = owner.kind.name();
    let message = format!("{option}{owner} is ambiguous: it is the name of {shown}{more}");
    let hint = format!(
        "name one by its id, as in {option}{}",
        quoted(format!("{kind}:{}", ids[0]))
    );
    Failure::new(ErrorKind::Error, message).hint(hint)
}
