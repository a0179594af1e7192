//! The keys of callers of LiteLLM: what one looks like, what LiteLLM stores of it, and how to keep
//! it out of a text.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use crate::litellm::config::entry::hex;

/// How a key begins.
///
/// Source: LiteLLM 1.110.2 `proxy/management_endpoints/key_management_endpoints.py` draws
/// `sk-` and random characters, and refuses a key of the caller's choice that begins otherwise.
const START: &str = "sk-";

/// How LiteLLM's own short form of a key begins, which is no secret; its last four characters may
/// follow.
///
/// Source: LiteLLM 1.110.2 `proxy/auth/auth_utils.py`, `abbreviate_api_key`, kept in `key_name`.
const SHORT: &str = "sk-...";

/// Tells whether `text` may be a whole key, so that it must not be shown.
#[must_use]
pub(crate) fn may_be_a_key(text: &str) -> bool {
    text.starts_with(START) && !text.starts_with(SHORT)
}

/// Tells whether `text` is LiteLLM's short form of a key.
#[must_use]
pub(crate) fn is_short_form(text: &str) -> bool {
    text.starts_with(SHORT)
}

/// Returns the part of a stored key that reports show: the first characters of its hash. What is
/// stored unhashed is hashed first.
#[must_use]
pub(crate) fn shown_prefix(token: &str) -> String {
    first_digits(token, 8)
}

/// Returns what LiteLLM stores of a key: its SHA-256 in hexadecimal digits.
///
/// Source: LiteLLM 1.110.2 `proxy/utils.py`, `hash_token`.
#[must_use]
pub fn hash(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

/// Returns as much of the hash of a stored key as tells a million keys apart, and too little to
/// use: its first 16 characters. What is stored unhashed is hashed first.
#[must_use]
pub(crate) fn told_apart_by(token: &str) -> String {
    first_digits(token, 16)
}

/// Tells whether a stored key is a hash. Else it may be the key itself.
#[must_use]
pub(crate) fn is_hash(token: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    token.len() == 64 && token.bytes().all(is_digit)
}

/// Returns the first digits of the hash of a stored key.
fn first_digits(token: &str, digits: usize) -> String {
    let hash = if is_hash(token) {
        Cow::Borrowed(token)
    } else {
        Cow::Owned(hash(token))
    };
    hash.chars().take(digits).collect()
}

/// Replaces every word of `text` that may be a key by `sk-...`.
///
/// A word begins at the start, after a space, or after what sets off a value: a quote, a bracket,
/// or one of `:=@,`. A name in a path, as in `./sk-1.yaml`, is no such word.
#[must_use]
pub(crate) fn without_keys(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = 0;
    for (at, _) in text.match_indices(START) {
        let before = text[..at].chars().next_back();
        let begins = before.is_none_or(|c| c.is_whitespace() || "'\"`([{<:=@,".contains(c));
        let word = &text[at..];
        // Only a key that is replaced has its end searched, so no part of the text is read twice.
        if at < rest || !begins || is_short_form(word) {
            continue;
        }
        let length = word.find(|c: char| c.is_whitespace() || "'\"`)]}>,".contains(c));
        let word = &word[..length.unwrap_or(word.len())];
        if word != START {
            shown.push_str(&text[rest..at]);
            shown.push_str(SHORT);
            rest = at + word.len();
        }
    }
    if rest == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(&text[rest..]);
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_as_litellm_makes_it() {
        // Python: hashlib.sha256(b"sk-1234").hexdigest()
        assert_eq!(
            hash("sk-1234"),
            "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"
        );
    }

    #[test]
    fn no_key_is_left_in_a_text() {
        for (text, expected) in [
            ("invalid value 'sk-abc' for", "invalid value 'sk-...' for"),
            ("--owner key:sk-a_b-C9== is", "--owner key:sk-... is"),
            ("sk-a sk-b", "sk-... sk-..."),
            ("--remap=sk-a=sk-b x", "--remap=sk-... x"),
            ("[\"sk-a\",\"sk-b\"]", "[\"sk-...\",\"sk-...\"]"),
            ("key sk-...ab12, sk-...", "key sk-...ab12, sk-..."),
            ("task-list ./sk-prod.yaml", "task-list ./sk-prod.yaml"),
            ("begins with sk- here", "begins with sk- here"),
            ("a=sk-...=sk-b", "a=sk-...=sk-..."),
            ("", ""),
        ] {
            assert_eq!(without_keys(text), expected, "{text}");
        }
    }

    /// Guards against a search of the whole rest at every match: that would take hours here.
    #[test]
    fn a_long_text_is_read_once() {
        for (part, shown) in [("xsk-", None), ("=sk-...", None), ("=sk-", Some("=sk-..."))] {
            let text = part.repeat(1_000_000);
            assert_eq!(without_keys(&text), shown.unwrap_or(&text), "{part}");
        }
    }

    #[test]
    fn the_short_form_is_no_key() {
        assert!(may_be_a_key("sk-1234") && !may_be_a_key("sk-...1234"));
        assert!(is_short_form("sk-...") && !is_short_form("sk-1234"));
        assert!(!may_be_a_key("team") && !is_short_form("team"));
    }
}
