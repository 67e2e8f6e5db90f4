//! The rules of the source that no compiler checks: which module may import which, which may name a crate,
//! how long a file, a function and a line may be, and words that mean something is left undone.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The ranks of `src/`: a module imports only modules of a lower rank.
const RANKS: [(&str, u8); 22] = [
    ("main", 9),
    ("cli", 8),
    ("server", 7),
    ("admin", 6),
    ("gateway", 6),
    ("stack", 5),
    ("plan", 4),
    ("config", 3),
    ("route", 2),
    ("layers", 2),
    ("upstream", 2),
    ("http", 1),
    ("net", 1),
    ("metrics", 1),
    ("telemetry", 1),
    ("lifecycle", 0),
    ("error", 0),
    ("memory", 0),
    ("report", 0),
    ("units", 0),
    ("clock", 0),
    ("threats", 0),
];

/// Who may name what; everyone else goes through them.
const NAMES: [(&str, &[&str]); 8] = [
    ("hyper", &["src/server/", "src/upstream/", "src/net/", "src/http/"]),
    ("hyper_util", &["src/server/", "src/upstream/", "src/net/", "src/http/"]),
    ("moka", &["src/layers/cache/store.rs"]),
    ("governor", &["src/layers/rate_limit/limiter.rs"]),
    ("brotli", &["src/http/coding.rs"]),
    ("flate2", &["src/http/coding.rs"]),
    ("zstd", &["src/http/coding.rs"]),
    ("SystemTime::now", &["src/clock.rs"]),
];

const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 70;
/// What rustfmt is told; it leaves comments alone.
const MAX_COLUMNS: usize = 110;

/// A source file.
struct Source {
    path: String,
    text: String,
    /// Up to where it is not a test: all of it, or up to its `mod tests`.
    code_lines: usize,
}

impl Source {
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().take(self.code_lines).enumerate().map(|(at, line)| (at + 1, line))
    }

    /// The code without comments and their examples.
    fn statements(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code().map(|(at, line)| (at, line.split("//").next().unwrap_or_default()))
    }

    /// The modules it is in: `layers`, `retry`, `plan` for `src/layers/retry/plan.rs`.
    fn modules(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').filter(|part| *part != "mod").collect()
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let skipped = ["target", ".git", "node_modules", "__pycache__"];
        if skipped.iter().any(|skipped| name == *skipped) {
            continue;
        }
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    walk(&root().join(folder), &mut paths);
    paths.sort();
    let rust = paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let code_lines = code_lines(&path, &text);
        Source { path, text, code_lines }
    })
    .collect()
}

/// How many lines come before the tests; none in a file that is only for tests.
fn code_lines(path: &str, text: &str) -> usize {
    let name = path.rsplit('/').next().unwrap_or_default();
    if path.contains("/tests/") || ["tests.rs", "testing.rs"].contains(&name) {
        return 0;
    }
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].ends_with('{'));
    tests.unwrap_or(lines.len())
}

/// Fails with all findings, one a line.
fn report(rule: &str, findings: &[String]) {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "  {finding}");
    }
    assert!(findings.is_empty(), "{rule}:\n{text}");
}

fn rank(module: &str) -> Option<u8> {
    RANKS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

/// The paths after `crate::`, as lists of names; a group is spread out.
fn imports(source: &Source) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let text: Vec<&str> = source.statements().map(|(_, line)| line).collect();
    for (index, line) in text.iter().enumerate() {
        for (at, _) in line.match_indices("crate::") {
            // `$crate::` and the like are other crates' business; `crate` must be a word of its own.
            if line[..at].ends_with(|before: char| before.is_alphanumeric() || "_$".contains(before)) {
                continue;
            }
            let mut rest = line[at + "crate::".len()..].to_owned();
            // A group may go on over lines.
            let mut next = index + 1;
            while rest.matches('{').count() > rest.matches('}').count() && line.starts_with("use ") {
                rest.push_str(text[next].trim());
                next += 1;
            }
            for path in spread(&rest) {
                found.push((index + 1, path));
            }
        }
    }
    found
}

