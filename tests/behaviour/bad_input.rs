//! What is given to the process: arguments, config files, certificates, ports, file descriptors.

use std::path::Path;
use std::process::Output;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::support::gateway::program;
use crate::support::{Client, Gateway, Origin, Reply, get};

/// Runs a command to its end.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = program().args(args).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Runs a command on a config file of this text.
fn run_on(config: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forebay.toml");
    std::fs::write(&file, config).unwrap();
    run(&[args, &["-c", file.to_str().unwrap()]].concat())
}

const GOOD: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
                    [upstream.api]\nendpoints = [\"http://127.0.0.1:1\"]\n\
                    [[route]]\nname = \"all\"\nmatch = { path = \"/{*rest}\" }\nupstream = \"api\"\n";

#[test]
fn all_problems_of_a_config_are_told_at_once() {
    let config = "[server]\nmax_conections = 1\nidle_timeout = \"5 parsecs\"\n\
                  [[listener]]\naddress = \"nowhere\"\n\
                  [upstream.api]\nendpoints = [\"ftp://127.0.0.1\"]\n\
                  [[route]]\nname = \"a\"\nupstream = \"apy\"\n";
    for command in [&["run"][..], &["check"], &["run", "-t"]] {
        let (code, out, err) = run_on(config, command);
        assert_eq!((code, &*out), (Some(2), ""), "{err}");
        for (line, said) in [
            (2, "did you mean `max_connections`?"),
            (3, "5 parsecs"),
            (5, "nowhere"),
            (7, "ftp"),
            (10, "did you mean `api`?"),
        ] {
            assert!(err.contains(said) && err.contains(&format!("forebay.toml:{line}:")), "{said}: {err}");
        }
    }
    // What is no TOML has its line, too.
    let (code, _, err) = run_on("[server\n", &["check"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("forebay.toml:1:"), "{err}");
}

#[test]
fn a_config_that_is_not_there() {
    for args in [&["run", "-c", "/no/such/file"][..], &["check", "-c", "/no/such/file"]] {
        let (code, _, err) = run(args);
        assert_eq!(code, Some(2));
        assert!(err.starts_with("error: cannot read the config file `/no/such/file`: No such file"), "{err}");
    }
}

#[test]
fn arguments_that_are_wrong() {
    for args in [
        &[][..],
        &["rum"],
        &["run"],
        &["run", "--upstream"],
        &["run", "--upstream", "no url"],
        &["check"],
        &["schema", "--format", "xml"],
    ] {
        let (code, out, err) = run(args);
        assert_eq!((code, &*out), (Some(2), ""), "{args:?}: {err}");
        assert!(!err.is_empty(), "{args:?}");
    }
    assert!(run(&["chek"]).2.contains("check"), "it says what was meant");
}

#[test]
fn commands_that_only_look() {
    let (code, out, err) = run_on(GOOD, &["check"]);
    assert_eq!((code, &*out), (Some(0), ""));
    assert!(err.ends_with("forebay.toml: ok\n"), "{err}");
    assert_eq!(run_on(GOOD, &["run", "-t"]).0, Some(0));
    let (code, out, _) = run_on(GOOD, &["routes"]);
    assert_eq!(code, Some(0));
    assert!(out.starts_with("ROUTE") && out.contains("all") && out.contains("upstream api"), "{out}");
    let (code, out, _) = run(&["version"]);
    assert_eq!((code, out), (Some(0), format!("forebay {}\n", env!("CARGO_PKG_VERSION"))));

    let (code, out, _) = run(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, schema["properties"]["route"].is_object()), (Some(0), true));
    let (_, out, _) = run(&["schema", "--format", "markdown"]);
    assert!(out.contains("max_connections"));
    let (_, out, _) = run(&["schema", "--format", "toml"]);
    assert!(out.contains("[[route]]"));
    assert_eq!(run_on(&out, &["check"]).0, Some(0), "what it prints can be used");
}

#[tokio::test]
async fn a_port_that_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listener = GOOD.replace("address = \"127.0.0.1:0\"", &format!("address = \"{address}\""));
    let admin = GOOD.replacen("127.0.0.1:0", &address, 1);
    for (config, key) in [(listener, "listener.address"), (admin, "admin.listen")] {
        let (code, _, err) = run_on(&config, &["run"]);
        assert_eq!(code, Some(1));
        let said = format!("error: cannot listen on {address} (`{key}`): Address already in use");
        assert!(err.contains(&said), "{err}");
    }
}

fn certify(folder: &Path, name: &str) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), cert.pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), signing_key.serialize_pem()).unwrap();
}

/// Each with the place that names it, and all at once; `check` finds what would keep `run` from starting.
#[test]
fn certificates_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| format!("{}/{name}", folder.path().display());
    certify(folder.path(), "a");
    certify(folder.path(), "b");
    std::fs::write(at("empty.pem"), "nothing\n").unwrap();
    let one = |cert: &str, key: &str| format!("\n{{ cert = \"{}\", key = \"{}\" }},", at(cert), at(key));
    let tls =
        [one("a.pem", "b.key"), one("gone.pem", "a.key"), one("empty.pem", "a.key"), one("a.pem", "b.pem")];
    let config = GOOD.replace(
        "address = \"127.0.0.1:0\"\n",
        &format!("address = \"127.0.0.1:0\"\ntls = [{}\n]\n", tls.concat()),
    );
    let upstream =
        format!("http://127.0.0.1:1\", \"https://a.example\"]\ntls.ca = \"{}\" #", at("no-ca.pem"));
    let config = config.replace("http://127.0.0.1:1", &upstream);
    for command in ["run", "check"] {
        let (code, _, err) = run_on(&config, &[command]);
        assert_eq!(code, Some(2), "{err}");
        for (line, said) in [
            (6, "b.key: this key does not belong to the certificate in"),
            (7, "gone.pem: No such file"),
            (8, "empty.pem: no certificate in this file"),
            (9, "b.pem: no private key"),
            (13, "no-ca.pem: No such file"),
        ] {
            assert!(
                err.contains(said) && err.contains(&format!("forebay.toml:{line}:")),
                "{line} {said}: {err}"
            );
        }
    }
}

/// No file descriptors left: it says so, pauses, and goes on when there are some again.
#[tokio::test]
async fn without_file_descriptors_it_waits() {
    let origin = Origin::always(Reply::ok("hello")).await;
    let config = Gateway::config(origin.address, "", "");
    let gateway = Gateway::start_in_shell(&config, "ulimit -n 40; exec \"$@\"");
    let mut clients = Vec::new();
    for _ in 0..60 {
        clients.push(Client::connect(gateway.address).await);
    }
    gateway.wait_for_log("accept failed, pausing").await;
    drop(clients);
    for _ in 0..10 {
        assert_eq!(get(gateway.address, "/").await.text(), "hello");
    }
    let errors = gateway.metrics().await.sum("forebay_accept_errors_total", &[]);
    // It did not spin: each pause is twice as long as the one before.
    assert!((1.0..100.0).contains(&errors), "{errors}");
}

/// The tour checks itself: every step says what it shows, and whether it was so.
#[test]
fn the_demo_does_what_it_says() {
    let (code, out, err) = run(&["demo", "--exit"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let steps = out
        .lines()
        .filter(|line| line.ends_with(']'))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    let steps: Vec<&str> = steps.collect();
    assert!(steps.len() >= 7 && steps.iter().all(|step| step.ends_with("[ok]")), "{out}");
}
