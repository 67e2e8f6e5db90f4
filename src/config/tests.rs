use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::layers::admission::config::Mode;
use crate::report::Severity;
use crate::upstream::config::EndpointConfig;

fn environment(name: &str) -> Option<String> {
    match name {
        "ONE" => Some("1".to_owned()),
        "SECRET" => Some("hunter2".to_owned()),
        _ => None,
    }
}

fn toml(text: &str) -> Loaded {
    parse("f.toml".as_ref(), text, &environment)
}

fn yaml(text: &str) -> Loaded {
    parse("f.yaml".as_ref(), text, &environment)
}

/// `line:column message [hint]` of every problem, in the file's order.
fn problems(loaded: &Loaded) -> Vec<String> {
    let shown = loaded.source.render(&loaded.report);
    let mut out: Vec<String> = Vec::new();
    for line in shown.lines() {
        if let Some(rest) = line.strip_prefix("f.toml:").or_else(|| line.strip_prefix("f.yaml:")) {
            out.push(rest.replacen(": error:", "", 1));
        } else if let (Some((_, help)), Some(last)) = (line.split_once(" = help: "), out.last_mut()) {
            write!(last, " [{help}]").unwrap();
        }
    }
    out
}

fn repository(name: &str) -> PathBuf {
    FilePath::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

// ---- problems ----

#[test]
fn a_problem_alone() {
    for (text, expected) in [
        ("[server]\nworkerz = 1", "2:1 unknown key `workerz` in `server` [did you mean `workers`?]"),
        ("[sever]", "1:2 unknown key `sever` [did you mean `server`?]"),
        (
            "[server]\nmax-connections = 1",
            "2:1 unknown key `max-connections` in `server` [did you mean `max_connections`?]",
        ),
        ("[admin]\nzzzzzz = 1", "2:1 unknown key `zzzzzz` in `admin` [possible here: `listen`"),
        ("server.workers = -1", "1:18 expected a whole number from 0 to 4294967295, found the number -1"),
        ("server.workers = 1.5", "1:18 expected a whole number from 0 to 4294967295, found the number 1.5"),
        (
            "server.workers = 99999999999999999999",
            "1:18 expected a whole number from 0 to 4294967295, found the",
        ),
        (
            "server.workers = \"2\"",
            "1:18 expected a whole number from 0 to 4294967295, found the string \"2\" [leave the quotes out: 2]",
        ),
        (
            "server.idle_timeout = 10",
            "1:23 expected a duration like \"250ms\" or \"10s\", found the number 10",
        ),
        ("server.idle_timeout = \"10\"", "1:23 `10` is no duration: write a number and a unit"),
        ("server.max_body = \"1 parsec\"", "1:19 `1 parsec` is no size"),
        (
            "server.idle_timeout = 1979-05-27",
            "1:23 expected a duration like \"250ms\" or \"10s\", found a date",
        ),
        ("server.merge_slashes = \"yes\"", "1:24 expected `true` or `false`, found the string \"yes\""),
        ("server = 3", "1:10 expected a table, found the number 3"),
        ("server = []", "1:10 expected a table, found a list"),
        ("[[server]]", "1:1 expected a table, found a list [there is only one: write `[server]` in TOML"),
        (
            "[route]\nname = \"a\"",
            "1:1 expected a list, found a table [there may be several: write `[[route]]` in TOML",
        ),
        (
            "log.format = \"jsn\"",
            "1:14 expected one of `json`, `text`, found the string \"jsn\" [did you mean \"json\"?]",
        ),
        ("log.format = 3", "1:14 expected one of `json`, `text`, found the number 3"),
        ("admin.listen = 9901", "1:16 expected a string, found the number 9901 [put it in quotes: \"9901\"]"),
        ("[[route]]", "1:1 `name` is missing here"),
        ("[[route]]\nnmae = \"a\"", "2:1 unknown key `nmae` in `route[0]` [did you mean `name`?]"),
        ("[[route]]\nname = 3", "2:8 expected a string, found the number 3"),
        ("route = [3]", "1:10 expected a table, found the number 3"),
        ("route = [{}]", "1:10 `name` is missing here"),
        (
            "[[route]]\nname = \"a\"\nmatch.method = \"GET\"",
            "3:16 expected a list, found the string \"GET\" [write a list: [\"GET\"]]",
        ),
        ("[[route]]\nname = \"a\"\nrate_limit = [{ name = \"b\" }]", "3:15 `rate` is missing here"),
        (
            "[[route]]\nname = \"a\"\nrate_limit = [{ name = \"b\", rate = \"often\" }]",
            "3:36 `often` is no rate",
        ),
        ("[upstream.a]", "1:1 `endpoints` is missing here"),
        ("upstream.a = 3", "1:14 expected a table, found the number 3"),
        (
            "[upstream.a]\nendpoints = []\nfoo = 1",
            "3:1 unknown key `foo` in `upstream.a` [possible here: `endpoints`",
        ),
        (
            "[upstream.a]\nendpoints = []\nconcurency = {}",
            "3:1 unknown key `concurency` in `upstream.a` [did you mean `concurrency`?]",
        ),
        (
            "[upstream.a]\nendpoints = []\nconcurrency = { limt = 3 }",
            "3:17 unknown key `limt` in `upstream.a.concurrency` [did you mean `limit`?]",
        ),
        (
            "[upstream.a]\nendpoints = [\"b\", 3]",
            "2:19 expected a URL, or a table with `url` and `weight`, found the number 3",
        ),
        (
            "[upstream.a]\nendpoints = [{ ulr = \"b\" }]",
            "2:16 unknown key `ulr` in `upstream.a.endpoints[0]` [did you mean `url`?]",
        ),
        (
            "[upstream.a]\nendpoints = [{ url = \"b\", weight = -2 }]",
            "2:36 expected a whole number from 0 to 4294967295, found the number -2",
        ),
        (
            "[[listener]]\naddress = \"a\"\ntls = \"cert.pem\"",
            "3:7 expected a table, or a list of tables, found the string \"cert.pem\"",
        ),
        ("[[listener]]\naddress = \"a\"\ntls = { cert = \"a\" }", "3:7 `key` is missing here"),
        (
            "[[listener]]\naddress = \"a\"\ntls = [{ cert = \"a\", key = \"b\", x = 1 }]",
            "3:33 unknown key `x` in `listener[0].tls[0]` [possible here: `cert`, `key`]",
        ),
        (
            "admin.listen = \"${NONE}\"",
            "1:16 the environment variable `NONE` is not set [set it, or give a default: `${NONE:-...}`]",
        ),
        // Secrets do not get into messages by being of the wrong type.
        (
            "server.workers = \"${SECRET}\"",
            "1:18 expected a whole number from 0 to 4294967295, found what came out of `${...}`",
        ),
        (
            "log.format = \"${SECRET}\"",
            "1:14 expected one of `json`, `text`, found what came out of `${...}`",
        ),
        ("[server", "1:8 unclosed table"),
        ("a = 1\na = 2", "2:1 duplicate key"),
    ] {
        let loaded = toml(text);
        let found = problems(&loaded);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
        assert!(found[0].starts_with(expected), "{text}\n{found:#?}");
        assert!(loaded.report.has_errors());
    }
}

#[test]
fn a_problem_alone_in_yaml() {
    for (text, expected) in [
        ("server:\n  workerz: 1", "2:3 unknown key `workerz` in `server` [did you mean `workers`?]"),
        (
            "server:\n  workers: many",
            "2:12 expected a whole number from 0 to 4294967295, found the string \"many\"",
        ),
        (
            "server: { idle_timeout: 10 }",
            "1:25 expected a duration like \"250ms\" or \"10s\", found the number 10",
        ),
        ("route:\n  - upstream: a", "2:5 `name` is missing here"),
        (
            "route:\n- name: a\n  retry:\n    on: [connect, 503]",
            "4:19 expected a string, found the number 503 [put it in quotes: \"503\"]",
        ),
        ("- a", "1:1 expected a table, found a list"),
        ("server:\n  workers: 1\n  workers: 2", "3:3 duplicate mapping key `workers`"),
        ("server: {a: b", "1:9 unclosed bracket"),
        ("a: *b", "1:4 reference to unknown value"),
        ("&a [*a]", "1:5 Recursive reference"),
        ("log: {}\n---\nlog: {}", "3:1 only single YAML document expected"),
    ] {
        let loaded = yaml(text);
        let found = problems(&loaded);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
        assert!(found[0].starts_with(expected), "{text}\n{found:#?}");
    }
}

#[test]
fn all_problems_at_once_in_the_order_of_the_file() {
    let loaded = toml(
        "[server]\nworkerz = 2\nidle_timeout = 10\n[log]\nformat = \"jsn\"\n[[route]]\ntimeout = \"${NONE}\"\n\
         match = { pth = 3 }\n[upstream.a]\nendpoints = [1, 2]\n",
    );
    let lines: Vec<_> = problems(&loaded).iter().map(|p| p.split(' ').next().unwrap().to_owned()).collect();
    // The misspelt `pth` is taken for `path`, whose value is wrong too.
    assert_eq!(lines, ["2:1", "3:16", "5:10", "6:1", "7:11", "8:11", "8:17", "10:14", "10:17"]);
    assert!(loaded.problems().ends_with("f.toml: 9 errors\n"));
}

#[test]
fn the_number_of_problems_is_bounded() {
    let text: String = (0..1000).map(|i| format!("zzzzzzzz{i} = 1\n")).collect();
    assert_eq!(toml(&text).report.problems().len(), repair::MAX_PROBLEMS + 1);
    let text: String = (0..1000).map(|_| "= = =\n").collect();
    assert!(toml(&text).report.problems().len() <= repair::MAX_PROBLEMS);
}

#[test]
fn a_problem_is_shown_like_a_compilers() {
    let loaded = toml("[server]\n\tworkers = \"many\" # no\n");
    assert_eq!(
        loaded.problems(),
        "f.toml:2:12: error: expected a whole number from 0 to 4294967295, found the string \"many\"\n  \
           |\n\
         2 | \tworkers = \"many\" # no\n  \
           | \t          ^^^^^^\n\
         f.toml: 1 error\n"
    );
}

#[test]
fn what_is_shown_does_nothing_to_the_terminal_and_fits_it() {
    let loaded =
        toml(&format!("log.access = '{}'\nserver.workers = '\u{1b}[2J{}'", "x".repeat(9), "y".repeat(999)));
    let text = format!("server.workers = '''\u{9b}{}'''", "y".repeat(999));
    let long = toml(&text);
    for shown in [loaded.problems(), long.problems()] {
        assert!(!shown.contains(['\u{1b}', '\u{9b}']), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() < 250), "{shown}");
    }
}

