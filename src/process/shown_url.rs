//! Takes passwords out of URLs, so that they may be shown to others.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::db::connection_url::{may_be_shown, unquoted};

/// A URL without what is, or may be, a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShownUrl {
    /// The URL as it may be shown.
    pub(crate) text: String,
    /// Whether a password was taken out.
    pub(crate) lacks_password: bool,
}

impl ShownUrl {
    /// Takes the password out of `url`; `None` where the password cannot be told from the rest.
    pub(crate) fn of(url: &str) -> Option<Self> {
        let url = unquoted(url);
        if url.starts_with("embedded:") {
            return Some(Self {
                text: url.to_owned(),
                lacks_password: false,
            });
        }
        Url::parse(url).ok()?;
        let (scheme, rest) = url.split_once("://")?;
        let authority_ends = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(authority_ends);
        // A bare /, ? or # in a password ends the authority, so the password goes on in `rest`.
        if rest.contains(['@', '#']) {
            return None;
        }
        let (user, host) = match authority.rsplit_once('@') {
            None => (None, authority),
            Some((user, host)) => (Some(user), host),
        };
        let (user, in_front) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
            None | Some(("", "")) => (String::new(), false),
            Some(("", _)) => (String::new(), true),
            Some((user, password)) => (format!("{user}@"), !password.is_empty()),
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let name = |pair: &str| {
            let name = pair.split('=').next().unwrap_or_default();
            percent_decode_str(name).decode_utf8_lossy().into_owned()
        };
        let pairs = || query.split('&').filter(|pair| !pair.is_empty());
        let kept: Vec<&str> = pairs().filter(|pair| may_be_shown(&name(pair))).collect();
        let query = if kept.is_empty() {
            String::new()
        } else {
            format!("?{}", kept.join("&"))
        };
        Some(Self {
            text: format!("{scheme}://{user}{host}{path}{query}"),
            lacks_password: in_front || pairs().any(|pair| name(pair) == "password"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_a_secret() {
        for (url, shown, lacks_password) in [
            (
                "postgresql://ann:s3cret@db:5433/litellm?schema=x&password=s3cret&sslmode=require",
                "postgresql://ann@db:5433/litellm?schema=x&sslmode=require",
                true,
            ),
            ("postgres://db/litellm", "postgres://db/litellm", false),
            (
                "postgresql://ann:s3@cret@db/x",
                "postgresql://ann@db/x",
                true,
            ),
            (
                "postgresql:///x?host=/run&pass%77ord=s3cret&secret=s3cret",
                "postgresql:///x?host=/run",
                true,
            ),
            (
                "'postgresql://ann:s3cret@%2Frun/x'",
                "postgresql://ann@%2Frun/x",
                true,
            ),
            ("postgresql://ann@db/x", "postgresql://ann@db/x", false),
            ("redis://:s3cret@db:6379/1", "redis://db:6379/1", true),
            (
                "redis-sentinel://:s3cret@a,b/0?service_name=x&sentinel_password=s3cret",
                "redis-sentinel://a,b/0",
                true,
            ),
            ("embedded:a demo.sql", "embedded:a demo.sql", false),
        ] {
            let expected = ShownUrl {
                text: shown.to_owned(),
                lacks_password,
            };
            assert_eq!(ShownUrl::of(url), Some(expected), "{url}");
        }
        for url in [
            "postgresql://ann:s3/cret@db/x",
            "postgresql://ann:s3#cret@db/x",
            "host=db password=s3cret",
            "postgresql:ann:s3cret@db",
            "redis://:s3cret@a:1,b:2/0",
            "redis-sentinel://a:1,b:2?service_name=x&sentinel_password=s3cret",
        ] {
            assert_eq!(ShownUrl::of(url), None, "{url}");
        }
    }
}
