//! How the binary connects to its database, its errors where it cannot, and its privileges there.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use crate::program::{mcp_prune, run, run_on};
use crate::samples::{NOWHERE, demo, script};
use crate::server::{TestDatabase, concurrent_server, server_to_crash, skip};

/// Makes a role that may only log in, with a password. All databases share the server's roles, so
/// its name begins with that of the database.
pub(crate) fn role(database: &TestDatabase, suffix: &str) -> String {
    let role = format!("{}_{suffix}", database.name());
    database.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 's3cret'"));
    role
}

pub(crate) fn url_of(database: &TestDatabase, user: &str, password: &str) -> String {
    let (_, address) = database.url().split_once('@').unwrap();
    format!("postgresql://{user}:{password}@{address}")
}

#[test]
fn a_server_without_tls_is_told_from_one_with_the_wrong_certificate() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = [0; 8];
        client.read_exact(&mut request).unwrap();
        client.write_all(b"N").unwrap();
    });
    let url = format!("postgresql://u:s3cret@127.0.0.1:{port}/litellm?sslmode=require");
    run_on(&url, &["scan"])
        .exits(7)
        .says("the server does not support TLS\nhint: turn on ssl in the server");
    server.join().unwrap();
}

#[test]
fn what_cannot_be_reached_is_an_access_failure() {
    for (url, told) in [
        (NOWHERE, "cannot connect to 127.0.0.1:1"),
        (
            "postgresql://u:s3cret@no-such-host.invalid/litellm",
            "cannot connect to no-such-host.invalid",
        ),
        (
            "postgresql://u:s3cret@%2Fno%2Fsuch%2Ffolder/litellm",
            "cannot connect to /no/such/folder",
        ),
    ] {
        let ran = run_on(url, &["scan"]).exits(7).says(told).says("hint: ");
        assert!(!ran.to_string().contains("s3cret"), "{ran}");
    }
}

#[test]
fn a_malformed_url_is_a_usage_error() {
    for (url, told) in [
        ("", "DATABASE_URL is set, and empty"),
        ("mysql://u:s3cret@db/litellm", "is not a PostgreSQL URL"),
        ("litellm", "no postgresql:// in front"),
        ("postgresql://u:s3cret@db:port/x", "invalid port number"),
    ] {
        let ran = run_on(url, &["scan"]).exits(64).says(told);
        assert!(!ran.to_string().contains("s3cret"), "{ran}");
    }
}

#[test]
fn a_wrong_password_and_an_unknown_database_are_told_apart() {
    let Some(server) = concurrent_server("passwords") else {
        return;
    };
    if server.tls.is_none() {
        skip("passwords", "needs a private cluster, which asks for them");
        return;
    }
    let database = demo();
    let role = role(&database, "login");
    let ran = run_on(&url_of(&database, &role, "wr0ng"), &["scan"]).exits(7);
    let ran = ran.says("password authentication failed").says("hint: ");
    assert!(!ran.to_string().contains("wr0ng"), "{ran}");
    run_on(&format!("{}_no", database.url()), &["scan"])
        .exits(7)
        .says("does not exist");
}

#[test]
fn the_url_takes_prismas_parameters_and_the_environment_libpqs() {
    if concurrent_server("the ways to name a database").is_none() {
        return;
    }
    let database = demo();
    let prisma = "connection_limit=5&pool_timeout=10&pgbouncer=true&schema=public";
    run_on(&format!("{}?{prisma}", database.url()), &["scan"])
        .exits(2)
        .says("schema \"public\"");
    let typo = run_on(&format!("{}?sslmod=verify-full", database.url()), &["scan"]).exits(2);
    typo.says("warning").says("sslmod");

    let (_, address) = database.url().split_once("127.0.0.1:").unwrap();
    let (port, name) = address.split_once('/').unwrap();
    let mut command = mcp_prune(&["scan"]);
    command
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", port)
        .env("PGUSER", "postgres")
        .env("PGDATABASE", name);
    run(&mut command)
        .exits(2)
        .says(&format!("database \"{name}\""));
    // The command line wins over the environment.
    let mut command = mcp_prune(&["scan", "--db-url", database.url()]);
    command.env("DATABASE_URL", "postgresql://127.0.0.1:1/none");
    run(&mut command).exits(2);
}

