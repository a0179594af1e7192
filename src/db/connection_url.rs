//! Reads a database URL, with Prisma's and libpq's parameters and libpq's environment.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::{ParseError, Url, form_urlencoded};

use crate::db::connect::{APPLICATION_NAME, CONNECT_TIMEOUT, ServerTarget};
use crate::db::target_session::TargetSession;
use crate::error::{ErrorKind, Failure};

/// Parameters that can be ignored in silence, because they mean nothing to a single connection.
///
/// Parameters that strengthen a connection (`sslcrl`, `require_auth`, ...) are left out on purpose:
/// this program does not support them, so it warns that they have no effect.
///
/// Sources: Prisma documentation, "PostgreSQL database connector", "Arguments"; PostgreSQL 17
/// manual, 32.1.2 "Parameter Key Words".
const IGNORED: &[&str] = &[
    "application_name",
    "client_encoding",
    "connection_limit",
    "fallback_application_name",
    "gsslib",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_connection_lifetime",
    "max_idle_connection_lifetime",
    "pgbouncer",
    "pool_timeout",
    "single_use_connections",
    "socket_timeout",
    "sslcompression",
    "sslsni",
    "statement_cache_size",
    "tcp_user_timeout",
];

/// Parameters in which `+` is a space, as in every parameter that Prisma reads. Only Prisma knows
/// `schema`, and LiteLLM writes `options` with Python's `urlencode`.
///
/// Source: LiteLLM 1.110.2 `proxy/db/db_url_settings.py`, `add_missing_query_params`.
const FORM_DECODED: &[&str] = &["options", "schema"];

/// An `sslmode` of node-postgres. Prisma takes it for `prefer`, like every `sslmode` that it does
/// not know.
const NO_VERIFY: &str = "no-verify";

/// The variables of libpq that say which database is meant.
const NAMES_A_DATABASE: [&str; 5] = ["PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER"];

/// Parameters that ask for nothing by default, but may ask for protection that this program does
/// not have.
const MAY_STRENGTHEN: [&str; 2] = ["channel_binding", "gssencmode"];

/// Parameters that have an effect.
const HONOURED: &[&str] = &[
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "schema",
    "sslaccept",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "user",
];

/// Variables of libpq that ask for protection that this program does not have, each with its
/// parameter and the one value that asks for it; `None` where every value does.
///
/// Source: PostgreSQL 18 manual, 32.15 "Environment Variables".
const STRENGTHENING_VARIABLES: [(&str, &str, Option<&str>); 9] = [
    ("PGCHANNELBINDING", "channel_binding", Some("require")),
    ("PGGSSENCMODE", "gssencmode", Some("require")),
    ("PGREQUIREAUTH", "require_auth", None),
    ("PGREQUIREPEER", "requirepeer", None),
    ("PGREQUIRESSL", "sslmode", Some("1")),
    ("PGSSLCRL", "sslcrl", None),
    ("PGSSLCRLDIR", "sslcrldir", None),
    ("PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version", None),
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version", None),
];

/// Tells whether a parameter of a database URL may be shown with its value: it must be known and no
/// secret. An unknown parameter may be the rest of a password with an `&` in it.
pub(crate) fn may_be_shown(parameter: &str) -> bool {
    parameter != "password"
        && (parameter == "ssl" || IGNORED.contains(&parameter) || HONOURED.contains(&parameter))
}

const URL_HINT: &str = "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE with one host, and \
    percent-encode what is special in the password (@ is %40, : is %3A, / is %2F, # is %23, \
    ? is %3F)";

const PKCS12_HINT: &str = "take the password off with `openssl pkcs12 -in ID.p12 -nodes -clcerts \
    -nokeys -out client.crt` and `openssl pkcs12 -in ID.p12 -nodes -nocerts -out client.key`, then \
    give sslcert=client.crt&sslkey=client.key, and the server's CA as sslrootcert";

pub(crate) fn usage(message: impl fmt::Display) -> Failure {
    Failure::new(ErrorKind::Usage, message)
}

/// Removes the quotes that an `.env` file has around a value and that a shell would have removed.
pub(crate) fn unquoted(url: &str) -> &str {
    let url = url.trim();
    ['"', '\'']
        .into_iter()
        .find_map(|quote| url.strip_prefix(quote)?.strip_suffix(quote))
        .map_or(url, str::trim)
}

/// Reads the parameters of a URL under libpq's key words. The query string wins over the rest.
///
/// Source: PostgreSQL 17 manual, 32.1.1.2 "Connection URIs".
pub(crate) fn parameters(url: &str) -> Result<BTreeMap<String, String>, Failure> {
    let url = Url::parse(url).map_err(|error| {
        if names_several_hosts(url) {
            return more_than_one_host();
        }
        let what = if error == ParseError::RelativeUrlWithoutBase {
            "no postgresql:// in front".to_owned()
        } else {
            error.to_string()
        };
        usage(format!("cannot read the database URL: {what}")).hint(URL_HINT)
    })?;
    if !url.has_authority() {
        return Err(
            usage("cannot read the database URL: no postgresql:// in front").hint(URL_HINT),
        );
    }
    if !["postgres", "postgresql"].contains(&url.scheme()) {
        let message = format!("{}:// is not a PostgreSQL URL", url.scheme());
        return Err(usage(message).hint("name the PostgreSQL server itself, with postgresql://"));
    }
    let path = url.path();
    let query = url.query().unwrap_or_default();
    // A bare /, ? or # in a password ends the host for the url crate: the rest of the password, and
    // the @ after it, lands behind the host. To go on would be to connect with half a password.
    if url.fragment().is_some() || path.contains('@') || query.contains('@') {
        return Err(usage(
            "cannot read the database URL: a bare # in it, or a bare @ behind the host",
        )
        .hint(URL_HINT));
    }

    let mut found = BTreeMap::new();
    let front = [
        ("user", url.username()),
        ("password", url.password().unwrap_or_default()),
        ("host", url.host_str().unwrap_or_default()),
        // Prisma allows a slash at the end.
        ("dbname", path.trim_matches('/')),
    ];
    for (name, text) in front.into_iter().filter(|(_, text)| !text.is_empty()) {
        found.insert(name.to_owned(), decoded(text)?);
    }
    if let Some(port) = url.port() {
        found.insert("port".to_owned(), port.to_string());
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        // libpq refuses this as well. The parameter is not shown, because it may be the rest of a
        // password with an & in it.
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            usage("cannot read the database URL: a parameter without =").hint(URL_HINT)
        })?;
        let name = decoded(name)?;
        let value = if FORM_DECODED.contains(&name.as_str()) {
            decoded(&value.replace('+', " "))?
        } else {
            decoded(value)?
        };
        if name == "ssl" && value == "true" {
            // libpq does this to support JDBC's URLs.
            found
                .entry("sslmode".to_owned())
                .or_insert("require".to_owned());
        } else {
            found.insert(name, value);
        }
    }
    Ok(found)
}