#[test]
fn a_later_problem_is_shown_at_its_value_or_at_the_nearest_table() {
    let loaded = toml("[server]\nworkers = 0\n[[route]]\nname = \"a\"\n");
    let mut report = Report::new();
    let root = Path::root();
    report.error_with_hint(&root.key("server").key("workers"), "zero is none", "write 1");
    report.warn(&root.key("route").index(0).key("cache").key("ttl"), "strange", "do not");
    report.error(&root.key("log").key("access"), "far away");
    let shown = loaded.source.render(&report);
    let expected = "\
f.toml:1:1: error: far away
  |
1 | [server]
  | ^
  = at: log.access, which is not in the file
f.toml:2:11: error: zero is none
  |
2 | workers = 0
  |           ^
  = help: write 1
f.toml:3:1: warning: strange
  |
3 | [[route]]
  | ^^^^^^^^^
  = at: route[0].cache.ttl, which is not in the file
  = help: do not
";
    assert_eq!(shown, expected);
    assert_eq!(Source::summary(&report), "2 errors, 1 warning");
}

#[test]
fn echoes_of_a_problem_are_left_out() {
    let mut loaded = toml("[[route]]\nname = \"a\"\nupstream = 3\n[[route]]\nname = \"b\"\n");
    let root = Path::root();
    let mut later = Report::new();
    later.error(&root.key("route").index(0), "it goes nowhere");
    later.error(&root.key("route").index(0).key("upstream"), "it is unknown");
    later.error(&root.key("route").index(1), "it goes nowhere");
    loaded.add(&later);
    assert_eq!(
        problems(&loaded),
        ["3:12 expected a string, found the number 3 [put it in quotes: \"3\"]", "4:1 it goes nowhere",]
    );
}