#[test]
fn a_file_names_the_database_and_its_content_is_never_shown() {
    let database = demo();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    let path = file.to_str().unwrap();
    let scan = ["scan", "--db-url-file", path];

    std::fs::write(&file, format!("{}\n", database.url())).unwrap();
    // It wins over the environment, which a proxy's container has set to something else.
    let other = "postgresql://127.0.0.1:1/none";
    run_on(other, &scan).exits(2).says(database.name());
    run(&mut mcp_prune(&[&scan[..], &["--db-url", other]].concat()))
        .exits(64)
        .says("--db-url-file");

    for content in ["u:s3cret@db/litellm", "postgresql://u:s3cret@db:port/x", ""] {
        std::fs::write(&file, content).unwrap();
        let ran = run(&mut mcp_prune(&scan)).exits(64).says(path);
        assert!(!ran.to_string().contains("s3cret"), "{ran}");
    }
    // A file that is not there exits as one that says nothing.
    std::fs::remove_file(&file).unwrap();
    run(&mut mcp_prune(&scan)).exits(64).says(path);
}

#[test]
fn tables_in_another_schema_are_found_by_its_name_only() {
    let database = demo();
    database.execute(r#"ALTER SCHEMA public RENAME TO "Lite LLM""#);
    run_on(database.url(), &["scan"])
        .exits(4)
        .says("hint: the table is in schema \"Lite LLM\": use --schema");
    run_on(database.url(), &["scan", "--schema", "Lite LLM"]).exits(2);
    run_on(database.url(), &["fix", "--yes", "--schema", "Lite LLM"]).exits(3);
    let url = format!("{}?schema=Lite%20LLM", database.url());
    if !database.url().contains('?') {
        run_on(&url, &["scan"]).exits(2).says("schema \"Lite LLM\"");
    }
}

#[test]
fn a_database_that_is_not_litellms_is_refused_with_the_reason() {
    let database = TestDatabase::empty();
    run_on(database.url(), &["scan"])
        .exits(4)
        .says("is not one of LiteLLM: table \"LiteLLM_MCPServerTable\" does not exist");
    database.execute(
        r#"CREATE TABLE "LiteLLM_MCPServerTable" ("server_id" TEXT PRIMARY KEY);
           CREATE TABLE "LiteLLM_ObjectPermissionTable"
               ("object_permission_id" TEXT PRIMARY KEY, "mcp_servers" JSONB);"#,
    );
    run_on(database.url(), &["fix", "--yes"])
        .exits(4)
        .says("column \"mcp_servers\" of \"LiteLLM_ObjectPermissionTable\" is of type jsonb");
    // Without the tables that own permission rows every row would look unused.
    database.execute(
        r#"ALTER TABLE "LiteLLM_ObjectPermissionTable"
               DROP COLUMN "mcp_servers", ADD COLUMN "mcp_servers" TEXT[]"#,
    );
    run_on(database.url(), &["fix", "--yes"])
        .exits(4)
        .says("table \"LiteLLM_VerificationToken\" does not exist");
}

#[test]
fn a_role_with_select_alone_scans_and_is_told_what_fix_needs() {
    if concurrent_server("privileges").is_none() {
        return;
    }
    let database = demo();
    let role = role(&database, "reader");
    let url = url_of(&database, &role, "s3cret");

    run_on(&url, &["scan"])
        .exits(7)
        .says("lacks SELECT on table \"LiteLLM_MCPServerTable\"");
    grant_what_is_asked(&database, &url, &["scan"]);
    let ran = run_on(&url, &["scan"]).exits(2);
    assert!(ran.stderr.contains(&format!("as user \"{role}\"")), "{ran}");

    run_on(&url, &["fix", "--yes"])
        .exits(7)
        .says("lacks UPDATE on table \"LiteLLM_AccessGroupTable\"");
    grant_what_is_asked(&database, &url, &["fix", "--yes"]);
    run_on(&url, &["fix", "--yes"]).exits(3);
}

/// Runs the `GRANT`s of the hint as the owner. They must be enough.
pub(crate) fn grant_what_is_asked(database: &TestDatabase, url: &str, args: &[&str]) {
    let ran = run_on(url, args).exits(7);
    let (_, grants) = ran.stderr.split_once("have its owner run: ").unwrap();
    for grant in grants.trim().split_inclusive(';') {
        assert!(
            !grant.contains("password") && !grant.contains("metadata"),
            "{grant}"
        );
        database.execute(grant);
    }
}

#[test]
fn a_schema_that_may_not_be_used_is_named_with_its_grant() {
    if concurrent_server("privileges").is_none() {
        return;
    }
    let database = demo();
    let role = role(&database, "outsider");
    database.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC");
    run_on(&url_of(&database, &role, "s3cret"), &["scan"])
        .exits(7)
        .says(&format!("GRANT USAGE ON SCHEMA \"public\" TO \"{role}\";"));
}

#[test]
fn row_level_security_that_may_hide_a_server_is_refused() {
    if concurrent_server("row-level security").is_none() {
        return;
    }
    let database = demo();
    let role = role(&database, "hidden");
    database.execute(&format!(
        r#"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role};
           ALTER TABLE "LiteLLM_MCPServerTable" ENABLE ROW LEVEL SECURITY;"#
    ));
    for args in [&["scan"][..], &["fix", "--yes"]] {
        run_on(&url_of(&database, &role, "s3cret"), args)
            .exits(4)
            .says("row-level security on \"LiteLLM_MCPServerTable\" can hide rows");
    }
    // It hides nothing from the superuser.
    run_on(database.url(), &["scan"]).exits(2);
}

#[test]
fn the_certificate_is_verified_as_sslmode_asks() {
    let Some(server) = concurrent_server("TLS") else {
        return;
    };
    let Some(folder) = server.tls.as_deref().filter(|f| f.join("ca.pem").exists()) else {
        skip("TLS", "needs a private cluster, and openssl");
        return;
    };
    let database = demo();
    let ca = |file: &str| Path::join(folder, file).to_str().unwrap().to_owned();
    let (ours, other) = (ca("ca.pem"), ca("other.pem"));
    for (parameters, status) in [
        ("sslmode=require".to_owned(), 2),
        (format!("sslmode=verify-full&sslrootcert={ours}"), 2),
        (format!("sslmode=verify-ca&sslrootcert={ours}"), 2),
        (format!("sslmode=verify-full&sslrootcert={other}"), 7),
        ("sslmode=verify-full".to_owned(), 7),
        // Prisma's spelling of the same.
        (format!("sslaccept=strict&sslcert={ours}"), 2),
        (format!("sslaccept=strict&sslcert={other}"), 7),
        (
            format!("sslmode=require&sslaccept=strict&sslcert={other}"),
            7,
        ),
    ] {
        let url = format!("{}?{parameters}", database.url());
        let ran = run_on(&url, &["scan"]);
        assert_eq!(ran.status, status, "{parameters}: {ran}");
    }
    // The certificate is for 127.0.0.1 and for no other name of the same machine.
    let by_name = database.url().replace("127.0.0.1", "localhost");
    let url = format!("{by_name}?sslmode=verify-full&sslrootcert={ours}");
    run_on(&url, &["scan"]).exits(7).says("hint: ");
    let url = format!("{by_name}?sslmode=verify-ca&sslrootcert={ours}");
    run_on(&url, &["scan"]).exits(2);
}

#[test]
fn a_role_made_from_the_grants_scans_fixes_and_undoes() {
    if concurrent_server("grants").is_none() {
        return;
    }
    let database = demo();
    let before = database.permission_rows();
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    for purpose in ["scan", "fix"] {
        let role = role(&database, purpose);
        let url = url_of(&database, &role, "s3cret");
        let grants = ["grants", "--role", &role, "--for", purpose];
        let grants = run_on(database.url(), &grants).exits(0).stdout;
        for secret in ["password", "litellm_params", "credentials", "param_value"] {
            assert!(!grants.contains(secret), "{grants}");
        }
        database.load(&grants);
        run_on(&url, &["scan"]).exits(2);
        let fix = run_on(&url, &["fix", "--yes", "--journal", journal]);
        if purpose == "scan" {
            fix.exits(7).says("lacks UPDATE");
        } else {
            fix.exits(3);
            run_on(&url, &["undo", "--yes", journal, "--no-journal"]).exits(0);
            assert_eq!(database.permission_rows(), before);
        }
    }
}

#[test]
fn without_a_user_peer_authentication_takes_the_operating_systems() {
    let Some(server) = server_to_crash("peer authentication") else {
        return;
    };
    let name = Command::new("id").arg("-un").output().unwrap().stdout;
    let name = String::from_utf8(name).unwrap().trim().to_owned();
    let admin = TestDatabase::at(server.url("postgres"));
    if name != "postgres" {
        admin.execute(&format!("CREATE ROLE \"{name}\" SUPERUSER LOGIN"));
    }
    admin.execute(&format!("CREATE DATABASE \"{name}_demo\""));
    let database = TestDatabase::at(server.url(&format!("{name}_demo")));
    database.load(&script("demo"));
    let [folder, port] = server.socket();
    let rules = Path::new(folder).join("data/pg_hba.conf");
    let trusting = std::fs::read_to_string(&rules).unwrap();
    let peer = trusting.replace("local all all trust", "local all all peer");
    assert_ne!(peer, trusting);
    std::fs::write(&rules, peer).unwrap();
    admin.texts("SELECT pg_reload_conf()::text");

    let scan = |variables: &[(&str, &str)]| {
        let mut command = mcp_prune(&["scan"]);
        // Whoever they say it is, peer authentication looks at the process.
        command.env("USER", "somebody").env("LOGNAME", "somebody");
        run(command
            .env("PGHOST", folder)
            .env("PGPORT", port)
            .envs(variables.iter().copied()))
    };
    scan(&[("PGDATABASE", database.name())])
        .exits(2)
        .says(&format!("as user \"{name}\""));
    // The database's name is the user's, as for psql, where none is given.
    scan(&[])
        .exits(if name == "postgres" { 4 } else { 7 })
        .says(&name);
    scan(&[("PGDATABASE", database.name()), ("PGUSER", "anonymous")])
        .exits(7)
        .says("Peer authentication failed for user \"anonymous\"");
}

#[test]
fn litellms_own_variables_name_the_database_and_none_at_all_is_told() {
    let nothing = run(&mut mcp_prune(&["scan"])).exits(64);
    let nothing = nothing.says("error: no database is named\nhint: give its URL with --db-url");
    assert!(!nothing.stderr.contains("refused"), "{nothing}");
    let host = run(mcp_prune(&["scan"]).env("DATABASE_HOST", "db")).exits(64);
    host.says("DATABASE_HOST is set, DATABASE_USERNAME, DATABASE_NAME are not");

    if concurrent_server("LiteLLM's own variables").is_none() {
        return;
    }
    let database = demo();
    let role = role(&database, "parts");
    database.execute(&format!("ALTER ROLE {role} SUPERUSER"));
    let (_, address) = database.url().split_once('@').unwrap();
    let (host, name) = address.split_once('/').unwrap();
    let parts = |extra: &[(&str, &str)]| {
        run(mcp_prune(&["scan"])
            .env("DATABASE_HOST", host)
            .env("DATABASE_USERNAME", &role)
            .env("DATABASE_PASSWORD", "s3cret")
            .env("DATABASE_NAME", name)
            .envs(extra.iter().copied()))
    };
    parts(&[]).exits(2).says(&format!("as user \"{role}\""));
    parts(&[("DATABASE_SCHEMA", "elsewhere")]).exits(4);
    parts(&[("DATABASE_URL", "postgresql://127.0.0.1:1/none")])
        .exits(7)
        .says("cannot connect to 127.0.0.1:1");
}

#[test]
fn a_plus_in_the_options_is_a_space() {
    if concurrent_server("options in the URL").is_none() {
        return;
    }
    let database = demo();
    let url = format!(
        "{}?options=-c+statement_timeout%3D5000&sslmode=no-verify",
        database.url()
    );
    let ran = run_on(&url, &["scan"]).exits(2);
    ran.says("warning: sslmode=no-verify means prefer here");
}

/// A pipe that nobody writes to is waited for, and a signal ends the wait.
#[test]
fn a_signal_ends_the_wait_for_the_file_with_the_url() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("url");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for command in ["scan", "doctor"] {
        // The program has long begun to wait by then, also on a busy machine.
        let args = [
            "-s",
            "TERM",
            "-k",
            "60",
            "5",
            env!("CARGO_BIN_EXE_mcp-prune"),
        ];
        let mut run = std::process::Command::new("timeout");
        run.args(args).args([command, "--db-url-file"]).arg(&pipe);
        let ended = run.env_clear().env("PATH", std::env::var("PATH").unwrap());
        let ended = ended.output().unwrap();
        // Its own code: that it was ended by signal 15, and not that it had to be killed.
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(124), "{command}: {stderr}");
        assert!(stderr.contains("ended by signal 15"), "{command}: {stderr}");
    }
}
