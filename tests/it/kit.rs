//! The crontab line, the systemd units and the Kubernetes job as they are shipped, run on a real
//! database.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::program::{Ran, mcp_prune, repository, run};
use crate::samples::case;
use crate::server::{TestDatabase, skip};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-prune");

/// Where node_exporter's textfile collector reads, in Debian's package.
const TEXTFILES: &str = "/var/lib/prometheus/node-exporter";

fn shipped(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap()
}

/// Makes a database with three stale references in two rows, of which none is held, and a folder
/// with its URL in a file.
fn installed() -> (TestDatabase, tempfile::TempDir) {
    let database = case("beside_live");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("db-url"),
        format!("{}\n", database.url()),
    )
    .unwrap();
    (database, folder)
}

fn is_clean(database: &TestDatabase) {
    let ran = run(&mut mcp_prune(&["scan", "--db-url", database.url()]));
    let _ = ran.exits(0);
}

/// Counts the journals of repairs in a folder.
fn journals(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("fix-")).count()
}

/// Runs a line of a crontab as cron does: by `/bin/sh`, with almost no environment, in the home of
/// the user.
fn by_cron(line: &str, home: &Path) -> Ran {
    let fields: Vec<&str> = line.split_whitespace().take(5).collect();
    assert!(
        fields
            .iter()
            .all(|field| !field.contains(char::is_alphabetic)),
        "{line}"
    );
    let (_, command) = line.split_once("*  ").unwrap();
    // Cron would feed the text after a percent sign to the command as its input.
    assert!(!command.contains('%'), "{command}");
    let url = home.join("db-url");
    let command = command
        .replace("/etc/mcp-prune/db-url", url.to_str().unwrap())
        .replace("/usr/bin/mcp-prune", PROGRAM);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &command]).env_clear().env("HOME", home);
    run(shell.env("PATH", "/usr/bin:/bin").current_dir(home))
}

#[test]
fn the_crontab_line_says_what_it_repaired_and_why_it_could_not_and_else_nothing() {
    let readme = shipped("README.md");
    let (_, block) = readme.split_once("```crontab\n").unwrap();
    let line = block.lines().next().unwrap();
    let (database, home) = installed();
    // All rows would change, which is more than the 5 percent that it may change.
    let ran = by_cron(line, home.path()).exits(4);
    let _ = ran.says("error: ").says("more than --max-percent 5");
    let line = line.replace("--max-percent 5", "--max-percent 100");
    let _ = by_cron(&line, home.path())
        .exits(0)
        .prints("Done: remove 3");
    is_clean(&database);
    assert_eq!(journals(&home.path().join(".local/state/mcp-prune")), 1);
    let ran = by_cron(&line, home.path()).exits(0);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("", ""),
        "no mail: {ran}"
    );

    std::fs::write(
        home.path().join("db-url"),
        "postgresql://u:s3cret@127.0.0.1:1/none",
    )
    .unwrap();
    let ran = by_cron(&line, home.path())
        .exits(7)
        .says("cannot connect")
        .says("mcp-prune fix: exit 7: no access (run ");
    assert!(!ran.to_string().contains("s3cret"), "{ran}");
}

#[test]
fn the_crontab_line_of_the_scan_tells_only_what_is_new() {
    let text = shipped("docs/scheduling.md");
    let mut lines = text.lines();
    let line = lines.find(|line| line.contains("/usr/bin/mcp-prune scan "));
    let (database, home) = installed();
    let known = home.path().join("leftovers");
    let known = known.to_str().unwrap();
    let line = line.unwrap().replace("/etc/mcp-prune/leftovers", known);
    let write = ["scan", "--write-baseline", known];
    let _ = run(mcp_prune(&write).args(["--db-url", database.url()])).exits(0);
    let ran = by_cron(&line, home.path()).exits(0);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("", ""),
        "no mail: {ran}"
    );
    database.execute(
        r#"UPDATE "LiteLLM_ObjectPermissionTable"
           SET "mcp_servers" = "mcp_servers" || 'a15e9c3d-84f2-4d7b-92c6-5e0b8f3a7d05'::text"#,
    );
    let _ = by_cron(&line, home.path()).exits(2).prints("new stale");
}

