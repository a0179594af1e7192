//! Explains why a connection failed or was lost, in the words of PostgreSQL and of certificates.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the errors of other crates are not exhaustive"
)]

use std::io;

use rustls::{AlertDescription, CertificateError, OtherError};

const CHECK_FILES: &str = "check sslrootcert, sslcert and sslkey, whose paths are relative to the \
    current directory and not to Prisma's schema";

const CHECK_SOCKET: &str = "check the folder of the server's socket, that the server runs on this \
    machine, and its port, which is part of the socket's name";

const CHECK_CLIENT: &str = "give the client certificate as sslcert and its key as sslkey, both in \
    PEM, and the server's CA as sslrootcert";

const CHECK_TLS: &str = "name the file of the server's CA as sslrootcert, and connect to a \
    host name of its certificate; a client certificate needs both sslcert and sslkey";

const NO_TLS: &str = "turn on ssl in the server; sslmode=prefer does without where there is \
    none, and then nothing is encrypted";

/// The way in which a server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    UnixSocket,
}

/// Returns why a connection failed, and what to do about it.
///
/// Source for SQLSTATEs: PostgreSQL 17 manual, appendix A, "PostgreSQL Error Codes".
pub(crate) fn explain(error: &sqlx::Error, transport: Transport) -> (String, &'static str) {
    if let Some(database) = error.as_database_error() {
        let code = database.code();
        let hint = match code.as_deref() {
            Some(code) if code.starts_with("28") => {
                "check user, password and pg_hba.conf, which may want sslmode=require or a client \
                 certificate; a password file counts only if nobody else may read it"
            }
            Some("3D000") => "check the database name at the end of the URL, or PGDATABASE",
            Some("42501") => "grant this role CONNECT on the database, or use another role",
            Some("53300") => "wait until connections are freed, or raise the server's limit",
            Some("57P03") => "the server is starting up or shutting down; wait and run it again",
            // As PgBouncer says it, which has no code of its own for it.
            Some("08P01") if database.message().contains("startup parameter") => {
                "leave it out of the URL, or name it in the pooler's ignore_startup_parameters"
            }
            _ => "ask whoever runs the server or its pooler what this means",
        };
        return (database.message().to_owned(), hint);
    }
    if let sqlx::Error::Io(error) = error {
        return match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(tls) => explain_handshake(tls),
            None => explain_io(error, transport),
        };
    }
    if let sqlx::Error::Tls(inner) = error {
        // This error comes before the handshake, so it is about files of this machine.
        return match inner.downcast_ref() {
            Some(tls) => explain_own_files(tls),
            // As sqlx 0.9 says it, which has no kind for it.
            None if inner.to_string().contains("does not support TLS") => {
                ("the server does not support TLS".to_owned(), NO_TLS)
            }
            None if inner.to_string().contains("Invalid certificate") => (
                "the file of sslrootcert holds something that is no certificate".to_owned(),
                "give a file of PEM certificates, each from BEGIN CERTIFICATE to END CERTIFICATE",
            ),
            None => (
                "TLS cannot be had with this host name and these certificates".to_owned(),
                CHECK_TLS,
            ),
        };
    }
    if let sqlx::Error::Configuration(_) = error {
        let reason = "the files of sslcert and sslkey hold no certificate and private key";
        return (reason.to_owned(), CHECK_CLIENT);
    }
    if let sqlx::Error::Protocol(text) = error
        // As sqlx 0.9 says it, which has no kind for it.
        && text.contains("authentication method")
    {
        return (
            "the server asks for a way of authentication that this program does not have"
                .to_owned(),
            "let this role log in with scram-sha-256, md5, password, peer, cert or trust in \
             pg_hba.conf",
        );
    }
    (
        "what answers there does not speak PostgreSQL's protocol".to_owned(),
        "check the host and the port: this may be another service, or a proxy in between",
    )
}

/// Returns what a driver's error means that is no answer of the server, for a message about a
/// statement.
pub(crate) fn plain_words(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(error) if is_lost(error) => {
            "the connection to the server was lost".to_owned()
        }
        sqlx::Error::Io(error) => format!("the connection to the server failed: {error}"),
        sqlx::Error::Protocol(_) => "the server's answer is not understood".to_owned(),
        other => other.to_string(),
    }
}

fn is_lost(error: &io::Error) -> bool {
    [
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::UnexpectedEof,
    ]
    .contains(&error.kind())
}

fn explain_io(error: &io::Error, transport: Transport) -> (String, &'static str) {
    let is = |kinds: &[io::ErrorKind]| kinds.contains(&error.kind());
    if is(&[io::ErrorKind::ConnectionRefused]) {
        (
            "connection refused".to_owned(),
            "nothing listens there: check the host, the port and that the server runs",
        )
    } else if is(&[io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied]) {
        if transport == Transport::UnixSocket {
            return (
                format!("its socket cannot be opened: {error}"),
                CHECK_SOCKET,
            );
        }
        // A TCP connection hardly ever fails like that.
        (
            format!("a file of sslrootcert, sslcert or sslkey cannot be read: {error}"),
            CHECK_FILES,
        )
    } else if is_lost(error) {
        (
            "the server closed the connection without an answer".to_owned(),
            "look into the log of the server or of the pooler; the port may be another service's",
        )
    } else {
        (
            error.to_string(),
            "check the host, the port and that a PostgreSQL server is reachable from here",
        )
    }
}