/// Tells whether a URL has a comma where its host is.
fn names_several_hosts(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else {
        return false;
    };
    let (authority, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // With an @ behind it, this is not the end of the hosts but a part of the password.
    let hosts = authority.rsplit('@').next().unwrap_or(authority);
    hosts.contains(',') && !behind.contains('@')
}

fn more_than_one_host() -> Failure {
    usage("more than one host to connect to is not supported")
        .hint("name one server; fix and undo need the primary")
}

/// Undoes percent-encoding. `+` stays `+`, as in libpq.
fn decoded(text: &str) -> Result<String, Failure> {
    percent_decode_str(text)
        .decode_utf8()
        .ok()
        // A NUL would end the string in PostgreSQL's start-up message.
        .filter(|text| !text.contains('\0'))
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| {
            usage("cannot read the database URL: a percent-encoded part is not UTF-8 text")
                .hint(URL_HINT)
        })
}

/// The parameters of a URL, and the environment for everything that the URL does not say.
pub(crate) struct Settings<'e> {
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) environment: &'e dyn Fn(&str) -> Option<String>,
    /// The name of the operating system's user, if it has one.
    pub(crate) system_user: &'e dyn Fn() -> Option<String>,
}

/// The encryption of a connection, and the certificates to verify it with.
struct Tls {
    mode: PgSslMode,
    root: Option<String>,
    client: Option<(String, String)>,
}