// ---- values ----

#[test]
fn toml_and_yaml_say_the_same() {
    let one = toml(
        "[upstream.a]\nendpoints = [\"http://a\", { url = \"http://b\", weight = 2 }]\n\
         concurrency = { mode = \"off\" }\n[[listener]]\naddress = \"a:1\"\ntls = { cert = \"c\", key = \"k\" }\n\
         [[route]]\nname = \"r\"\ncache.ttl.by_status = { \"404\" = \"1s\" }\n",
    );
    let two = yaml(
        "upstream:\n  a:\n    endpoints: [http://a, {url: http://b, weight: 2}]\n    concurrency: {mode: off}\n\
         listener:\n- address: a:1\n  tls: {cert: c, key: k}\nroute:\n- name: r\n  cache: {ttl: {by_status: {404: 1s}}}\n\
         admin:\n",
    );
    assert_eq!((one.problems(), two.problems()), (String::new(), String::new()));
    assert_eq!(one.config, two.config);
    let upstream = &one.config.upstream["a"];
    assert_eq!(upstream.endpoints.endpoints[0], EndpointConfig::Url("http://a".to_owned()));
    assert_eq!(upstream.concurrency.mode, Mode::Off);
    assert_eq!(one.config.listener[0].tls.as_slice()[0].key, "k");
}

