//! The caches of a running proxy: which entries hold permission rows and their owners, for how
//! long, and the message that drops an entry.

use std::fmt;

use crate::litellm::api_key::is_hash;
use crate::litellm::owners::{Owner, OwnerKind};

/// How many seconds a proxy serves a permission row from its cache, by default.
///
/// Source: LiteLLM 1.109.1 `constants.py`, `DEFAULT_MANAGEMENT_OBJECT_IN_MEMORY_CACHE_TTL`.
pub(crate) const ROWS_FOR: u32 = 60;

/// How many seconds a proxy serves a unified access group from its cache, by default.
///
/// Source: LiteLLM 1.109.1 `constants.py`, `DEFAULT_ACCESS_GROUP_CACHE_TTL`.
pub(crate) const ACCESS_GROUPS_FOR: u32 = 600;

/// The channel by which workers tell each other what to forget.
///
/// Source: LiteLLM 1.97.0 and 1.109.1 `proxy/common_utils/auth_cache_invalidation_pubsub.py`,
/// `AUTH_CACHE_INVALIDATION_CHANNEL`.
#[cfg(any(feature = "redis", test))]
const CHANNEL: &str = "litellm_proxy.auth_cache_invalidation";

/// The whole hash of a key's token, under which a proxy keeps that key.
pub(crate) struct TokenHash(String);

impl TokenHash {
    /// Takes a SHA-256 in hexadecimal digits. Returns `None` for anything else, which may be the
    /// token itself.
    #[must_use]
    pub(crate) fn new(text: String) -> Option<Self> {
        is_hash(&text).then_some(Self(text))
    }
}

/// Written by hand: only the proxies' Redis is told a hash.
impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

/// The name of an entry in the cache of a proxy.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CacheKey(String);

/// Written by hand: the name may be the hash of a token.
impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheKey(..)")
    }
}

impl CacheKey {
    /// Names the entry of a permission row.
    ///
    /// Source: LiteLLM 1.109.1 `proxy/common_utils/user_api_key_cache.py`,
    /// `object_permission_cache_key`.
    #[must_use]
    pub(crate) fn of_row(row: &str) -> Self {
        Self(format!("object_permission_id:{row}"))
    }

    /// Names the entry of a unified access group.
    ///
    /// Source: LiteLLM 1.109.1 `proxy/auth/auth_checks.py`, `get_access_object`.
    #[must_use]
    pub(crate) fn of_access_group(group: &str) -> Self {
        Self(format!("access_group_id:{group}"))
    }

    /// Names the entry of a key, in which its permission row is embedded.
    ///
    /// Source: LiteLLM 1.109.1 `proxy/auth/auth_checks.py`, `get_key_object` and
    /// `delete_cache_key_object`.
    #[must_use]
    pub(crate) fn of_key(hash: TokenHash) -> Self {
        Self(hash.0)
    }