/// Runs the command of a unit as systemd would, with its folders in `folder` and `options` in
/// `MCP_PRUNE_OPTIONS`.
fn by_systemd(unit: &str, folder: &Path, options: &str) -> Ran {
    let unit = shipped(unit);
    let command = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .unwrap();
    // Written into by the unit's own leave, or not at all.
    assert!(unit.contains(&format!("ReadWritePaths=-{TEXTFILES}\n")));
    assert!(unit.contains(&format!("Environment=MCP_PRUNE_TEXTFILES={TEXTFILES}\n")));
    let place = folder.to_str().unwrap();
    let command: Vec<String> = command
        .replace("--max-percent 5", "--max-percent 100")
        .split_whitespace()
        // A variable without braces becomes as many words as it has.
        .flat_map(|word| match word {
            "$MCP_PRUNE_OPTIONS" => options.split_whitespace().map(str::to_owned).collect(),
            "$MCP_PRUNE_FIX_OPTIONS" | "$MCP_PRUNE_SCAN_OPTIONS" => Vec::new(),
            word => vec![
                word.replace("${CREDENTIALS_DIRECTORY}", place)
                    .replace("${STATE_DIRECTORY}", place)
                    .replace("${MCP_PRUNE_TEXTFILES}", place),
            ],
        })
        .collect();
    assert_eq!(command[0], "/usr/bin/mcp-prune");
    let words: Vec<&str> = command[1..].iter().map(String::as_str).collect();
    assert!(words.iter().all(|word| !word.contains('$')), "{words:?}");
    run(&mut mcp_prune(&words))
}

#[test]
fn the_services_run_as_their_units_say_and_write_metrics_where_they_are_read() {
    let (database, folder) = installed();
    let options = "--no-config-servers";
    let metrics = |command: &str| {
        let file = folder.path().join(format!("mcp-prune-{command}.prom"));
        std::fs::read_to_string(file).unwrap()
    };
    let _ = by_systemd("packaging/mcp-prune-scan.service", folder.path(), options)
        .exits(0)
        .prints("stale");
    assert!(metrics("scan").contains("mcp_prune_findings{"));
    let _ = by_systemd("packaging/mcp-prune.service", folder.path(), options).exits(0);
    is_clean(&database);
    assert_eq!(journals(folder.path()), 1);
    assert!(metrics("fix").contains("mcp_prune_exit_code{command=\"fix\"} 0\n"));
}

#[test]
fn the_user_and_the_folders_of_the_units_are_made() {
    let tmpfiles = shipped("packaging/mcp-prune.tmpfiles");
    let sysusers = shipped("packaging/mcp-prune.sysusers");
    for unit in [
        "packaging/mcp-prune.service",
        "packaging/mcp-prune-scan.service",
    ] {
        assert!(shipped(unit).contains("\nUser=mcp-prune\n"), "{unit}");
    }
    assert!(sysusers.contains("\nu mcp-prune "));
    assert!(tmpfiles.contains("\nd /var/lib/mcp-prune 0700 mcp-prune mcp-prune 400d\n"));
    assert!(tmpfiles.contains(&format!("\na+ {TEXTFILES} - - - - u:mcp-prune:rwx\n")));
    // Each file of the folder is installed, by the package or by hand.
    let manifest = shipped("Cargo.toml");
    for name in [
        "mcp-prune.service",
        "mcp-prune.timer",
        "mcp-prune-scan.service",
        "mcp-prune-scan.timer",
        "mcp-prune.sysusers",
        "mcp-prune.tmpfiles",
        "options",
        "alerts.yaml",
        "cronjob.yaml",
        "cronjob-pushgateway.yaml",
    ] {
        assert!(
            manifest.contains(&format!("[\"packaging/{name}\", ")),
            "{name}"
        );
    }
    // systemd reads the example as it is, and the maintainer's scripts are shell.
    for script in ["postinst", "postrm"] {
        let script = repository("packaging/debian").join(script);
        let _ = run(Command::new("/bin/sh").arg("-n").arg(script)).exits(0);
    }
    let options = shipped("packaging/options");
    for line in options.lines().filter(|line| !line.is_empty()) {
        assert!(line.starts_with('#'), "nothing is set unasked: {line}");
    }
}

/// Runs the command of the pushing container in `folder` instead of the volume, with a curl that
/// prints what it was given.
fn pushed(folder: &Path, container: &Value) -> Ran {
    let curl = folder.join("curl");
    std::fs::write(
        &curl,
        "#!/bin/sh\nfor word; do last=$word; done\necho \"$last\"\ncat fix.prom\n",
    )
    .unwrap();
    run(Command::new("chmod").arg("755").arg(&curl)).exits(0);
    let script = container["args"][0].as_str().unwrap();
    let script = script.replace("/var/lib/mcp-prune", folder.to_str().unwrap());
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &script]).env_clear().env("PATH", path);
    run(shell.env("PUSHGATEWAY", "http://pushgateway:9091"))
}