impl Settings<'_> {
    pub(crate) fn server(&self) -> Result<ServerTarget, Failure> {
        let host = self.host()?;
        let port: Option<u16> = self.parsed("port", "PGPORT")?;
        let tls = self.tls()?;
        let connect_timeout = self
            .parsed("connect_timeout", "PGCONNECT_TIMEOUT")?
            .map_or(CONNECT_TIMEOUT, |seconds: u32| {
                Duration::from_secs(seconds.into())
            });

        // sqlx reads the password file for the right host and user only if it is given a URL, so
        // its builder is not used. sqlx adds the PG* variables.
        let mut url = form_urlencoded::Serializer::new("postgres:?".to_owned());
        url.append_pair("user", &self.user()?);
        for name in ["password", "dbname", "options"] {
            if let Some(value) = self.parameters.get(name) {
                url.append_pair(name, value);
            }
        }
        if let Some(host) = host {
            url.append_pair("host", &host);
        }
        if let Some(port) = port {
            url.append_pair("port", &port.to_string());
        }
        let mut options = PgConnectOptions::from_str(&url.finish())
            .map_err(|_| usage("cannot use these connection parameters"))?
            .application_name(APPLICATION_NAME)
            // In transaction mode PgBouncer cannot keep named statements. It also refuses start-up
            // parameters that it does not know, such as sqlx's extra_float_digits.
            .statement_cache_capacity(0)
            .extra_float_digits(None);

        // libpq ignores sslmode for a Unix-domain socket (PostgreSQL 17 manual, 32.1.2, "sslmode").
        let socket = options.get_socket().is_some() || options.get_host().starts_with('/');
        options = options.ssl_mode(if socket { PgSslMode::Disable } else { tls.mode });
        // sqlx has read the variables itself; it also takes PEM text there instead of a file name.
        let is_new =
            |value: &String, variable| (self.environment)(variable).as_ref() != Some(value);
        if tls.root.as_deref() == Some("system") {
            // sqlx always trusts the system's roots. An empty root certificate replaces the file
            // that PGSSLROOTCERT may name.
            options = options.ssl_root_cert_from_pem(Vec::new());
        } else if let Some(path) = tls.root.filter(|path| is_new(path, "PGSSLROOTCERT")) {
            options = options.ssl_root_cert(path);
        }
        if let Some((certificate, key)) = tls.client {
            if is_new(&certificate, "PGSSLCERT") {
                options = options.ssl_client_cert(certificate);
            }
            if is_new(&key, "PGSSLKEY") {
                options = options.ssl_client_key(key);
            }
        }

        Ok(ServerTarget {
            options,
            connect_timeout: Some(connect_timeout).filter(|limit| !limit.is_zero()),
            schema: self.own("schema")?,
            pooled: self
                .parameters
                .get("pgbouncer")
                .is_some_and(|value| value == "true"),
            target_session: self
                .parsed("target_session_attrs", "PGTARGETSESSIONATTRS")?
                .unwrap_or(TargetSession::Any),
            warnings: self.warnings(),
        })
    }

    /// Returns a parameter of the URL.
    fn own(&self, name: &str) -> Result<Option<String>, Failure> {
        match self.parameters.get(name).cloned() {
            // To ignore an empty value could mean weaker protection than was asked for.
            Some(value) if value.is_empty() => Err(invalid(&of_url(name))),
            value => Ok(value),
        }
    }

    /// Returns a variable of the environment.
    fn variable(&self, name: &str) -> Result<Option<String>, Failure> {
        match (self.environment)(name) {
            Some(value) if value.is_empty() => Err(invalid(name)),
            value => Ok(value),
        }
    }

    /// Returns a parameter of the URL, or else a variable of the environment.
    fn text(&self, name: &str, variable: &str) -> Result<Option<String>, Failure> {
        match self.own(name)? {
            None => self.variable(variable),
            value => Ok(value),
        }
    }

    /// Parses a parameter or variable as [`Self::text`] finds it. sqlx itself would silently use
    /// the default if it could not parse one.
    fn parsed<T: FromStr>(&self, name: &str, variable: &str) -> Result<Option<T>, Failure> {
        let place = match self.own(name)? {
            None => variable.to_owned(),
            Some(_) => of_url(name),
        };
        self.text(name, variable)?
            .map(|value| value.parse().map_err(|_| invalid(&place)))
            .transpose()
    }

    /// Refuses to go on if nobody named a database: libpq's defaults could lead to any.
    pub(crate) fn refuse_without_database(&self) -> Result<(), Failure> {
        let is_set = |name| (self.environment)(name).is_some();
        if NAMES_A_DATABASE.into_iter().any(is_set) {
            return Ok(());
        }
        let service = if is_set("PGSERVICE") {
            "; PGSERVICE is not supported"
        } else {
            ""
        };
        Err(usage(format!("no database is named{service}")).hint(
            "give its URL with --db-url or --db-url-file, set DATABASE_URL as LiteLLM has it, or \
             PGHOST, PGUSER and PGDATABASE as for psql",
        ))
    }

    /// Returns the user to connect as. If none is named it is the operating system's user, so that
    /// peer authentication works.
    ///
    /// Source: PostgreSQL 17 manual, 32.1.2 "Parameter Key Words", "user".
    fn user(&self) -> Result<String, Failure> {
        if let Some(user) = self.text("user", "PGUSER")? {
            return Ok(user);
        }
        (self.system_user)().ok_or_else(|| {
            usage(
                "no database user is named, and the user who runs this program has no name on this \
                 machine",
            )
            .hint("put the user into the URL, postgresql://USER@HOST/DATABASE, or set PGUSER")
        })
    }

    /// Returns the one host. An address wins over a name, and the URL over the environment.
    fn host(&self) -> Result<Option<String>, Failure> {
        let named = self.own("host")?;
        let host = if named.is_some() && self.own("hostaddr")?.is_none() {
            named
        } else if self
            .text("hostaddr", "PGHOSTADDR")?
            .is_some_and(|addresses| addresses.contains(','))
        {
            return Err(more_than_one_host());
        } else if let Some(address) = self.parsed::<IpAddr>("hostaddr", "PGHOSTADDR")? {
            Some(address.to_string())
        } else {
            self.variable("PGHOST")?
        };
        match host {
            Some(host) if host.contains(',') => Err(more_than_one_host()),
            // A URL has brackets around an IPv6 address; name resolution does not take them.
            Some(host) => Ok(Some(host.trim_matches(['[', ']']).to_owned())),
            None => Ok(None),
        }
    }

    /// Chooses the encryption that libpq and Prisma would choose, and the stronger one if they
    /// differ.
    ///
    /// One thing is weaker: libpq trusts `sslrootcert` alone, but sqlx trusts the system's roots as
    /// well. So only `verify-full` refuses a server with a certificate for another name.
    ///
    /// Sources: PostgreSQL 17 manual, 32.1.2 "Parameter Key Words" and 32.19 "SSL Support"; Prisma
    /// documentation, "PostgreSQL database connector", "Configuring an SSL connection".
    fn tls(&self) -> Result<Tls, Failure> {
        for name in ["sslidentity", "sslpassword"] {
            if self.parameters.contains_key(name) {
                let place = of_url(name);
                return Err(usage(format!("{place} is not supported")).hint(PKCS12_HINT));
            }
        }
        let strict = match self.own("sslaccept")?.as_deref() {
            None => None,
            Some("strict") => Some(true),
            Some("accept_invalid_certs") => Some(false),
            Some(_) => return Err(invalid(&of_url("sslaccept"))),
        };
        let mut root = self.text("sslrootcert", "PGSSLROOTCERT")?;
        let mut certificate = self.text("sslcert", "PGSSLCERT")?;
        let key = self.text("sslkey", "PGSSLKEY")?;
        // For Prisma sslcert is the server's root certificate. For libpq it is the client's, which
        // is useless without a key.
        if key.is_none() && self.own("sslcert")?.is_some() && self.own("sslrootcert")?.is_none() {
            root = certificate.take();
        }
        if certificate.is_some() != key.is_some() {
            return Err(
                usage("sslcert (or PGSSLCERT) and sslkey (or PGSSLKEY) need each other")
                    .hint("give both for a client certificate; a CA goes into sslrootcert"),
            );
        }

        let asked = if self.asks_no_verify() {
            Some(PgSslMode::Prefer)
        } else {
            self.parsed("sslmode", "PGSSLMODE")?
        };
        let plain = self.own("sslmode")?.is_some() && matches!(asked, Some(PgSslMode::Disable));
        let system = root.as_deref() == Some("system");
        let mode = match asked {
            // Prisma verifies only if it is asked to, and then verifies everything.
            _ if strict == Some(true) && !plain => PgSslMode::VerifyFull,
            None if system => PgSslMode::VerifyFull,
            // libpq verifies as soon as it has a root certificate, sqlx only if it is asked to.
            Some(PgSslMode::Require) if !system && root.is_some() && strict.is_none() => {
                PgSslMode::VerifyCa
            }
            // sqlx never uses TLS with Allow. Prefer uses it if the server has it.
            Some(PgSslMode::Allow) | None => PgSslMode::Prefer,
            Some(mode) => mode,
        };
        if system && !matches!(mode, PgSslMode::VerifyFull) {
            return Err(usage("sslrootcert=system needs sslmode=verify-full").hint(
                "name the server's own CA as sslrootcert, or let the host name be verified",
            ));
        }
        Ok(Tls {
            mode,
            root,
            client: certificate.zip(key),
        })
    }

    fn asks_no_verify(&self) -> bool {
        self.parameters.get("sslmode").map(String::as_str) == Some(NO_VERIFY)
    }

    fn warnings(&self) -> Vec<String> {
        let unknown = self.parameters.iter().filter(|(name, value)| {
            match name.as_str() {
                // Their defaults ask for no more than this program does.
                name if MAY_STRENGTHEN.contains(&name) => *value == "require",
                name => !IGNORED.contains(&name) && !HONOURED.contains(&name),
            }
        });
        let service = (self.environment)("PGSERVICE").map(|_| "PGSERVICE");
        let asks = |variable, parameter: &str, value: Option<&str>| {
            let set = (self.environment)(variable).filter(|set| !set.is_empty());
            let counts = !self.parameters.contains_key(parameter);
            counts && set.is_some_and(|set| value.is_none_or(|value| set == value))
        };
        let strengthening = STRENGTHENING_VARIABLES
            .into_iter()
            .filter(|(variable, parameter, value)| asks(variable, parameter, *value))
            .map(|(variable, ..)| variable);
        let variables = { service.into_iter() }
            .chain(strengthening)
            .map(|variable| format!("{variable} is not supported and has no effect"));
        // The rest of a password after a bare & looks like a parameter.
        let after_password = self.parameters.contains_key("password");
        unknown
            .map(|(name, _)| {
                if after_password && !MAY_STRENGTHEN.contains(&name.as_str()) {
                    return "a parameter of the database URL is unknown and has no effect; an & in the \
                            password must be written %26"
                        .to_owned();
                }
                format!(
                    "{} is unknown or not supported and has no effect",
                    of_url(name)
                )
            })
            .chain(variables)
            .chain(self.asks_no_verify().then(|| {
                format!(
                    "sslmode={NO_VERIFY} means prefer here, as for Prisma: the connection is encrypted \
                     if the server can, and the certificate is not verified unless sslaccept=strict"
                )
            }))
            .collect()
    }
}