    /// Names the entries of an owner in which its permission row is embedded.
    ///
    /// Users and agents have none: their entries hold only the id of the row, which stays the same.
    /// Keys have none here, because an [`Owner`] lacks the whole hash: see [`Self::of_key`].
    ///
    /// Source: LiteLLM 1.109.1 `proxy/auth/auth_checks.py`, `delete_cache_team_object` and
    /// `get_org_object`, and `proxy/common_utils/user_api_key_cache.py`, `end_user_cache_key` and
    /// `project_cache_key`.
    #[must_use]
    pub(crate) fn of_owner(owner: &Owner) -> Vec<Self> {
        let id = owner.id();
        let keys = match owner.kind() {
            OwnerKind::Team => {
                let alias = owner.name().filter(|alias| !alias.is_empty());
                let alias = alias.map(|alias| format!("team_alias:{alias}"));
                [Some(format!("team_id:{id}")), alias]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            OwnerKind::Organization => {
                vec![format!("org_id:{id}"), format!("org_id:{id}:with_budget")]
            }
            OwnerKind::Project => vec![format!("project_id:{id}")],
            OwnerKind::EndUser => vec![format!("end_user_id:{id}")],
            OwnerKind::Key | OwnerKind::User | OwnerKind::Agent => Vec::new(),
        };
        keys.into_iter().map(Self).collect()
    }

    /// Builds the message that has every worker drop the entry from its memory.
    ///
    /// Source: LiteLLM 1.109.1 `proxy/common_utils/auth_cache_invalidation_pubsub.py`,
    /// `_message_from_data`.
    #[cfg(any(feature = "redis", test))]
    #[must_use]
    pub(crate) fn message(&self) -> String {
        serde_json::json!({ "cache_key": self.0 }).to_string()
    }

    /// Returns the name of the entry in Redis, where `enable_redis_auth_cache` keeps it too.
    ///
    /// Source: LiteLLM 1.109.1 `caching/redis_cache.py`, `check_and_fix_namespace`.
    #[cfg(any(feature = "redis", test))]
    #[must_use]
    pub(crate) fn in_redis(&self, namespace: Option<&str>) -> String {
        match namespace {
            Some(namespace) if !self.0.starts_with(&format!("{namespace}:")) => {
                format!("{namespace}:{}", self.0)
            }
            Some(_) | None => self.0.clone(),
        }
    }
}

/// Returns the channel of the proxies with this namespace.
#[cfg(any(feature = "redis", test))]
#[must_use]
pub(crate) fn channel(namespace: Option<&str>) -> String {
    namespace.map_or_else(
        || CHANNEL.to_owned(),
        |namespace| format!("{namespace}:{CHANNEL}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::litellm::owners::KeyTies;

    fn owner(kind: OwnerKind, name: Option<&str>) -> Owner {
        let name = name.map(str::to_owned);
        Owner::new(kind, "1".to_owned(), name, KeyTies::default())
    }

    fn messages(kind: OwnerKind, name: Option<&str>) -> Vec<String> {
        let keys = CacheKey::of_owner(&owner(kind, name));
        keys.iter().map(|key| key.in_redis(None)).collect()
    }

    #[test]
    fn every_owner_has_the_entries_that_embed_its_row() {
        assert_eq!(
            messages(OwnerKind::Team, Some("red")),
            ["team_id:1", "team_alias:red"]
        );
        assert_eq!(messages(OwnerKind::Team, Some("")), ["team_id:1"]);
        assert_eq!(messages(OwnerKind::Team, None), ["team_id:1"]);
        let organization = ["org_id:1", "org_id:1:with_budget"];
        assert_eq!(messages(OwnerKind::Organization, None), organization);
        assert_eq!(messages(OwnerKind::Project, None), ["project_id:1"]);
        assert_eq!(messages(OwnerKind::EndUser, None), ["end_user_id:1"]);
        for kind in [OwnerKind::Key, OwnerKind::User, OwnerKind::Agent] {
            assert_eq!(messages(kind, Some("n")), [""; 0]);
        }
    }

    #[test]
    fn the_message_is_json_whatever_the_id_is() {
        let message = CacheKey::of_row("a\"b\n").message();
        let read: serde_json::Value = serde_json::from_str(&message).unwrap();
        assert_eq!(
            read,
            serde_json::json!({"cache_key": "object_permission_id:a\"b\n"})
        );
    }

    #[test]
    fn the_namespace_is_put_before_the_channel_and_once_before_the_entry() {
        assert_eq!(channel(None), "litellm_proxy.auth_cache_invalidation");
        assert_eq!(
            channel(Some("eu")),
            "eu:litellm_proxy.auth_cache_invalidation"
        );
        let key = CacheKey::of_row("1");
        assert_eq!(key.in_redis(Some("eu")), "eu:object_permission_id:1");
        assert_eq!(CacheKey("eu:x".to_owned()).in_redis(Some("eu")), "eu:x");
    }

    #[test]
    fn what_is_no_hash_is_not_taken_for_one_and_a_hash_is_not_shown() {
        for other in [
            "sk-1234".to_owned(),
            "A".repeat(64),
            "a".repeat(63),
            "g".repeat(64),
        ] {
            assert!(TokenHash::new(other).is_none());
        }
        let hash = TokenHash::new("0a".repeat(32)).unwrap();
        assert!(!format!("{hash:?}").contains("0a"));
        let key = CacheKey::of_key(hash);
        assert!(!format!("{key:?}").contains("0a"));
        assert_eq!(key.in_redis(None), "0a".repeat(32));
    }
}