#[test]
fn tls_is_one_or_several() {
    let one = "tls = { cert = \"a\", key = \"b\" }";
    let two = "tls = [{ cert = \"a\", key = \"b\" }, { cert = \"c\", key = \"d\" }]";
    for (tls, count) in [(one, 1), (two, 2), ("tls = []", 0), ("", 0)] {
        let loaded = toml(&format!("[[listener]]\naddress = \"a\"\n{tls}"));
        assert_eq!(loaded.problems(), "");
        assert_eq!(loaded.config.listener[0].tls.as_slice().len(), count);
    }
}

#[test]
fn variables_stand_for_numbers_and_booleans_too() {
    let loaded = toml(
        "server = { workers = \"${ONE}\", merge_slashes = \"${NONE:-false}\" }\nadmin.listen = \"$${ONE}:${ONE}\"",
    );
    assert_eq!(loaded.problems(), "");
    assert_eq!(loaded.config.server.workers, Some(1));
    assert!(!loaded.config.server.merge_slashes);
    assert_eq!(loaded.config.admin.listen, "${ONE}:1");
}

#[test]
fn nothing_is_a_config() {
    for name in ["a.toml", "a.yaml", "a.json", "noending"] {
        for text in ["", "\n\n", "# only this\n", "\u{feff}"] {
            let loaded = parse(name.as_ref(), text, &|_| None);
            assert_eq!(loaded.problems(), "", "{name} {text:?}");
            assert_eq!(loaded.config, Config::default());
        }
    }
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_do_not_move_anything() {
    let loaded = toml("\u{feff}[server]\r\nworkerz = 1\r\n");
    assert_eq!(problems(&loaded), ["2:1 unknown key `workerz` in `server` [did you mean `workers`?]"]);
    assert!(!loaded.problems().contains('\r'));
}

#[test]
fn json_is_yaml() {
    let loaded = parse("f.json".as_ref(), "{\n\t\"server\": {\n\t\t\"workers\": 3\n\t}\n}\n", &|_| None);
    assert_eq!(loaded.problems(), "");
    assert_eq!(loaded.config.server.workers, Some(3));
}

#[test]
fn depth_and_aliases_are_bounded() {
    let deep = 50_000;
    for (name, text) in [
        ("f.toml", format!("a = {}", "[".repeat(deep))),
        ("f.toml", format!("a = {}", "{a=".repeat(deep))),
        ("f.toml", format!("a{} = 1", ".a".repeat(deep))),
        ("f.toml", format!("[a{}]", ".a".repeat(deep))),
        ("f.yaml", "[".repeat(deep)),
        ("f.yaml", "{a: ".repeat(deep)),
        ("f.yaml", (0..500).map(|i| format!("{}a:\n", " ".repeat(i))).collect()),
        ("f.yaml", "- ".repeat(deep)),
        // A billion laughs.
        (
            "f.yaml",
            (0..40).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, i| {
                format!("{text}a{}: &a{} [{}*a{i}]\n", i + 1, i + 1, format!("*a{i},").repeat(8))
            }),
        ),
    ] {
        let loaded = parse(name.as_ref(), &text, &|_| None);
        assert!(loaded.report.has_errors(), "{name} {:.20}", text);
        assert!(loaded.problems().len() < 100_000);
    }
}