/// `a::b::{c, d::e}` as `[a, b, c]` and `[a, b, d, e]`.
fn spread(path: &str) -> Vec<Vec<String>> {
    let path = path.trim();
    if let Some(group) = path.strip_prefix('{') {
        let (mut depth, mut start, mut parts) = (0usize, 0, Vec::new());
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    parts.push(&group[start..at]);
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    parts.push(&group[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
        }
        return parts.into_iter().filter(|part| !part.trim().is_empty()).flat_map(spread).collect();
    }
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
    let name = path[..end].to_owned();
    let rest = &path[end..];
    let followed =
        rest.strip_prefix("::").filter(|rest| rest.starts_with(|c: char| c.is_alphabetic() || c == '{'));
    match followed {
        Some(rest) => spread(rest)
            .into_iter()
            .map(|mut tail| {
                tail.insert(0, name.clone());
                tail
            })
            .collect(),
        None => vec![vec![name]],
    }
}

#[test]
fn imports_go_downhill() {
    let mut findings = Vec::new();
    for source in sources("src") {
        let modules = source.modules();
        let Some(mine) = modules.first().filter(|first| **first != "lib") else { continue };
        let Some(own) = rank(mine) else {
            findings.push(format!("{}: a top-level module without a rank", source.path));
            continue;
        };
        for (line, path) in imports(&source) {
            let theirs = path[0].as_str();
            let allowed = match rank(theirs) {
                _ if theirs == *mine => true,
                Some(rank) => rank < own,
                None => theirs.starts_with(char::is_uppercase) || theirs == "VERSION",
            };
            if !allowed {
                findings.push(format!("{}:{line}: {mine} imports {theirs}", source.path));
            }
        }
    }
    report("a module imports only modules of a lower rank", &findings);
}

#[test]
fn layers_do_not_import_each_other() {
    let mut findings = Vec::new();
    for source in sources("src/layers") {
        let modules = source.modules();
        let [_, mine, ..] = modules[..] else { continue };
        for (line, path) in imports(&source) {
            let [first, theirs, ..] = &path[..] else { continue };
            // A layer is a folder; what is beside the folders is for all of them.
            let is_layer = root().join("src/layers").join(theirs).is_dir();
            if first == "layers" && is_layer && theirs != mine {
                findings.push(format!("{}:{line}: {mine} imports {theirs}", source.path));
            }
        }
    }
    report("layers never import each other", &findings);
}

#[test]
fn crates_are_named_where_they_belong() {
    let mut findings = Vec::new();
    for source in sources("src") {
        for (line, text) in source.statements() {
            for (name, places) in NAMES {
                let named = text.match_indices(name).any(|(at, _)| {
                    let word = |c: char| c.is_alphanumeric() || c == '_';
                    !text[..at].ends_with(word) && !text[at + name.len()..].starts_with(word)
                });
                let is_path = name.contains("::") || text.contains(&format!("{name}::"));
                if named && is_path && !places.iter().any(|place| source.path.starts_with(place)) {
                    findings.push(format!("{}:{line}: names {name}", source.path));
                }
            }
            let reads = text.contains("Instant::now") && source.path != "src/clock.rs";
            if reads {
                findings.push(format!("{}:{line}: reads a clock", source.path));
            }
        }
    }
    report("a crate is named only where it is wrapped, a clock read only in clock.rs", &findings);
}

#[test]
fn files_and_lines_are_short() {
    let mut findings = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        let is_test = source.path.starts_with("tests/");
        let allowed = source.text.contains("// tidy: allow-long-file: ");
        if source.code_lines > MAX_FILE_LINES && !is_test && !allowed {
            findings.push(format!("{}: {} lines", source.path, source.code_lines));
        }
        for (at, line) in source.text.lines().enumerate() {
            let columns = line.chars().count();
            // A text that must stand in one line is no code, nor is the row of a table.
            let is_row = line.starts_with("//! | ");
            if columns > MAX_COLUMNS && !line.contains('"') && !line.ends_with('\\') && !is_row {
                findings.push(format!("{}:{}: {columns} columns", source.path, at + 1));
            }
            if line.ends_with([' ', '\t']) {
                findings.push(format!("{}:{}: blanks at the end", source.path, at + 1));
            }
        }
    }
    report(&format!("a file has at most {MAX_FILE_LINES} lines, a line {MAX_COLUMNS} columns"), &findings);
}

