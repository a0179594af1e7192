//! The tokens of very many keys in less memory.

use std::cmp::Ordering;
use std::fmt;

use super::ids::KeyToken;

/// The token of a key: a hash as numbers, which take half the memory of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PackedToken {
    /// 64 hexadecimal digits in lower case, as LiteLLM stores a hash.
    ///
    /// Source: LiteLLM 1.100.0 `proxy/_types.py`, `hash_token`.
    Hash([u128; 2]),
    /// Any other text.
    Text(Box<str>),
}

impl From<&str> for PackedToken {
    fn from(token: &str) -> Self {
        let number = |digits| u128::from_str_radix(digits, 16).ok();
        let halves = token.split_at_checked(32);
        let halves = halves.and_then(|(one, two)| Some([number(one)?, number(two)?]));
        let hash = halves.map(Self::Hash);
        // Digits in upper case, or a sign, would be lost.
        let hash = hash.filter(|hash| hash.to_string() == token);
        hash.unwrap_or_else(|| Self::Text(token.into()))
    }
}

impl fmt::Display for PackedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash([one, two]) => write!(f, "{one:032x}{two:032x}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<&PackedToken> for KeyToken {
    fn from(token: &PackedToken) -> Self {
        Self(token.to_string())
    }
}

/// They are in the order of their texts.
impl Ord for PackedToken {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Hash(one), Self::Hash(other)) => one.cmp(other),
            (Self::Hash(_) | Self::Text(_), _) => self.to_string().cmp(&other.to_string()),
        }
    }
}

impl PartialOrd for PackedToken {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_comes_back_and_in_its_order() {
        let hash = "0123456789abcdef".repeat(4);
        let tokens = [
            String::new(),
            hash.clone(),
            hash.replace('a', "b"),
            hash.replacen('0', "f", 1),
            hash.to_uppercase(),
            hash.replacen('0', "+", 1),
            format!("{hash}0"),
            hash[1..].to_owned(),
            "0".repeat(64),
            "f".repeat(64),
            "é".repeat(32),
            format!("{}é{}", "0".repeat(31), "0".repeat(31)),
            "sk-1234".to_owned(),
        ];
        let mut packed: Vec<PackedToken> = tokens.iter().map(|t| t.as_str().into()).collect();
        packed.sort_unstable();
        let packed: Vec<String> = packed.iter().map(|token| KeyToken::from(token).0).collect();
        let mut sorted = tokens.to_vec();
        sorted.sort_unstable();
        assert_eq!(packed, sorted);
        assert!(matches!(
            PackedToken::from(hash.as_str()),
            PackedToken::Hash(_)
        ));
    }
}