// ---- files ----

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let message = |name: &str| load(&at(name)).unwrap_err().to_string();
    assert!(message("none.toml").starts_with("cannot read the config file `"));
    assert!(load(folder.path()).unwrap_err().to_string().ends_with("it is a folder"));
    std::fs::write(at("bytes.toml"), b"a = 1\n\xff").unwrap();
    assert!(message("bytes.toml").ends_with("bytes.toml:2: the config file is not UTF-8"));
    std::fs::write(at("large.toml"), vec![b'\n'; MAX_FILE as usize + 1]).unwrap();
    assert!(message("large.toml").ends_with("is larger than 1 MiB"));
    std::fs::write(at("good.toml"), vec![b'\n'; MAX_FILE as usize]).unwrap();
    assert!(load(&at("good.toml")).unwrap().report.problems().is_empty());
}

#[test]
fn files_in_values_are_beside_the_config() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("listen"), "127.0.0.1:1\n").unwrap();
    let config = folder.path().join("f.toml");
    std::fs::write(&config, "admin.listen = \"${file:listen}\"\n").unwrap();
    assert_eq!(load(&config).unwrap().config.admin.listen, "127.0.0.1:1");
    std::fs::write(&config, "admin.listen = \"${file:none}\"\n").unwrap();
    let loaded = load(&config).unwrap();
    assert!(loaded.problems().contains("f.toml:1:16: error: cannot read `none`"), "{}", loaded.problems());
}

// ---- the repository's own files ----

