//! The corpus of the fuzzer, replayed: each of its files makes something different happen. `tests/fuzz/run`
//! looks for more.

#[path = "fuzz/src/targets.rs"]
mod targets;

use std::path::Path;

fn corpus() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

#[test]
fn the_corpus_finds_nothing() {
    for (name, target) in targets::ALL {
        let mut files: Vec<_> =
            std::fs::read_dir(corpus().join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            let data = std::fs::read(&file).unwrap();
            if std::panic::catch_unwind(|| target(&data)).is_err() {
                panic!("{}: see above", file.display());
            }
        }
        target(b"");
    }
}

#[test]
fn each_target_is_built_and_each_corpus_has_one() {
    let manifest = std::fs::read_to_string(corpus().join("../Cargo.toml")).unwrap();
    for (name, _) in targets::ALL {
        let file = std::fs::read_to_string(corpus().join(format!("../targets/{name}.rs"))).unwrap();
        assert!(file.contains(&format!("forebay_fuzz::{name}(")), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
    for entry in std::fs::read_dir(corpus()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(targets::ALL.iter().any(|(known, _)| *known == name), "{name} is no target");
    }
}