#[test]
fn the_kubernetes_job_pushes_the_metrics_of_its_own_run() {
    let patch = shipped("packaging/cronjob-pushgateway.yaml");
    let patch: Value = serde_saphyr::from_str(&patch).unwrap();
    let pod = &patch["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    let (before, containers) = (&pod["initContainers"][0], &pod["containers"]);
    let (job, push) = (&containers[0], &containers[1]);
    // It patches the container that is there, and the volume that its journals are on.
    let whole = shipped("packaging/cronjob.yaml");
    let (_, cronjob) = whole.split_once("\n---\n").unwrap();
    let cronjob: Value = serde_saphyr::from_str(cronjob).unwrap();
    let patched = &cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(job["name"], patched["name"]);
    for container in [before, push] {
        let mount = &container["volumeMounts"][0];
        let mounts = patched["volumeMounts"].as_array().unwrap();
        assert!(mounts.contains(mount), "{mount}");
        assert_eq!(container["securityContext"], patched["securityContext"]);
    }
    let variable = &job["env"][0];
    assert_eq!(variable["name"], "MCP_PRUNE_METRICS_FILE");
    assert_eq!(variable["value"], "/var/lib/mcp-prune/fix.prom");

    let (database, folder) = installed();
    let file = folder.path().join("fix.prom");
    for (url, status) in [
        (database.url(), 3),
        ("postgresql://u:s3cret@127.0.0.1:1/none", 7),
    ] {
        let _ = pushed(folder.path(), before);
        let fix = ["fix", "--yes", "--no-journal", "--on-empty", "hold"];
        let ran = run(mcp_prune(&fix)
            .env("DATABASE_URL", url)
            .env("MCP_PRUNE_METRICS_FILE", &file));
        assert!([0, status].contains(&ran.status), "{ran}");
        let told = format!("mcp_prune_exit_code{{command=\"fix\"}} {}\n", ran.status);
        let _ = pushed(folder.path(), push)
            .exits(0)
            .prints("http://pushgateway:9091/metrics/job/mcp-prune-fix\n")
            .prints(&told);
    }
}

#[test]
fn systemd_takes_the_units_and_finds_the_service_hardened() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        let path = folder.path().join(name);
        // It checks that the program is there.
        let unit = shipped(&format!("packaging/{name}")).replace("/usr/bin/mcp-prune", PROGRAM);
        std::fs::write(&path, unit).unwrap();
        path
    };
    for name in ["mcp-prune", "mcp-prune-scan"] {
        let service = copy(&format!("{name}.service"));
        let timer = copy(&format!("{name}.timer"));
        let analyze = |args: &[&str]| {
            let mut command = Command::new("systemd-analyze");
            let output = command.args(args).arg(&service).output();
            output.ok().map(Ran::from)
        };
        let timer = timer.to_str().unwrap();
        // The manual pages are installed with the program, or not.
        let Some(ran) = analyze(&["verify", "--man=no", "--recursive-errors=no", timer]) else {
            skip("systemd units", "needs systemd-analyze");
            return;
        };
        let ran = ran.exits(0);
        assert_eq!(ran.stderr, "", "{ran}");
        // From 0, nothing can be reached, to 10; the threshold is in tenths.
        let _ = analyze(&["security", "--offline=true", "--threshold=15"])
            .unwrap()
            .exits(0);
    }
}

#[test]
fn the_kubernetes_job_finds_its_secret_and_its_volume_on_a_read_only_root() {
    let text = shipped("packaging/cronjob.yaml");
    let (claim, job) = text.split_once("\n---\n").unwrap();
    let parse = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();
    let (claim, job) = (parse(claim), parse(job));
    assert_eq!(claim["kind"], "PersistentVolumeClaim");
    assert_eq!(
        (&job["kind"], &job["apiVersion"]),
        (&"CronJob".into(), &"batch/v1".into())
    );
    assert_eq!(job["spec"]["concurrencyPolicy"], "Forbid");
    let pod = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    assert_eq!(pod["restartPolicy"], "Never");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(container["image"], format!("mcp-prune:{version}"));

    // Each mount is of a volume that is there, and the one that is written is of the claim.
    let (database, folder) = installed();
    let volumes = pod["volumes"].as_array().unwrap();
    let mounts = container["volumeMounts"].as_array().unwrap();
    assert_eq!(volumes.len(), mounts.len());
    let mut args: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    for mount in mounts {
        let volume = volumes.iter().find(|v| v["name"] == mount["name"]).unwrap();
        let of_claim = volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"];
        assert_ne!(of_claim, mount["readOnly"] == true, "{mount}");
        let path = mount["mountPath"].as_str().unwrap();
        let used = args.iter_mut().filter(|arg| arg.starts_with(path));
        let used: Vec<()> = used
            .map(|arg| *arg = arg.replace(path, folder.path().to_str().unwrap()))
            .collect();
        assert_eq!(used.len(), 1, "{mount}");
    }
    assert!(
        args.iter()
            .all(|arg| !arg.starts_with("/etc") && !arg.starts_with("/var"))
    );
    let percent = args.iter().position(|arg| arg == "--max-percent").unwrap();
    "100".clone_into(&mut args[percent + 1]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let _ = run(mcp_prune(&args).env_remove("XDG_STATE_HOME")).exits(0);
    is_clean(&database);
    assert_eq!(journals(folder.path()), 1);
}