/// Compares a generated file with the one in the repository; `FOREBAY_BLESS=1` writes it.
fn fresh(name: &str, text: &str) {
    let path = repository(name);
    if std::env::var_os("FOREBAY_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "config/{name} is stale: run `FOREBAY_BLESS=1 cargo test --lib config::`");
}

#[test]
fn generated_files_are_fresh() {
    fresh("schema.json", &docs::schema_json());
    fresh("reference.md", &docs::reference_markdown());
    fresh("full.toml", &docs::full_toml());
}

#[test]
fn the_full_file_says_the_defaults() {
    let loaded = toml(&docs::full_toml());
    assert_eq!(loaded.problems(), "");
    assert_eq!(loaded.config, docs::full());
    let Config { server, admin, log, cache, .. } = loaded.config;
    let default = Config::default();
    assert_eq!((server, admin, log, cache), (default.server, default.admin, default.log, default.cache));
}

#[test]
fn the_full_file_has_every_key_and_what_is_commented_out_is_right_too() {
    let text = docs::full_toml();
    let is_key = |line: &str| {
        let name = line.split(" = ").next().unwrap_or_default();
        line.contains(" = ") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let mut uncommented = String::new();
    for line in text.lines() {
        let rest = line.strip_prefix("# ").filter(|rest| is_key(rest));
        writeln!(uncommented, "{}", rest.unwrap_or(line)).unwrap();
    }
    assert_eq!(toml(&uncommented).problems(), "");
    let schema = docs::schema();
    for table in schema["$defs"].as_object().unwrap().values() {
        for key in table["properties"].as_object().into_iter().flatten().map(|(key, _)| key) {
            let mentioned = text.contains(&format!("{key} = ")) || text.contains(&format!("{key}]"));
            assert!(mentioned, "{key}");
        }
    }
}

#[test]
fn every_key_of_the_reference_says_what_it_does() {
    for line in docs::reference_markdown().lines().filter(|line| line.starts_with("| `")) {
        assert!(!line.ends_with("|  |"), "{line}");
    }
}

#[test]
fn the_examples_are_good() {
    let mut count = 0;
    for entry in std::fs::read_dir(repository("")).unwrap() {
        let path = entry.unwrap().path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if !matches!(ending, Some("toml" | "yaml")) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let loaded = parse(&path, &text, &token);
        assert_eq!(loaded.problems(), "", "{}", path.display());
        assert!(!loaded.config.route.is_empty() && !loaded.config.listener.is_empty(), "{}", path.display());
        count += 1;
    }
    assert!(count >= 5, "quickstart, routes, tls, kubernetes, full");
}

/// The one setting that examples take from their environment without a default.
fn token(name: &str) -> Option<String> {
    (name == "FOREBAY_ADMIN_TOKEN").then(|| "secret".to_owned())
}

#[test]
fn the_config_map_holds_the_example() {
    let text = std::fs::read_to_string(repository("deploy/kubernetes.yaml")).unwrap();
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).unwrap();
    let kinds: Vec<_> = documents.iter().map(|document| document["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ConfigMap", "Deployment", "Service"]);
    let held = parse("f.yaml".as_ref(), documents[0]["data"]["forebay.yaml"].as_str().unwrap(), &token);
    assert_eq!(held.problems(), "");
    let path = repository("kubernetes.yaml");
    let example = parse(&path, &std::fs::read_to_string(&path).unwrap(), &token);
    assert_eq!(held.config, example.config);
}

// ---- anything at all ----

/// Text that gets further into the parsers than noise does.
fn almost_config() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("[server]\n"),
        Just("[[route]]\n"),
        Just("[upstream.a]\n"),
        Just("server:\n  "),
        Just("route:\n- "),
        Just("name"),
        Just("endpoints"),
        Just("workers"),
        Just("timeout"),
        Just("tls"),
        Just("match"),
        Just(" = "),
        Just(": "),
        Just("\n"),
        Just("\n  "),
        Just("\"${A}\""),
        Just("\"${file:/dev/null}\""),
        Just("\"a\""),
        Just("'"),
        Just("\"\"\""),
        Just("1"),
        Just("-1.5e999"),
        Just("true"),
        Just("["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just(","),
        Just("&a "),
        Just("*a"),
        Just("<<: *a"),
        Just("# é\n"),
        Just("日本"),
        Just("\t"),
        Just("\r\n"),
        Just("|\n  x\n"),
        Just("? "),
        Just("!!str "),
        Just("---\n"),
        Just("\u{feff}"),
        Just("."),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn check_anything(name: &str, text: &str) -> Result<(), TestCaseError> {
    let loaded = parse(name.as_ref(), text, &environment);
    let read = text.strip_prefix('\u{feff}').unwrap_or(text);
    for problem in loaded.report.problems() {
        let (span, _) = loaded.source.locate(&problem.path);
        prop_assert!(read.get(span.start..span.end).is_some(), "{span:?} of {read:?}");
        prop_assert_eq!(problem.severity, Severity::Error);
        prop_assert!(!problem.message.is_empty());
    }
    // What is shown starts at a line that is there.
    let shown = loaded.problems();
    for line in shown.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':')) {
        if let Some(number) = line.split(':').next().and_then(|number| number.parse::<usize>().ok()) {
            prop_assert!(number >= 1 && number <= read.matches('\n').count() + 1, "{line}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_never_panics(text in ".{0,200}") {
        check_anything("f.toml", &text)?;
        check_anything("f.yaml", &text)?;
    }

    #[test]
    fn almost_config_never_panics(text in almost_config()) {
        check_anything("f.toml", &text)?;
        check_anything("f.yaml", &text)?;
    }
}
