//! The part of a run that an undo takes back: the rows and references that the filters take.

use std::collections::BTreeSet;
use std::path::Path;

use crate::cli::filters::PartArgs;
use crate::database::Database;
use crate::db::encoding::storable;
use crate::db::owners;
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::error::{ErrorKind, Failure};
use crate::litellm::owners::Owner;
use crate::litellm::reference_sites::SiteTable;
use crate::process::atomic_file::folder_of;
use crate::repair::changeset::{Change, ChangesetPurpose, UndoneRun};
use crate::repair::conflict::TakenPart;
use crate::repair::repaired_column::EarlierUndo;
use crate::repair::selection::{NamedOwner, Selection};
use crate::workflow::filters::find_owners;
use crate::workflow::journal_folder::JournalFolder;

/// The part of a run that is taken back, and the filters that no row fitted yet.
pub(crate) struct UndoPart<'a> {
    args: &'a PartArgs,
    run: &'a str,
    purpose: ChangesetPurpose,
    references: Option<BTreeSet<String>>,
    selection: Selection,
    missing_owners: Vec<(NamedOwner, String)>,
    missing_rows: BTreeSet<&'a str>,
    missing_references: BTreeSet<&'a str>,
    /// Whether a part of the run was taken back before; `None` until somebody asks.
    earlier: Option<EarlierUndo>,
}

impl PartArgs {
    /// Describes the part of `run`, as its own journal and the report tell it.
    #[must_use]
    pub(crate) fn of_run(&self, run: &str) -> UndoneRun {
        UndoneRun {
            run: run.to_owned(),
            owners: self.owner.iter().map(NamedOwner::argument).collect(),
            references: self.reference.iter().cloned().collect(),
            rows: self.row.iter().cloned().collect(),
        }
    }
}

impl<'a> UndoPart<'a> {
    /// Looks up the owners of the filters, and refuses one that is not there.
    pub(crate) async fn find(
        args: &'a PartArgs,
        (run, purpose): (&'a str, ChangesetPurpose),
        connection: &mut Connection,
        schema: &Schema,
        database: &Database,
    ) -> Result<Self, Failure> {
        let ids = find_owners(&args.owner, connection, schema, database).await?;
        let named = args.owner.iter().cloned().zip(ids);
        let missing_owners: Vec<(NamedOwner, String)> = named.collect();
        let owners = missing_owners.iter();
        let references: BTreeSet<String> = args.reference.iter().cloned().collect();
        Ok(Self {
            args,
            run,
            purpose,
            references: Some(references).filter(|references| !references.is_empty()),
            selection: Selection {
                owners: owners.map(|(owner, id)| (owner.kind, id.clone())).collect(),
                rows: args.row.iter().cloned().collect(),
            },
            missing_owners,
            missing_rows: args.row.iter().map(String::as_str).collect(),
            missing_references: args.reference.iter().map(String::as_str).collect(),
            earlier: None,
        })
    }

    /// Looks in the folder of `journal` whether a part of the run was taken back before. Returns
    /// whether that is news.
    pub(crate) fn learns_of_earlier(&mut self, journal: &Path) -> Result<bool, Failure> {
        if self.earlier.is_some() {
            return Ok(false);
        }
        let folder = JournalFolder::of(Some(folder_of(journal)))?;
        let earlier = if folder.has_undo_of(self.run)? {
            EarlierUndo::OfAPart
        } else {
            EarlierUndo::None
        };
        self.earlier = Some(earlier);
        Ok(earlier == EarlierUndo::OfAPart)
    }

    /// Returns the references that are taken back of each change.
    pub(crate) fn taken(&self) -> TakenPart<'_> {
        TakenPart {
            purpose: self.purpose,
            references: self.references.as_ref(),
            earlier: self.earlier.unwrap_or(EarlierUndo::None),
        }
    }

    /// Tells whether it is limited to the rows of some owners.
    pub(crate) fn is_of_owners(&self) -> bool {
        !self.selection.owners.is_empty()
    }

    /// Tells whether a change may be taken back in whole or in part, as far as its row and its
    /// references tell.
    fn may_take(&self, change: &Change) -> bool {
        let is_of_nobody = match change {
            Change::Row(_) => false,
            Change::Credentials(_) => true,
        };
        self.selection.takes_key(change.key())
            && !(self.is_of_owners() && is_of_nobody)
            && (self.references.is_none() || !self.taken().references_of(change).is_empty())
    }

    /// Keeps those changes of one table that are taken back in whole or in part. Owners are those
    /// who link to a row now.
    pub(crate) async fn select<'c>(
        &mut self,
        mut changes: Vec<&'c Change>,
        connection: &mut Connection,
        schema: &Schema,
    ) -> Result<Vec<&'c Change>, Failure> {
        changes.retain(|change| self.may_take(change));
        if self.is_of_owners() {
            let table = changes.iter().find_map(|change| match change {
                Change::Row(change) => Some(change.table()),
                Change::Credentials(_) => None,
            });
            let keys: Vec<String> = changes.iter().map(|c| c.key().to_owned()).collect();
            let owned = match table {
                Some(table) => self.owned(table, &keys, connection, schema).await?,
                None => BTreeSet::new(),
            };
            changes.retain(|change| owned.contains(change.key()));
        }
        for change in &changes {
            self.missing_rows.remove(change.key());
            if !self.missing_references.is_empty() {
                for reference in self.taken().references_of(change) {
                    self.missing_references.remove(reference);
                }
            }
        }
        Ok(changes)
    }

    /// Returns those of the rows that one of the owners links to now.
    pub(crate) async fn owned(
        &mut self,
        table: &'static SiteTable,
        keys: &[String],
        connection: &mut Connection,
        schema: &Schema,
    ) -> Result<BTreeSet<String>, Failure> {
        // A journal of another database may name rows that this one cannot have.
        let keys = storable(connection, keys).await?;
        let found = owners::holders(connection, schema, table, &keys).await?;
        let mut owned = BTreeSet::new();
        for key in keys.iter() {
            let of_row = found.of(key);
            let is_one = |owner: &Owner| {
                let id = (owner.kind(), owner.id().to_owned());
                self.selection.owners.contains(&id)
            };
            if of_row.iter().any(is_one) {
                owned.insert(key.clone());
            }
            self.missing_owners.retain(|(owner, id)| {
                let mut of_row = of_row.iter();
                !of_row.any(|found| found.kind() == owner.kind && found.id() == id)
            });
        }
        Ok(owned)
    }

    /// Fails if a filter took nothing: then it is not what the operator meant.
    pub(crate) fn ensure_all_found(&self) -> Result<(), Failure> {
        let owner = self.missing_owners.first();
        let (option, what) = if let Some((owner, _)) = owner {
            ("--owner", format!("no row that {owner} links to now"))
        } else if let Some(row) = self.missing_rows.first() {
            ("--row", format!("no row {row}"))
        } else if let Some(reference) = self.missing_references.first() {
            ("--reference", format!("no reference {reference}"))
        } else {
            return Ok(());
        };
        let beside = if self.args.are_several() {
            " that the other filters take"
        } else {
            ""
        };
        let run = self.run;
        let message = format!("{option} matches nothing: run {run} changed {what}{beside}");
        Err(Failure::new(ErrorKind::Error, message).hint(format_args!(
            "nothing was written; mcp-prune show JOURNAL tells what run {run} changed"
        )))
    }
}
