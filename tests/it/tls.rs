//! Certificates that this program's TLS refuses: the error says which property is the reason.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::{Ran, run, run_on, wait_until};
use crate::samples::script;
use crate::server::{Server, TestDatabase, server_to_crash, skip};

/// Words of the TLS libraries that no operator wants to read.
const INTERNALS: [&str; 7] = [
    "UnsupportedCertVersion",
    "CaUsedAsEndEntity",
    "UnknownIssuer",
    "NotValidForName",
    "invalid peer certificate",
    "error communicating",
    "Other(",
];

/// A server whose certificate a test replaces.
struct Certified {
    server: Server,
    database: TestDatabase,
}

impl Certified {
    fn start(test: &str) -> Option<Self> {
        let server = server_to_crash(test)?;
        let [folder, _] = server.socket();
        if !Path::new(folder).join("ca.pem").exists() {
            skip(test, "needs openssl");
            return None;
        }
        let database = server.create(None);
        database.load(&script("demo"));
        Some(Self { server, database })
    }

    fn folder(&self) -> &str {
        let [folder, _] = self.server.socket();
        folder
    }

    /// Runs openssl in the cluster's folder.
    fn openssl(&self, args: &str) -> Ran {
        let mut command = Command::new("openssl");
        run(command
            .args(args.split_whitespace())
            .current_dir(self.folder()))
        .exits(0)
    }

    /// Makes the server use the certificate that is in `data/server.crt` now.
    fn reload(&self) {
        let admin = TestDatabase::at(self.server.url("postgres"));
        admin.texts("SELECT pg_reload_conf()::text");
        let [folder, port] = self.server.socket();
        let wanted = std::fs::read_to_string(format!("{folder}/data/server.crt")).unwrap();
        let (_, wanted) = wanted.split_once("-----BEGIN").unwrap();
        wait_until("the server uses its new certificate", || {
            let mut client = Command::new("openssl");
            let address = format!("127.0.0.1:{port}");
            client.args(["s_client", "-starttls", "postgres", "-connect", &address]);
            let told = run(client.stdin(Stdio::null())).stdout;
            told.contains(wanted.trim())
        });
    }

    /// Returns whether this openssl makes certificates of version 1 if no extension is asked for.
    fn made_version_1(&self, file: &str) -> bool {
        let text = self.openssl(&format!("x509 -noout -text -in {file}"));
        text.stdout.contains("Version: 1 ")
    }

    fn scan(&self, parameters: &str) -> Ran {
        let url = format!("{}?{parameters}", self.database.url());
        run_on(&url, &["scan"])
    }

    /// Checks that a scan cannot connect, and that it tells this reason.
    #[track_caller]
    fn refuses(&self, parameters: &str, told: &str) {
        let ran = self.scan(parameters).exits(7).says(told).says("\nhint: ");
        let error = ran.stderr.lines().next().unwrap();
        for internal in INTERNALS {
            assert!(!error.contains(internal), "{internal}: {ran}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_certificate_is_told() {
    let Some(server) = Certified::start("certificates") else {
        return;
    };
    let own = format!("{}/ca.pem", server.folder());
    let other = format!("{}/other.pem", server.folder());
    server.refuses(
        &format!("sslmode=verify-full&sslrootcert={other}"),
        "no authority that is trusted here has signed the server's certificate",
    );
    let by_name = server.database.url().replace("127.0.0.1", "localhost");
    let url = format!("{by_name}?sslmode=verify-full&sslrootcert={own}");
    let _ = run_on(&url, &["scan"])
        .exits(7)
        .says("the server's certificate is not for the host name localhost\nhint: connect to");
    let key = format!("{}/ca.key", server.folder());
    server.refuses(
        &format!("sslmode=require&sslcert={own}&sslkey={own}"),
        "the files of sslcert and sslkey hold no certificate and private key",
    );
    server.refuses(
        &format!("sslmode=require&sslcert={other}&sslkey={key}"),
        "the key in sslkey is not that of the certificate in sslcert",
    );
    server.refuses(
        &format!("sslmode=verify-full&sslrootcert={key}x"),
        "No such file",
    );

    // As the PostgreSQL manual makes one for a test (17, 18.9.5), and as the server's own root.
    server.openssl(
        "req -x509 -new -days 2 -key data/server.key -subj /CN=127.0.0.1 -addext \
         subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:TRUE -out root.crt",
    );
    std::fs::copy(
        format!("{}/root.crt", server.folder()),
        format!("{}/data/server.crt", server.folder()),
    )
    .unwrap();
    server.reload();
    let root = format!("{}/root.crt", server.folder());
    let _ = server.scan("").exits(2);
    let _ = server.scan("sslmode=require").exits(2);
    for mode in ["verify-ca", "verify-full"] {
        server.refuses(
            &format!("sslmode={mode}&sslrootcert={root}"),
            "the server's certificate is that of an authority (CA:TRUE)",
        );
    }
}

#[test]
fn a_certificate_of_version_1_is_told_as_such() {
    let Some(server) = Certified::start("certificates of version 1") else {
        return;
    };
    let sign = "x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 2";
    server.openssl(&format!("{sign} -in server.csr -out client.crt"));
    if !server.made_version_1("client.crt") {
        skip("certificates of version 1", "this openssl makes none");
        return;
    }
    let client = format!(
        "sslcert={0}/client.crt&sslkey={0}/data/server.key",
        server.folder()
    );
    server.refuses(
        &format!("sslmode=require&{client}"),
        "the client certificate, sslcert, is of X.509 version 1, which this program cannot read",
    );
    server.openssl(&format!("{sign} -in server.csr -out data/server.crt"));
    server.reload();
    let own = format!("{}/ca.pem", server.folder());
    for parameters in [
        "sslmode=prefer",
        "sslmode=require",
        &format!("sslmode=verify-ca&sslrootcert={own}"),
    ] {
        server.refuses(
            parameters,
            "the server's certificate is of X.509 version 1, which this program cannot read",
        );
    }
    let _ = server.scan("sslmode=disable").exits(2);
}
