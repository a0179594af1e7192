//! The owners of very many permission rows. No table has an index on the link, so each look for the
//! owners of some rows reads every owner. If there would be many such looks, everybody who links to
//! a row is read once instead, and put aside in the order of the rows.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::iter::Peekable;

use crate::db::owned_rows::OwnedRows;
use crate::db::owners;
use crate::db::packed_owners::{LinkedOwner, Owners};
use crate::db::schema::Schema;
use crate::db::session::Connection;
use crate::error::Failure;
use crate::litellm::reference_sites::{Group, SiteTable};
use crate::process::print::cannot_put_aside;
use crate::report::put_aside::Sorter;
use crate::workflow::candidate_rows::TableKeys;

/// How often every owner is looked at, at most, before they are put aside instead. With a million
/// keys, to send all of them takes as long as three looks, and with ten million as long as ten.
const LOOKS: usize = 8;

/// The owners of the rows of a table, if the rows are very many; else they are read later.
pub(crate) struct LinkedOwners(Option<Sorter<LinkedOwner>>);

impl LinkedOwners {
    /// Reads who links to `rows` if they are more than [`LOOKS`] parts of `at_once` rows. The
    /// owners of fewer rows are read later, part by part.
    ///
    /// # Errors
    ///
    /// What the server said; an error if the keys cannot be read back, or if the owners cannot be
    /// put aside.
    pub(crate) async fn read(
        connection: &mut Connection,
        schema: &Schema,
        rows: &TableKeys,
        at_once: usize,
    ) -> Result<Self, Failure> {
        let is_linked_to = rows.table().group() == Group::Permissions;
        if !is_linked_to || rows.number() <= LOOKS * at_once {
            return Ok(Self(None));
        }
        let mut filter = KeyFilter::new();
        let mut last: Option<String> = None;
        for keys in rows.parts(at_once) {
            for key in keys? {
                filter.add(&key);
                // Each part takes its owners from the front, so the rows have to be in order too.
                if last.is_some_and(|last| last >= key) {
                    return Ok(Self(None));
                }
                last = Some(key);
            }
        }
        let mut linked = Sorter::new();
        let is_wanted = |row: &str| filter.may_have(row);
        let found = |owner| linked.add(owner).map_err(cannot_put_aside);
        owners::everybody(connection, schema, is_wanted, found).await?;
        Ok(Self(Some(linked)))
    }

    /// Returns the owners in the order of their rows.
    pub(crate) fn in_order(&mut self) -> OwnersInOrder<'_> {
        let owners = self.0.as_mut().map(|linked| {
            let sorted: Sorted<'_> = Box::new(linked.sorted());
            sorted.peekable()
        });
        OwnersInOrder(owners)
    }
}

type Sorted<'a> = Box<dyn Iterator<Item = io::Result<LinkedOwner>> + 'a>;

/// The owners that are left, in the order of their rows.
pub(crate) struct OwnersInOrder<'a>(Option<Peekable<Sorted<'a>>>);

impl OwnersInOrder<'_> {
    /// Names the next rows that will be read, with their owners if these were put aside.
    ///
    /// # Errors
    ///
    /// An error if the owners cannot be read back.
    pub(crate) fn name_rows<'k>(
        &mut self,
        table: &'static SiteTable,
        keys: &'k [String],
    ) -> Result<OwnedRows<'k>, Failure> {
        Ok(match self.take_for(keys)? {
            Some(owners) => OwnedRows::with_owners(table, keys, owners),
            None => OwnedRows::new(table, keys),
        })
    }

    /// Takes the owners of the next rows; `None` if they were not put aside.
    fn take_for<'k>(&mut self, keys: &'k [String]) -> Result<Option<Owners<'k>>, Failure> {
        let (Some(owners), Some(last)) = (&mut self.0, keys.last()) else {
            return Ok(None);
        };
        let is_of_these = |owner: &io::Result<LinkedOwner>| {
            let owner = owner.as_ref();
            owner.map_or(true, |owner| owner.row() <= last.as_str())
        };
        let next = std::iter::from_fn(|| owners.next_if(is_of_these));
        let next = next.map(|owner| owner.map_err(cannot_put_aside));
        Owners::of_links(keys, next).map(Some)
    }

    /// Reads the owners that are left. Only the end tells whether all of them are those that were
    /// put aside.
    ///
    /// # Errors
    ///
    /// An error if they are not.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let mut left = self.0.into_iter().flatten();
        left.try_for_each(|owner| owner.map(drop).map_err(cannot_put_aside))
    }
}

