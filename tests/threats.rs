//! The page of threats in the crate's docs names tests that exist.

use std::path::Path;

/// The file of a test that is named `a::b::c`, and its name there.
fn file_of(test: &str) -> (String, &str) {
    let (modules, name) = test.rsplit_once("::").unwrap();
    let folder = if modules.starts_with("layers::") { "src" } else { "tests" };
    (format!("{folder}/{}", modules.replace("::", "/")), name)
}

#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("src/threats.rs")).unwrap();
    let first = ["behaviour::", "faults::", "fuzz::", "hostile::", "layers::auth::tests"];
    let named: Vec<&str> =
        page.split('`').filter(|word| first.iter().any(|first| word.starts_with(first))).collect();
    assert!(named.len() > 100, "only {} tests are named", named.len());
    for test in named {
        let (file, name) = file_of(test);
        let text = [format!("{file}.rs"), format!("{file}/mod.rs")]
            .iter()
            .find_map(|file| std::fs::read_to_string(root.join(file)).ok())
            .unwrap_or_else(|| panic!("{test}: there is no {file}.rs"));
        let defined = text.contains(&format!("fn {name}("));
        assert!(defined, "{test}: no such test in {file}.rs");
    }
}

#[test]
fn every_attack_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("src/threats.rs")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("//! | ") && !line.contains("| tests |"));
    for row in rows {
        assert!(row.matches("::").count() > 0, "{row}");
    }
}