fn of_url(parameter: &str) -> String {
    format!(
        "parameter `{}` of the database URL",
        parameter.escape_debug()
    )
}

fn invalid(place: &str) -> Failure {
    usage(format!("{place} has an invalid value")).hint("correct it, or leave it out")
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::db::connect::Target;

    const SECRET: &str = "hunter2";

    type Variables = [(&'static str, &'static str)];

    fn resolve(url: Option<&str>, variables: &Variables) -> Result<Target, Failure> {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Target::resolve_in(url, &lookup, &|| Some("me".to_owned()))
    }

    fn server_in(url: Option<&str>, variables: &Variables) -> ServerTarget {
        match resolve(url, variables) {
            Ok(Target::Server(server)) => *server,
            other => panic!("{url:?}: {other:?}"),
        }
    }

    fn server(url: &str) -> ServerTarget {
        server_in(Some(url), &[])
    }

    fn refusal(url: &str, variables: &Variables) -> String {
        match resolve(Some(url), variables) {
            Err(failure) if failure.kind() == ErrorKind::Usage => failure.to_string(),
            other => panic!("{url}: {other:?}"),
        }
    }

    /// Shows everything that sqlx was given, with the password.
    fn options(server: &ServerTarget) -> String {
        format!("{:?}", server.options)
    }

    #[track_caller]
    fn assert_has(text: &str, parts: &[&str]) {
        for part in parts {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }

    #[test]
    fn a_url_says_where_to_connect_in_the_ways_of_prisma_and_of_libpq() {
        for (url, host, port) in [
            (
                "postgresql://u:p@db.internal:6432/litellm",
                "db.internal",
                6432,
            ),
            ("postgres://u@[::1]:6432/litellm", "::1", 6432),
            ("postgres://?host=a&port=7", "a", 7),
            ("postgres://u@a:6/d?host=b&port=7", "b", 7),
            ("postgres://u@a:7/d?hostaddr=10.0.0.1", "10.0.0.1", 7),
            ("postgres://u@localhost:7/d?host=/run/pg", "/run/pg", 7),
            ("postgres://u@%2Frun%2Fpg:7/d", "/run/pg", 7),
            (" \"postgresql://u:p@q:7/d\"\n", "q", 7),
            ("'postgresql://u:p@q:7/d'", "q", 7),
        ] {
            let server = server(url);
            assert_eq!(
                (server.host().as_str(), server.port()),
                (host, port),
                "{url}"
            );
            assert_eq!(server.warnings(), [""; 0], "{url}");
        }
    }

    #[test]
    fn user_password_and_database_are_percent_decoded_once() {
        let told = options(&server(
            "postgresql://a%40b:p%2F%23+%25%C3%A9@h/lite%20llm/",
        ));
        assert_has(&told, &[r#""a@b""#, r#""p/#+%é""#, r#""lite llm""#]);
        let query = "user=a%26b&password=p+%2B&dbname=d&options=-c%20x%3D1";
        let told = options(&server(&format!("postgres://h?{query}")));
        assert_has(&told, &[r#""a&b""#, r#""p++""#, r#""d""#, r#"-c x=1""#]);
    }

    #[test]
    fn a_pooler_gets_nothing_it_cannot_take_and_our_name() {
        let told = options(&server("postgres://u@h:1/d?application_name=litellm"));
        assert_has(
            &told,
            &[
                "statement_cache_capacity: 0",
                "extra_float_digits: None",
                r#"application_name: Some("mcp-prune")"#,
            ],
        );
    }

    #[test]
    fn without_a_url_the_environment_says_where() {
        let variables = [
            ("PGHOST", "db"),
            ("PGPORT", "7"),
            ("PGCONNECT_TIMEOUT", "3"),
        ];
        let server = server_in(None, &variables);
        assert_eq!((server.host().as_str(), server.port()), ("db", 7));
        assert_eq!(server.connect_timeout, Some(Duration::from_secs(3)));
        let address = [("PGHOST", "db"), ("PGHOSTADDR", "10.0.0.1")];
        assert_eq!(server_in(None, &address).host(), "10.0.0.1");
    }

    #[test]
    fn the_url_wins_over_the_environment() {
        let variables = [
            ("PGHOSTADDR", "10.0.0.1"),
            ("PGHOST", "a,b"),
            ("PGPORT", "x"),
            ("PGSSLMODE", "x"),
            ("PGCONNECT_TIMEOUT", "x"),
        ];
        let url = "postgres://u@h:7/d?sslmode=require&connect_timeout=0";
        let server = server_in(Some(url), &variables);
        assert_eq!((server.host().as_str(), server.port()), ("h", 7));
        assert_eq!(server.connect_timeout, None);
    }

    #[test]
    fn a_variable_that_sqlx_would_pass_over_is_refused() {
        for variable in [
            ("PGPORT", "54x"),
            ("PGPORT", ""),
            ("PGSSLMODE", "verify_full"),
            ("PGHOSTADDR", "db.internal"),
            ("PGHOST", ""),
            ("PGCONNECT_TIMEOUT", "soon"),
        ] {
            assert_has(&refusal("postgres://", &[variable]), &[variable.0]);
        }
    }

    #[test]
    fn without_a_user_it_is_the_operating_systems() {
        for (url, variables, user) in [
            ("postgres://h/d", &[] as &Variables, "me"),
            ("postgres://h/d", &[("PGUSER", "pg")], "pg"),
            ("postgres://u@h/d", &[("PGUSER", "pg")], "u"),
            ("postgres://h/d?user=q", &[("PGUSER", "pg")], "q"),
        ] {
            let server = server_in(Some(url), variables);
            assert_eq!(server.options.get_username(), user, "{url} {variables:?}");
        }
        let nobody = Target::resolve_in(Some("postgres://h/d"), &|_| None, &|| None);
        assert_has(
            &nobody.unwrap_err().to_string(),
            &["no database user", "PGUSER"],
        );
    }

    #[test]
    fn no_database_at_all_is_told_as_such() {
        for (variables, told) in [
            (&[] as &Variables, "no database is named\n"),
            (&[("PGSERVICE", "x")], "PGSERVICE is not supported"),
            (&[("PGPASSWORD", SECRET)], "no database is named"),
        ] {
            let failure = resolve(None, variables).unwrap_err();
            assert_eq!(failure.kind(), ErrorKind::Usage);
            assert_has(&failure.to_string(), &[told, "DATABASE_URL"]);
        }
        // Whoever asks for libpq's defaults in so many words gets them.
        assert!(resolve(Some("postgresql://"), &[]).is_ok());
    }

    #[test]
    fn a_plus_is_a_space_where_prisma_alone_or_litellm_writes_it() {
        let server = server("postgres://h/d?options=-c+a%3Db%2Bc&schema=a+b&password=p+");
        assert_has(&options(&server), &[r#""-c a=b+c""#, r#""p+""#]);
        assert_eq!(server.schema(), Some("a b"));
    }

    #[test]
    fn no_verify_is_prismas_prefer_and_said() {
        let server = server("postgres://h/d?sslmode=no-verify");
        assert_eq!(format!("{:?}", server.options.get_ssl_mode()), "Prefer");
        assert_has(
            &server.warnings().join("\n"),
            &["no-verify", "not verified"],
        );
        let strict = self::server("postgres://h/d?sslmode=no-verify&sslaccept=strict");
        assert_eq!(format!("{:?}", strict.options.get_ssl_mode()), "VerifyFull");
    }

    #[test]
    fn schema_and_timeout_are_for_the_caller() {
        let server = server("postgres://u@h/d?schema=Lite%20LLM&connect_timeout=30");
        assert_eq!(server.schema(), Some("Lite LLM"));
        assert_eq!(server.connect_timeout, Some(Duration::from_secs(30)));
        let server = self::server("postgres://u@h/d");
        assert_eq!(server.schema(), None);
        assert_eq!(server.connect_timeout, Some(Duration::from_secs(10)));
    }

    #[test]
    fn what_has_no_effect_is_said_unless_it_is_known_to_be_harmless() {
        let known = "connection_limit=5&pool_timeout=0&socket_timeout=9&pgbouncer=true\
            &statement_cache_size=0&application_name=x&keepalives_idle=1\
            &channel_binding=prefer";
        assert_eq!(
            server(&format!("postgres://u@h/d?{known}")).warnings(),
            [""; 0]
        );
        let url = "postgres://u@h/d?sslmod=verify-full&channel_binding=require&sslcrl=f";
        let server = server_in(Some(url), &[("PGSERVICE", "prod")]);
        let warnings = server.warnings().join("\n");
        assert_has(
            &warnings,
            &["`channel_binding`", "`sslcrl`", "`sslmod`", "PGSERVICE"],
        );
        assert_eq!(warnings.lines().count(), 4);
        let with_password =
            self::server("postgres://u@h/d?password=x&rest-of-it=1&gssencmode=require");
        let warnings = with_password.warnings().join("\n");
        assert_has(&warnings, &["`gssencmode`", "written %26"]);
        assert!(!warnings.contains("rest-of-it"), "{warnings}");
        assert!(
            !warnings.contains("verify-full") && !warnings.contains("prod"),
            "{warnings}"
        );
    }

    /// Checks what becomes of every parameter of libpq and of Prisma.
    ///
    /// Sources: PostgreSQL 18 manual, 32.1.2 "Parameter Key Words"; Prisma documentation,
    /// "PostgreSQL database connector", "Arguments".
    #[test]
    fn no_parameter_is_passed_over_by_oversight() {
        let counts = "connect_timeout=1 dbname=d host=h hostaddr=10.0.0.1 options=-cgeqo%3Doff \
            password=p port=7 schema=s sslaccept=strict sslcert=c sslmode=require sslrootcert=c \
            target_session_attrs=read-write user=u";
        let harmless = "application_name=x client_encoding=x connection_limit=1 \
            fallback_application_name=x gsslib=x keepalives=0 keepalives_count=1 \
            keepalives_idle=1 keepalives_interval=1 krbsrvname=x load_balance_hosts=random \
            max_connection_lifetime=1 max_idle_connection_lifetime=1 pgbouncer=true \
            pool_timeout=1 single_use_connections=true socket_timeout=1 sslcompression=0 \
            sslsni=1 statement_cache_size=0 tcp_user_timeout=1 channel_binding=prefer \
            gssencmode=prefer";
        let warned = "channel_binding=require gssdelegation=1 gssencmode=require \
            max_protocol_version=x min_protocol_version=x oauth_client_id=x \
            oauth_client_secret=x oauth_issuer=x oauth_scope=x passfile=x replication=true \
            require_auth=x requirepeer=x requiressl=1 scram_client_key=x scram_server_key=x \
            service=x servicefile=x ssl_max_protocol_version=x ssl_min_protocol_version=x \
            sslcertmode=require sslcrl=x sslcrldir=x sslkeylogfile=x sslnegotiation=direct";
        let refused = "sslidentity=x sslkey=x sslpassword=x target_session_attrs=x";
        for (all, effect) in [(counts, true), (harmless, false)] {
            for pair in all.split_whitespace() {
                let name = pair.split_once('=').unwrap().0;
                let server = server(&format!("postgres://u@h/d?{pair}"));
                assert_eq!(server.warnings(), [""; 0], "{pair}");
                assert_eq!(HONOURED.contains(&name), effect, "{pair}");
            }
        }
        for pair in warned.split_whitespace() {
            let warnings = server(&format!("postgres://u@h/d?{pair}")).warnings;
            let name = pair.split_once('=').unwrap().0;
            assert_eq!(warnings.len(), 1, "{pair}");
            assert_has(&warnings[0], &[&format!("`{name}`"), "has no effect"]);
        }
        for pair in refused.split_whitespace() {
            let _ = refusal(&format!("postgres://u@h/d?{pair}"), &[]);
        }
    }

    #[test]
    fn a_variable_that_asks_for_protection_in_vain_is_told() {
        for (variable, parameter, value) in STRENGTHENING_VARIABLES {
            let set = [(variable, value.unwrap_or("x"))];
            let warnings = server_in(Some("postgres://u@h/d"), &set).warnings;
            let told = format!("{variable} is not supported and has no effect");
            assert_eq!(warnings, [told]);
            for nothing in [(variable, ""), (variable, "prefer")] {
                let warnings = server_in(Some("postgres://u@h/d"), &[nothing]).warnings;
                let asks = value.is_none() && !nothing.1.is_empty();
                assert_eq!(warnings.len(), usize::from(asks), "{nothing:?}");
            }
            if parameter == "sslmode" {
                let url = "postgres://u@h/d?sslmode=verify-full";
                assert_eq!(server_in(Some(url), &set).warnings, [""; 0]);
            }
        }
    }

    #[test]
    fn the_kind_of_server_comes_from_the_url_or_else_from_the_environment() {
        let variable = [("PGTARGETSESSIONATTRS", "standby")];
        for (url, variables, wanted) in [
            ("postgres://u@h/d", &[] as &Variables, TargetSession::Any),
            ("postgres://u@h/d", &variable, TargetSession::Standby),
            (
                "postgres://u@h/d?target_session_attrs=read-write",
                &variable,
                TargetSession::ReadWrite,
            ),
        ] {
            assert_eq!(server_in(Some(url), variables).target_session, wanted);
        }
        let wrong = [("PGTARGETSESSIONATTRS", "master")];
        assert_has(&refusal("postgres://u@h/d", &wrong), &[wrong[0].0]);
    }

    #[test]
    fn encryption_is_never_weaker_than_asked_for() {
        for (query, variables, mode) in [
            ("", &[] as &Variables, "Prefer"),
            ("sslmode=disable", &[], "Disable"),
            ("sslmode=allow", &[], "Prefer"),
            ("sslmode=prefer", &[], "Prefer"),
            ("sslmode=require", &[], "Require"),
            ("sslmode=verify-ca", &[], "VerifyCa"),
            ("sslmode=verify-full", &[], "VerifyFull"),
            ("ssl=true", &[], "Require"),
            ("sslmode=verify-full&ssl=true", &[], "VerifyFull"),
            ("", &[("PGSSLMODE", "verify-full")], "VerifyFull"),
            // libpq verifies if there is a root certificate.
            ("sslmode=require&sslrootcert=ca", &[], "VerifyCa"),
            ("sslmode=require", &[("PGSSLROOTCERT", "ca")], "VerifyCa"),
            ("sslmode=require&sslcert=ca", &[], "VerifyCa"),
            ("sslmode=require&sslcert=c&sslkey=k", &[], "Require"),
            ("sslrootcert=system", &[], "VerifyFull"),
            ("sslmode=verify-full&sslrootcert=system", &[], "VerifyFull"),
            // Prisma verifies if told to.
            ("sslaccept=strict", &[], "VerifyFull"),
            (
                "sslaccept=strict",
                &[("PGSSLMODE", "disable")],
                "VerifyFull",
            ),
            ("sslaccept=strict&sslmode=prefer", &[], "VerifyFull"),
            ("sslaccept=strict&sslmode=require", &[], "VerifyFull"),
            ("sslaccept=strict&sslmode=disable", &[], "Disable"),
            (
                "sslaccept=accept_invalid_certs&sslmode=require&sslcert=ca",
                &[],
                "Require",
            ),
            (
                "sslaccept=accept_invalid_certs&sslmode=verify-full",
                &[],
                "VerifyFull",
            ),
            // There is no TLS over a Unix-domain socket.
            ("sslmode=require&host=/run/pg", &[], "Disable"),
        ] {
            let server = server_in(Some(&format!("postgres://u@h/d?{query}")), variables);
            let found = format!("{:?}", server.options.get_ssl_mode());
            assert_eq!(found, mode, "{query} {variables:?}");
        }
    }

    #[test]
    fn a_certificate_without_a_key_is_prismas_root_certificate() {
        let root = [
            r#"ssl_root_cert: Some(File("ca"))"#,
            "ssl_client_cert: None",
        ];
        let client = [
            r#"ssl_root_cert: Some(File("ca"))"#,
            r#"ssl_client_cert: Some(File("c")), ssl_client_key: Some(File("k"))"#,
        ];
        for (query, told) in [
            ("sslcert=ca", &root[..]),
            ("sslrootcert=ca", &root),
            ("sslrootcert=ca&sslcert=c&sslkey=k", &client),
            ("sslrootcert=system", &["ssl_root_cert: Some(Inline([]))"]),
        ] {
            assert_has(
                &options(&server(&format!("postgres://u@h/d?{query}"))),
                told,
            );
        }
    }

    #[test]
    fn a_parameter_that_cannot_be_honoured_is_named() {
        for (query, name) in [
            ("sslmode=foo", "`sslmode`"),
            ("sslmode=", "`sslmode`"),
            ("port=abc", "`port`"),
            ("connect_timeout=-1", "`connect_timeout`"),
            ("schema=", "`schema`"),
            ("hostaddr=db", "`hostaddr`"),
            ("sslaccept=maybe", "`sslaccept`"),
            ("sslidentity=id.p12&sslpassword=hunter2", "openssl pkcs12"),
            ("sslkey=k&sslpassword=hunter2", "`sslpassword`"),
            ("sslkey=k", "sslcert"),
            ("sslrootcert=ca&sslcert=c", "sslkey"),
            ("sslrootcert=system&sslmode=require", "sslmode=verify-full"),
            ("host=a,b", "more than one host"),
        ] {
            assert_has(&refusal(&format!("postgres://u@h/d?{query}"), &[]), &[name]);
        }
        assert_has(&refusal("postgres://u@a,b/d", &[]), &["more than one host"]);
        for url in ["postgres://u:p@a:1,b:2/d", "postgres://a:1,b:2"] {
            assert_has(&refusal(url, &[]), &["more than one host"]);
        }
        let addresses = [("PGHOSTADDR", "10.0.0.1,10.0.0.2")];
        assert_has(&refusal("postgres://", &addresses), &["more than one host"]);
        assert_has(
            &refusal("postgres://", &[("PGHOST", "a,b")]),
            &["more than one host"],
        );
        assert_has(&refusal("mysql://u:p@h/d", &[]), &["mysql://"]);
        assert_has(
            &refusal("prisma://accelerate/?api_key=k", &[]),
            &["prisma://"],
        );
    }

    #[test]
    fn an_embedded_database_is_a_file() {
        let target = resolve(Some("'embedded:dump 1.sql'"), &[]).unwrap();
        assert_eq!(format!("{target:?}"), r#"Embedded("dump 1.sql")"#);
        assert_has(&refusal("embedded:", &[]), &["FILE.sql"]);
    }

    #[test]
    fn no_text_shows_the_password() {
        for url in [
            "",
            "hunter2",
            "hunter2:x",
            "\"postgresql://u:hunter2@h/d",
            "host=h password=hunter2",
            "u:hunter2@h/d",
            "postgres:u:hunter2@h/d",
            "postgresql://u:hunter2@/d",
            "postgresql://u:hunter2@h:port/d",
            "postgresql://u:hunter2@h:99999/d",
            "postgresql://u:hunter2@h1:1,h2:2/d",
            "postgresql://u:hunter2@h h/d",
            "postgresql://u:#hunter2@h/d",
            "postgresql://u:1#hunter2@h/d",
            "postgresql://u:1/hunter2@h/d",
            "postgresql://u:1?hunter2@h/d",
            "postgresql://u:1?hunter2=@h/d?schema=x",
            "postgresql://u:hunter2#@h/d",
            "postgresql://u:hunter2?@h/d",
            "postgresql://u:hunter2%ff@h/d",
            "postgresql://u:hunter2%00@h/d",
            "postgresql://h/d?user=u&password=x&hunter2",
            "postgresql://u:hunter2@h/d?sslmode=hunter2",
            "postgresql://u:hunter2@h/d?port=hunter2",
            "postgresql://u:hunter2@h/d?sslpassword=hunter2",
            "https://u:hunter2@h/d",
        ] {
            let text = refusal(url, &[]);
            assert!(!text.contains(SECRET), "{url}: {text}");
        }
        let url = "postgresql://u:hunter2@h/d?password=hunter2&pasword=hunter2&schema=s";
        let target = resolve(Some(url), &[("PGPASSWORD", SECRET)]).unwrap();
        let text = format!("{target:?} {target:#?}");
        assert_has(&text, &["is unknown", "written %26"]);
        assert!(!text.contains(SECRET), "{text}");
    }

    /// Connects to a server that says `answer` to whatever it reads; returns its address and the
    /// error.
    async fn failure(answer: Vec<u8>, query: &str) -> (String, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            // A pooler that refuses the options is connected to once more, without them.
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]);
                stream.write_all(&answer).unwrap();
                // Until the other end is closed.
                let _ = stream.read(&mut [0; 1024]);
            }
        });
        let server = server(&format!("postgres://u:hunter2@{address}/d?{query}"));
        let failure = server.connect().await.unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Access);
        let text = failure.to_string();
        assert!(!text.contains(SECRET), "{text}");
        (address, text)
    }

    /// Builds the message by which a server refuses a connection.
    ///
    /// Source: PostgreSQL 17 manual, 53.7 "Message Formats", `ErrorResponse`.
    fn error_response(state: &str) -> Vec<u8> {
        let fields = format!("SFATAL\0VFATAL\0C{state}\0Mno, because\0\0");
        let length = u32::try_from(fields.len() + 4).unwrap();
        [b"E", &length.to_be_bytes()[..], fields.as_bytes()].concat()
    }

    #[tokio::test]
    async fn what_the_server_said_comes_with_a_fitting_hint() {
        for (state, hint) in [
            ("28P01", "password"),
            ("28000", "pg_hba.conf"),
            ("3D000", "database name"),
            ("42501", "CONNECT on the database"),
            ("53300", "wait until"),
            ("57P03", "starting up"),
            ("08P01", "pooler"),
        ] {
            let (address, text) = failure(error_response(state), "sslmode=disable").await;
            let said = format!("cannot connect to {address}: no, because\nhint: ");
            assert_has(&text, &[&said, hint]);
        }
    }

    /// Connects to a server that answers nothing but `answer`; returns the start-up message of each
    /// try.
    async fn start_ups(answer: Vec<u8>, query: &str) -> Vec<String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell, told) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut message = [0; 1024];
                let length = stream.read(&mut message).unwrap();
                let text = String::from_utf8_lossy(&message[..length]).into_owned();
                let _ = tell.send(text);
                stream.write_all(&answer).unwrap();
                let _ = stream.read(&mut [0; 1024]);
            }
        });
        let server = server(&format!("postgres://u@{address}/d?sslmode=disable&{query}"));
        let _ = server.connect().await.unwrap_err();
        told.try_iter().collect()
    }

    #[tokio::test]
    async fn the_search_path_is_empty_from_the_start_where_that_can_be_had() {
        const EMPTY: &str = "-c search_path=\0";
        let wrong = error_response("28P01");
        for (query, options) in [
            ("", format!("options\0{EMPTY}")),
            // The last word counts.
            (
                "options=-c%20search_path%3Devil",
                format!("options\0-c search_path=evil {EMPTY}"),
            ),
        ] {
            let said = start_ups(wrong.clone(), query).await;
            assert_eq!(said.len(), 1);
            assert_has(&said[0], &[&options]);
        }
        // A pooler refuses options that nobody but this program wants.
        for state in ["08P01", "0A000"] {
            let said = start_ups(error_response(state), "").await;
            assert_eq!(said.len(), 2);
            assert_has(&said[0], &[EMPTY]);
            assert!(!said[1].contains("options"), "{}", said[1]);
        }
        let said = start_ups(wrong, "pgbouncer=true&options=-c%20geqo%3Doff").await;
        assert_eq!(said.len(), 1);
        assert_has(&said[0], &["options\0-c geqo=off\0"]);
    }

    #[tokio::test]
    async fn a_server_without_tls_will_not_do_if_tls_is_required() {
        let (_, text) = failure(b"N".to_vec(), "sslmode=require").await;
        assert_has(&text, &["server does not support TLS"]);
    }

    #[tokio::test]
    async fn a_server_that_is_silent_is_waited_for_so_long() {
        let (address, text) = failure(Vec::new(), "connect_timeout=1").await;
        let said = format!("cannot connect to {address}: no answer within 1 s");
        assert_has(&text, &[&said, "connect_timeout"]);
    }

    #[tokio::test]
    async fn a_closed_port_and_a_missing_socket_are_told_apart() {
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let failure = server(&format!("postgres://u@{free}/d"))
            .connect()
            .await
            .unwrap_err();
        let said = format!("cannot connect to {free}: connection refused");
        assert_has(&failure.to_string(), &[&said]);
        let failure = server("postgres://u@h:7/d?host=/nowhere")
            .connect()
            .await
            .unwrap_err();
        assert_has(
            &failure.to_string(),
            &["cannot connect to /nowhere/.s.PGSQL.7: ", "socket"],
        );
    }
}