/// A Bloom filter of 4 MiB, which tells whether a key may be one of those that were added. Of all
/// other keys, 3 in 100 pass if three million were added, and 20 if ten million were.
struct KeyFilter(Vec<u64>);

impl KeyFilter {
    /// How many bits of a hash choose a bit of the filter.
    const BITS: u32 = 25;

    fn new() -> Self {
        Self(vec![0; 1 << (Self::BITS - u64::BITS.ilog2())])
    }

    fn add(&mut self, key: &str) {
        for (word, bit) in places(key) {
            if let Some(bits) = self.0.get_mut(word) {
                *bits |= bit;
            }
        }
    }

    /// Tells whether a key may be among those that were added; each of these may.
    fn may_have(&self, key: &str) -> bool {
        let has = |(word, bit)| self.0.get(word).is_none_or(|bits| bits & bit != 0);
        places(key).into_iter().all(has)
    }
}

/// Returns the two bits of a key: the place of the word, and the bit in it.
fn places(key: &str) -> [(usize, u64); 2] {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let hash = hasher.finish();
    [hash, hash >> u32::BITS].map(|hash| {
        let place = hash & ((1 << KeyFilter::BITS) - 1);
        let word = usize::try_from(place / u64::from(u64::BITS)).unwrap_or(usize::MAX);
        (word, 1 << (place % u64::from(u64::BITS)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::owners::{KeyTies, Owner, OwnerKind};

    #[test]
    fn each_part_of_the_rows_gets_its_owners() {
        let team = |id: &str| {
            let name = Some(format!("team {id}"));
            Owner::new(OwnerKind::Team, id.to_owned(), name, KeyTies::default())
        };
        let mut linked = Sorter::new();
        // The filter let "b", "d" and "z" pass.
        for (row, id) in [
            ("e", "5"),
            ("c", "3"),
            ("z", "9"),
            ("a", "1"),
            ("d", "4"),
            ("c", "6"),
            ("b", "2"),
        ] {
            linked.add(LinkedOwner::new(row, &team(id))).unwrap();
        }
        let mut linked = LinkedOwners(Some(linked));
        let mut owners = linked.in_order();
        for (keys, expected) in [
            (["a", "aa"], [vec!["1"], vec![]]),
            (["c", "e"], [vec!["3", "6"], vec!["5"]]),
            (["f", "g"], [vec![], vec![]]),
        ] {
            let keys = keys.map(str::to_owned);
            let owned = owners.take_for(&keys).unwrap().unwrap();
            for (key, ids) in keys.iter().zip(expected) {
                let expected: Vec<Owner> = ids.into_iter().map(team).collect();
                assert_eq!(owned.of(key), expected, "{key}");
            }
        }
        owners.finish().unwrap();
    }

    #[test]
    fn a_filter_lets_each_key_and_few_others_pass() {
        let key = |number: usize| format!("row {number}");
        let mut filter = KeyFilter::new();
        let (ours, others) = (0..100_000, 100_000..200_000);
        assert!(!filter.may_have(&key(7)));
        for number in ours.clone() {
            filter.add(&key(number));
        }
        assert!(ours.map(key).all(|key| filter.may_have(&key)));
        let passed = others.map(key).filter(|key| filter.may_have(key)).count();
        assert!(passed < 100, "{passed} of 100,000");
    }
}
