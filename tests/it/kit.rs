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
    // An operator's own limit has to win, so it is no option.
    let limits = unit.contains("Environment=MCP_PRUNE_MAX_PERCENT=5\n");
    assert_eq!(limits, command.contains(" fix "), "{unit}");
    assert!(!command.contains("--max-percent"), "{command}");
    let command: Vec<String> = command
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
        "mcp-prune-failed@.service",
        "kubernetes/**/*",
    ] {
        assert!(
            manifest.contains(&format!("[\"packaging/{name}\", ")),
            "{name}"
        );
    }
    // systemd reads the example as it is, and the maintainer's scripts are shell.
    for script in ["postinst", "prerm", "postrm"] {
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
    let whole = manifest("pushgateway/patch");
    let pod = pod_of(&whole);
    let (before, containers) = (&pod["initContainers"][0], &pod["containers"]);
    let (job, push) = (&containers[0], &containers[1]);
    // It patches the container that is there, and the volume that its journals are on.
    let cronjob = manifest("nightly-fix/cronjob");
    assert_eq!(whole["metadata"], cronjob["metadata"]);
    let patched = &pod_of(&cronjob)["containers"][0];
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
    // Both services name it, so it is checked with them.
    let _ = copy("mcp-prune-failed@.service");
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

/// Reads a file of `packaging/kubernetes/`.
fn manifest(name: &str) -> Value {
    serde_saphyr::from_str(&shipped(&format!("packaging/kubernetes/{name}.yaml"))).unwrap()
}

/// Returns the pod of a job, or of the job that a cron job makes.
fn pod_of(job: &Value) -> &Value {
    let job = match job["kind"].as_str().unwrap() {
        "CronJob" => &job["spec"]["jobTemplate"],
        "Job" => job,
        kind => panic!("{kind}"),
    };
    &job["spec"]["template"]["spec"]
}

const JOBS: [&str; 5] = [
    "scan",
    "plan/job",
    "fix/job",
    "undo/job",
    "nightly-fix/cronjob",
];

/// Returns the names of the objects that `site/` makes.
fn made_by_the_site(site: &Value) -> Vec<&str> {
    let generated = site["configMapGenerator"].as_array().unwrap();
    let names = generated.iter().map(|map| map["name"].as_str().unwrap());
    names.collect()
}

#[test]
fn the_kubernetes_jobs_have_what_they_name_on_a_read_only_root() {
    let site = manifest("site/kustomization");
    let made = made_by_the_site(&site);
    let (image, version) = (&site["images"][0], env!("CARGO_PKG_VERSION"));
    assert_eq!(image["newTag"], version);
    assert!(shipped("README.md").contains(&format!("mcp-prune-{version}-image.tar")));
    assert!(shipped("packaging/Dockerfile").contains(&format!(" mcp-prune:{version} ")));
    let claim = manifest("journals");
    for name in JOBS {
        let job = manifest(name);
        assert_eq!(job["apiVersion"], "batch/v1", "{name}");
        if job["kind"] == "CronJob" {
            assert_eq!(job["spec"]["concurrencyPolicy"], "Forbid", "{name}");
        }
        let pod = pod_of(&job);
        assert_eq!(pod["restartPolicy"], "Never", "{name}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        let container = &pod["containers"][0];
        let confined = &container["securityContext"];
        assert_eq!(confined["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(container["image"], image["name"], "{name}");
        for source in container["envFrom"].as_array().unwrap() {
            if let Some(map) = source["configMapRef"]["name"].as_str() {
                assert!(made.contains(&map), "{name}: {map}");
            } else {
                assert_eq!(source["secretRef"]["optional"], true, "{name}");
            }
        }

        // Each mount is of a volume that is there. Only that of the claim is written, and /tmp.
        let volumes = pod["volumes"].as_array().unwrap();
        let mounts = container["volumeMounts"].as_array().unwrap();
        assert_eq!(volumes.len(), mounts.len(), "{name}");
        let args: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
        for mount in mounts {
            let volume = volumes.iter().find(|v| v["name"] == mount["name"]).unwrap();
            if volume["emptyDir"].is_object() {
                assert_eq!(mount["mountPath"], "/tmp", "{name}");
                continue;
            }
            let of_claim = &volume["persistentVolumeClaim"]["claimName"];
            let is_written = *of_claim == claim["metadata"]["name"];
            assert_ne!(is_written, mount["readOnly"] == true, "{name}: {mount}");
            if let Some(map) = volume["configMap"]["name"].as_str() {
                assert!(made.contains(&map), "{name}: {map}");
            }
            let path = mount["mountPath"].as_str().unwrap();
            assert!(
                args.iter().any(|arg| arg.starts_with(path)),
                "{name}: {path}"
            );
        }
        // What the arguments name is mounted.
        for arg in args.iter().filter(|arg| arg.starts_with('/')) {
            let is_mounted = |mount: &Value| arg.starts_with(mount["mountPath"].as_str().unwrap());
            assert!(mounts.iter().any(is_mounted), "{name}: {arg}");
        }
    }
}

/// Runs the container of a job with the folders of `home` mounted, and `variables` in its
/// arguments.
fn by_kubernetes(name: &str, home: &Path, variables: &[(&str, &str)]) -> Ran {
    let job = manifest(name);
    let container = &pod_of(&job)["containers"][0];
    let args: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    let place = |folder: &str| home.join(folder).display().to_string();
    let args = args.into_iter().map(|arg| {
        let arg = variables.iter().fold(arg, |arg, (variable, value)| {
            arg.replace(&format!("$({variable})"), value)
        });
        arg.replace("/etc/mcp-prune/db-url", &place("db-url"))
            .replace("/etc/litellm", &place("site"))
            .replace("/var/lib/mcp-prune", &place("journals"))
    });
    let mut args: Vec<String> = args.collect();
    if let Some(percent) = args.iter().position(|arg| arg == "--max-percent") {
        "100".clone_into(&mut args[percent + 1]);
    }
    assert!(args.iter().all(|arg| !arg.contains('$')), "{args:?}");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    run(mcp_prune(&args).env_remove("XDG_STATE_HOME"))
}

#[test]
fn the_kubernetes_jobs_scan_plan_repair_and_take_back() {
    let site = manifest("site/kustomization");
    let generated = site["configMapGenerator"].as_array().unwrap();
    let run_map = generated.iter().find(|map| map["name"] == "mcp-prune-run");
    let literals = run_map.unwrap()["literals"].as_array().unwrap();
    let plan = literals
        .iter()
        .find_map(|literal| literal.as_str()?.strip_prefix("PLAN="));
    let plan = ("PLAN", plan.unwrap());
    let (database, home) = installed();
    let home = home.path();
    for folder in ["site", "journals"] {
        std::fs::create_dir(home.join(folder)).unwrap();
    }
    // As it is shipped, no job runs, because the config was not put there.
    let config = home.join("site/config.yaml");
    std::fs::copy(repository("packaging/kubernetes/site/config.yaml"), &config).unwrap();
    for name in ["plan/job", "fix/job", "nightly-fix/cronjob"] {
        let _ = by_kubernetes(name, home, &[plan]).exits(1);
    }
    let _ = by_kubernetes("scan", home, &[])
        .exits(1)
        .says("the file is empty");
    let shipped = shipped("packaging/kubernetes/site/config.yaml");
    let (_, nothing) = shipped.trim_end().rsplit_once(": ").unwrap();
    let (_, key) = shipped.trim_end().split_once("write: ").unwrap();
    assert!(key.ends_with(nothing));
    std::fs::write(&config, format!("{key}\n")).unwrap();

    let _ = by_kubernetes("scan", home, &[]).exits(2).prints("stale");
    let _ = by_kubernetes("plan/job", home, &[plan])
        .exits(0)
        .prints("stale");
    assert_eq!(journals(&home.join("journals")), 0);
    let repaired = by_kubernetes("fix/job", home, &[plan]).exits(0);
    is_clean(&database);
    let folder = home.join("journals").display().to_string();
    let history = ["history", "--journal", &folder, "--format", "json"];
    let history = run(&mut mcp_prune(&history)).exits(0).json();
    let listed = history["journals"].as_array().unwrap();
    let repair = listed.iter().find(|journal| journal["kind"] == "fix");
    let name = repair.unwrap()["run"].as_str().unwrap();
    assert!(repaired.stdout.contains(name), "{repaired}");
    let _ = by_kubernetes("undo/job", home, &[("RUN", name)]).exits(0);
    let _ = by_kubernetes("scan", home, &[]).exits(2);
    let _ = by_kubernetes("nightly-fix/cronjob", home, &[]).exits(0);
    is_clean(&database);
    assert_eq!(journals(&home.join("journals")), 2);
}

#[test]
fn kustomize_makes_every_folder_of_the_files_for_kubernetes() {
    for folder in ["", "plan", "fix", "undo", "nightly-fix", "pushgateway"] {
        let path = repository("packaging/kubernetes").join(folder);
        let kustomization: Value =
            manifest(format!("{folder}/kustomization").trim_start_matches('/'));
        let fields = ["resources", "components"];
        let named = fields.map(|field| kustomization[field].as_array().into_iter().flatten());
        for name in named.into_iter().flatten() {
            let name = path.join(name.as_str().unwrap());
            assert!(name.exists(), "{}", name.display());
        }
        let Ok(made) = Command::new("kubectl").arg("kustomize").arg(&path).output() else {
            // CI need not have kubectl; packaging/check validates the files all the same.
            continue;
        };
        let made = Ran::from(made).exits(0);
        let image = format!("image: mcp-prune:{}", env!("CARGO_PKG_VERSION"));
        let _ = made.prints(&image).prints("name: mcp-prune-environment");
    }
}

/// Returns a copy of what `packaging/check-release` reads, with real addresses.
fn ready_for_release() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["Cargo.toml", "CHANGELOG.md"] {
        let text = shipped(name).replace(".invalid", ".example.com");
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn a_release_has_its_tag_its_section_and_real_addresses() {
    let check = |tag: &str, folder: &Path| {
        let mut program = Command::new("python3");
        run(program
            .arg(repository("packaging/check-release"))
            .arg(tag)
            .arg(folder))
    };
    let version = env!("CARGO_PKG_VERSION");
    let tag = format!("v{version}");
    let folder = ready_for_release();
    let ran = check(&tag, folder.path()).exits(0).prints("### Added");
    assert!(!ran.stdout.contains("\n## "), "{ran}");
    let _ = check("v999.0.0", folder.path())
        .exits(1)
        .says("the tag is v999.0.0, and Cargo.toml has version ");
    let changelog = folder.path().join("CHANGELOG.md");
    let text = std::fs::read_to_string(&changelog).unwrap();
    std::fs::write(
        &changelog,
        text.replace(&format!("## {version} - "), "## 0.0.9 - "),
    )
    .unwrap();
    let _ = check(&tag, folder.path()).exits(1).says("has no section");
    // As long as the repository has placeholders, nothing is released from it.
    if shipped("Cargo.toml").contains(".invalid") {
        let _ = check(&tag, &repository("")).exits(1).says("placeholders");
        assert!(shipped("CONTRIBUTING.md").contains("\n## Before the first release\n"));
    }
}

#[test]
fn one_issue_is_opened_about_a_release_of_litellm_that_differs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("release"), "1.111.0$(id)\n").unwrap();
    std::fs::write(path("report"), "world 7: key differs\n@everybody [x](y)\n").unwrap();
    // A gh that lists the issues of a file, and adds to it.
    let gh = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\ncase \"$2\" in\nlist) cat issues ;;\n\
              create) echo \"$4\" >>issues; cp \"$6\" body ;;\nesac\n";
    std::fs::write(path("gh"), gh).unwrap();
    std::fs::write(path("issues"), "Another issue\n").unwrap();
    run(Command::new("chmod").arg("755").arg(path("gh"))).exits(0);
    let report = || {
        let mut script = Command::new("/bin/bash");
        script
            .arg(repository("packaging/report-difference"))
            .arg(folder.path())
            .arg("https://ci.example.com/1");
        let search = format!("{}:/usr/bin:/bin", folder.path().display());
        let _ = run(script.env_clear().env("PATH", search)).exits(0);
        std::fs::read_to_string(path("issues")).unwrap()
    };
    let issues = "Another issue\nLiteLLM 1.111.0: mcp-prune differs, or could not be compared\n";
    assert_eq!(report(), issues);
    let body = std::fs::read_to_string(path("body")).unwrap();
    assert!(
        body.contains("\n    world 7: key differs\n    @everybody [x](y)\n"),
        "{body}"
    );
    assert!(body.contains("https://ci.example.com/1"), "{body}");
    assert_eq!(report(), issues, "it is open already");
}
