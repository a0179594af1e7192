//! The database URL that LiteLLM makes of `DATABASE_HOST` and its kin where there is no
//! `DATABASE_URL`.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::{ErrorKind, Failure};

const HOST: &str = "DATABASE_HOST";

const NAME: &str = "DATABASE_NAME";

const PASSWORD: &str = "DATABASE_PASSWORD";

/// LiteLLM takes the user from the first of these that is set.
const USER: [&str; 2] = ["DATABASE_USER", "DATABASE_USERNAME"];

/// The variables of libpq that name a database as well.
const LIBPQ: [&str; 3] = ["PGHOST", "PGHOSTADDR", "PGDATABASE"];

/// Returns the URL that LiteLLM would make, or `None` where its variables are not set.
///
/// Source: LiteLLM 1.110.2 `proxy/utils.py`, `construct_database_url_from_env_vars`, and
/// `proxy/db/db_url_settings.py`, `DatabaseURLSettings`.
///
/// # Errors
///
/// Fails with [`ErrorKind::Usage`] where only some of them are set, or where libpq's variables name
/// a database as well.
pub(crate) fn url(environment: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, Failure> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    let libpq = LIBPQ.into_iter().find(|name| set(name).is_some());
    let user = USER.into_iter().find_map(set);
    let (host, name, password) = (set(HOST), set(NAME), set(PASSWORD));
    let (Some(host), Some(user), Some(name)) = (&host, &user, &name) else {
        let parts = [(HOST, host), (USER[1], user), (NAME, name)];
        return match libpq {
            Some(_) => Ok(None),
            None => incomplete(&parts, password.is_some()).map_or(Ok(None), Err),
        };
    };
    if let Some(libpq) = libpq {
        let message = format!("both {HOST} and {libpq} are set, and each names a database");
        return Err(Failure::new(ErrorKind::Usage, message).hint(
            "unset the one that is not meant, or name the database with --db-url or --db-url-file",
        ));
    }

    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let password = password.map_or_else(String::new, |text| format!(":{}", encoded(&text)));
    // The host may contain its port.
    let port = set("DATABASE_PORT").filter(|_| !host.contains(':'));
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    let mut url = format!(
        "postgresql://{}{password}@{host}{port}/{}",
        encoded(user),
        encoded(name)
    );
    let root = set("DATABASE_SSLROOTCERT");
    // LiteLLM takes a root certificate without a mode for verify-full.
    let mode = set("DATABASE_SSLMODE")
        .or_else(|| Some("verify-full".to_owned()).filter(|_| root.is_some()));
    let query = [
        ("schema", set("DATABASE_SCHEMA")),
        ("sslmode", mode),
        ("sslrootcert", root),
    ];
    let mut separator = '?';
    for (parameter, value) in query {
        if let Some(value) = value {
            url.push(separator);
            url.push_str(parameter);
            url.push('=');
            url.push_str(&encoded(&value));
            separator = '&';
        }
    }
    Ok(Some(url))
}

/// Builds the error for variables that are not enough for a URL. Returns `None` where none is set.
fn incomplete(parts: &[(&str, Option<String>)], has_password: bool) -> Option<Failure> {
    let named = |is_wanted: fn(&Option<String>) -> bool| {
        let parts = parts.iter().filter(|(_, value)| is_wanted(value));
        parts.map(|(name, _)| *name).collect::<Vec<_>>()
    };
    let mut given = named(Option::is_some);
    if has_password {
        given.push(PASSWORD);
    }
    if given.is_empty() {
        return None;
    }
    let message = format!(
        "no database is named: of LiteLLM's variables {} set, {} not",
        is_or_are(&given),
        is_or_are(&named(Option::is_none))
    );
    Some(Failure::new(ErrorKind::Usage, message).hint(
        "set all of DATABASE_HOST, DATABASE_USERNAME and DATABASE_NAME as LiteLLM has them, or \
         DATABASE_URL, or give --db-url",
    ))
}

fn is_or_are(names: &[&str]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        url(&lookup).map_err(|failure| {
            assert_eq!(failure.kind(), ErrorKind::Usage);
            failure.to_string()
        })
    }

    const WHOLE: [(&str, &str); 4] = [
        ("DATABASE_HOST", "db"),
        ("DATABASE_USERNAME", "app"),
        ("DATABASE_PASSWORD", "p@/w"),
        ("DATABASE_NAME", "lite llm"),
    ];

    #[test]
    fn a_url_is_made_as_litellm_makes_it() {
        let with = |more: &[(&'static str, &'static str)]| of(&[&WHOLE[..], more].concat());
        let plain = "postgresql://app:p%40%2Fw@db/lite%20llm";
        assert_eq!(with(&[]), Ok(Some(plain.to_owned())));
        for (variable, query) in [
            ("DATABASE_SCHEMA", "schema=x"),
            ("DATABASE_SSLMODE", "sslmode=x"),
            (
                "DATABASE_SSLROOTCERT",
                "sslmode=verify%2Dfull&sslrootcert=x",
            ),
        ] {
            assert_eq!(
                with(&[(variable, "x")]),
                Ok(Some(format!("{plain}?{query}")))
            );
        }
        let port = with(&[("DATABASE_PORT", "6432")]).unwrap().unwrap();
        assert!(port.contains("@db:6432/"), "{port}");
        let bare = of(&[
            ("DATABASE_HOST", "db:7"),
            ("DATABASE_PORT", "8"),
            ("DATABASE_USER", "app"),
            ("DATABASE_NAME", "d"),
        ]);
        assert_eq!(bare, Ok(Some("postgresql://app@db:7/d".to_owned())));
    }

    #[test]
    fn what_is_missing_or_names_two_databases_is_told() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("DATABASE_SCHEMA", "x")]), Ok(None));
        let told = of(&[("DATABASE_HOST", "db"), ("DATABASE_PASSWORD", "s3cret")]).unwrap_err();
        assert!(
            told.contains("DATABASE_HOST, DATABASE_PASSWORD are set")
                && told.contains("DATABASE_USERNAME, DATABASE_NAME are not"),
            "{told}"
        );
        assert!(!told.contains("s3cret"), "{told}");
        // DATABASE_HOST may be another program's where PGHOST names the database.
        assert_eq!(of(&[("DATABASE_HOST", "db"), ("PGHOST", "h")]), Ok(None));
        let both = of(&[&WHOLE[..], &[("PGDATABASE", "d")]].concat()).unwrap_err();
        assert!(both.contains("both DATABASE_HOST and PGDATABASE"), "{both}");
    }
}