#[test]
fn functions_are_short() {
    let mut findings = Vec::new();
    for source in sources("src") {
        let lines: Vec<&str> = source.code().map(|(_, line)| line).collect();
        for (start, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            if !is_function(line) || line.ends_with(['}', ';']) {
                continue;
            }
            // Formatted code closes a function in the column it opens in.
            let end = format!("{}}}", " ".repeat(indent));
            let Some(length) = lines[start..].iter().position(|line| *line == end) else { continue };
            let above = lines[..start].iter().rev().take_while(|line| {
                let line = line.trim_start();
                line.starts_with("//") || line.starts_with('#')
            });
            let allowed = above.into_iter().any(|line| line.contains("// tidy: allow-long: "));
            if length + 1 > MAX_FUNCTION_LINES && !allowed {
                findings.push(format!("{}:{}: {} lines", source.path, start + 1, length + 1));
            }
        }
    }
    report(&format!("a function has at most {MAX_FUNCTION_LINES} lines"), &findings);
}

fn is_function(line: &str) -> bool {
    let Some((before, _)) = line.split_once("fn ") else { return false };
    before
        .split_whitespace()
        .all(|word| ["const", "async", "unsafe", "extern"].contains(&word) || word.starts_with("pub"))
}

#[test]
fn modules_say_what_they_are() {
    let silent = sources("src").into_iter().chain(sources("tests")).filter(|source| {
        let first = source.text.lines().next().unwrap_or_default();
        !first.starts_with("//! ") && !source.path.ends_with("tests.rs")
    });
    let findings: Vec<String> = silent.map(|source| source.path).collect();
    report("a module opens with one sentence", &findings);
}

#[test]
fn nothing_is_left_undone() {
    // Cut in two, or this file would find itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("To ", "come."),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
    ];
    let mut findings = Vec::new();
    let mut paths = Vec::new();
    for folder in ["src", "config", "tests", "loadtest", ".ci"] {
        walk(&root().join(folder), &mut paths);
    }
    paths.extend(["README.md", "CHANGELOG.md", "SECURITY.md"].map(|name| root().join(name)));
    for path in paths {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for (at, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                let path = path.strip_prefix(root()).unwrap().display();
                findings.push(format!("{path}:{}: {word}", at + 1));
            }
        }
    }
    report("nothing is left undone, and no path is of one machine only", &findings);
}

#[test]
fn the_checks_see_what_they_look_for() {
    let source = |path: &str, text: &str| Source {
        path: path.to_owned(),
        code_lines: code_lines(path, text),
        text: text.to_owned(),
    };
    let grouped =
        "use crate::{\n    error::Error,\n    http::{Body, held::End},\n};\nlet x = crate::clock::now();\n";
    let found: Vec<String> =
        imports(&source("src/a.rs", grouped)).into_iter().map(|(_, path)| path.join("::")).collect();
    assert_eq!(found, ["error::Error", "http::Body", "http::held::End", "clock::now"]);
    assert!(imports(&source("src/a.rs", "// crate::server\n$crate::x\n")).is_empty());
    assert_eq!(code_lines("src/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n}\n"), 1);
    assert_eq!(code_lines("src/a/tests.rs", "fn a() {}\n"), 0);
    assert!(is_function("    pub(crate) async fn a(") && !is_function("    // a fn b"));
}
