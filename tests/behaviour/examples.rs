//! The examples in `config/` are what users begin with: `forebay check` has nothing to say against them.

use std::path::Path;

use super::tls::certify;
use crate::support::gateway::program;

#[test]
fn every_example_passes_the_check() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["example.com", "example.org", "clients-ca", "internal-ca", "forebay"] {
        certify(folder.path(), file, &[file]);
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut count = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if !path.extension().is_some_and(|ending| ending == "toml" || ending == "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let copy = folder.path().join(path.file_name().unwrap());
        std::fs::write(&copy, text.replace("/etc/forebay/tls", folder.path().to_str().unwrap())).unwrap();
        let token = ("FOREBAY_ADMIN_TOKEN", "0123456789abcdef0123456789abcdef");
        let checked = program().arg("check").arg("-c").arg(&copy).env(token.0, token.1).output().unwrap();
        let said = [checked.stdout, checked.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
        assert_eq!((said, checked.status.code()), (format!("{}: ok\n", copy.display()), Some(0)));
        count += 1;
    }
    assert!(count >= 7, "{count}");
}