/// Explains why a handshake failed, most often over a property of the server's certificate.
fn explain_handshake(error: &rustls::Error) -> (String, &'static str) {
    let (reason, hint) = match error {
        rustls::Error::InvalidCertificate(certificate) => return explain_certificate(certificate),
        rustls::Error::AlertReceived(alert) => explain_alert(*alert),
        rustls::Error::PeerIncompatible(_) => (
            "the server and this program have no version of TLS, or no cipher, in common",
            "let the server speak TLS 1.2 or 1.3 (ssl_min_protocol_version and \
             ssl_max_protocol_version)",
        ),
        _ => (
            "the TLS handshake failed: the server's part of it is not understood",
            "look into the log of the server, or of the proxy in between",
        ),
    };
    (reason.to_owned(), hint)
}

fn explain_alert(alert: AlertDescription) -> (&'static str, &'static str) {
    match alert {
        AlertDescription::CertificateRequired => (
            "the server asks for a client certificate",
            "give it as sslcert, and its key as sslkey",
        ),
        AlertDescription::BadCertificate
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::UnsupportedCertificate => (
            "the server does not accept the client certificate",
            "give as sslcert one that an authority of the server's ssl_ca_file has signed",
        ),
        AlertDescription::ProtocolVersion => (
            "the server speaks neither TLS 1.2 nor TLS 1.3",
            "raise ssl_max_protocol_version in the server",
        ),
        _ => (
            "the server ended the TLS handshake",
            "look into the log of the server, or of the proxy in between",
        ),
    }
}

/// Explains which property of the server's certificate is in the way.
fn explain_certificate(error: &CertificateError) -> (String, &'static str) {
    let renew = "have the server's certificate renewed, and check the clock of this machine";
    let (reason, hint) = match error {
        CertificateError::UnknownIssuer => (
            "no authority that is trusted here has signed the server's certificate",
            "name the file of the server's CA as sslrootcert",
        ),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let host = expected.to_str();
            let reason = if presented.is_empty() {
                format!(
                    "the server's certificate names no host as subjectAltName, so it is not one \
                     for {host} (its common name does not count)"
                )
            } else {
                format!("the server's certificate is not for the host name {host}")
            };
            return (
                reason,
                "connect to a host name of the certificate, or use sslmode=verify-ca, which checks \
                 the authority alone",
            );
        }
        CertificateError::NotValidForName => (
            "the server's certificate is not for this host name",
            "connect to a host name of the certificate, or use sslmode=verify-ca, which checks \
             the authority alone",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("the server's certificate has expired", renew)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("the server's certificate is not valid yet", renew)
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => (
            "the server's certificate is not one for servers (its extended key usage)",
            "have one made with the extended key usage serverAuth, or without any",
        ),
        CertificateError::BadSignature => (
            "the signature of the server's certificate does not match",
            "name the CA that signed it as sslrootcert",
        ),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => (
            "the server's certificate has a key or a signature of a kind that this program does \
             not have",
            "have one made with RSA of 2048 to 8192 bits, ECDSA P-256 or P-384, or Ed25519, signed \
             with SHA-256 or better",
        ),
        CertificateError::Other(other) if is_version_1(other) => (
            "the server's certificate is of X.509 version 1, which this program cannot read",
            "make the server one of version 3: `openssl x509 -req` does where -extfile names a \
             file with a line such as subjectAltName=DNS:HOST; sslmode=disable connects without \
             encryption",
        ),
        CertificateError::Other(other) if is_authority(other) => (
            "the server's certificate is that of an authority (CA:TRUE), as a self-signed one is \
             that is its own root, and this program verifies no such certificate",
            "sign a certificate for the server with it, and name it as sslrootcert; \
             sslmode=require without a root certificate encrypts and verifies nothing",
        ),
        CertificateError::Other(other) if is_critical_extension(other) => (
            "the server's certificate has a critical extension that this program does not know",
            "have one made without it",
        ),
        CertificateError::BadEncoding => (
            "the server's certificate is malformed",
            "have another one made; `openssl x509 -text` shows what is in it",
        ),
        _ => ("the server's certificate cannot be verified", CHECK_TLS),
    };
    (reason.to_owned(), hint)
}

/// Explains what is wrong with the files of sslrootcert, sslcert and sslkey.
fn explain_own_files(error: &rustls::Error) -> (String, &'static str) {
    let (reason, hint) = match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
            if is_version_1(other) =>
        {
            (
                "the client certificate, sslcert, is of X.509 version 1, which this program cannot \
                 read",
                "have one of version 3 made: `openssl x509 -req` does where -extfile names a file \
                 with an extension, such as extendedKeyUsage=clientAuth",
            )
        }
        rustls::Error::InvalidCertificate(_) => (
            "a certificate in the file of sslrootcert or of sslcert cannot be read",
            CHECK_CLIENT,
        ),
        rustls::Error::InconsistentKeys(_) => (
            "the key in sslkey is not that of the certificate in sslcert",
            CHECK_CLIENT,
        ),
        _ => (
            "the files of sslcert and sslkey cannot be used",
            CHECK_CLIENT,
        ),
    };
    (reason.to_owned(), hint)
}

/// Returns the verifier's own error, where rustls has no kind for it.
fn verifier_error(error: &OtherError) -> Option<&webpki::Error> {
    error.0.downcast_ref()
}

fn is_version_1(error: &OtherError) -> bool {
    matches!(
        verifier_error(error),
        Some(webpki::Error::UnsupportedCertVersion)
    )
}

fn is_authority(error: &OtherError) -> bool {
    matches!(
        verifier_error(error),
        Some(webpki::Error::CaUsedAsEndEntity)
    )
}

fn is_critical_extension(error: &OtherError) -> bool {
    matches!(
        verifier_error(error),
        Some(webpki::Error::UnsupportedCriticalExtension)
    )
}
