//! Purges against a naive model, and what a prefix takes.

use proptest::prelude::*;

use super::super::fixture::target;
use super::generation::{Mode, Name, Purges, Site};
use super::marks::{Marks, Tag};

fn site(namespace: u64, target: &crate::http::Target) -> Site<'_> {
    Site { namespace, by_host: true, target }
}

fn url_hash(purges: &Purges, namespace: u64, url: &str) -> u64 {
    purges.url_hash(format!("{namespace} {url}").as_bytes())
}

/// An entry without tags.
fn marks(purges: &Purges, namespace: u64, url: &str) -> Marks {
    Marks::new(purges.begin(), url_hash(purges, namespace, url), Box::default())
}

#[test]
fn a_prefix_ends_where_a_segment_ends() {
    let deep = format!("http://a{}", "/s".repeat(31));
    for (prefix, url, taken) in [
        ("http://a/", "http://a/", true),
        ("http://a/", "http://a/b/c?d", true),
        ("http://a/", "http://b/", false),
        ("http://a/", "http://a:8080/", false),
        ("http://a/a", "http://a/a", true),
        ("http://a/a", "http://a/a?b", true),
        ("http://a/a", "http://a/a/", true),
        ("http://a/a", "http://a/a/b", true),
        ("http://a/a", "http://a/ab", false),
        ("http://a/a", "http://a/", false),
        ("http://a/a/", "http://a/a/", true),
        ("http://a/a/", "http://a/a/b", true),
        ("http://a/a/", "http://a/ab", false),
        ("http://a/a/", "http://a/a", false),
        ("http://a/a/b", "http://a/a/b/c", true),
        ("http://a/a/b", "http://a/b/a", false),
        ("http://a//a", "http://a/a", false),
        ("http://a//a", "http://a//a/b", true),
        ("http://a//", "http://a//a", true),
        ("https://a/a", "http://a/a", true),
        // Beyond thirty-two segments a prefix is cut.
        (&format!("{deep}/x"), &format!("{deep}/x/y"), true),
        (&format!("{deep}/x"), &format!("{deep}/y"), false),
        (&format!("{deep}/x/y"), &format!("{deep}/x/z"), true),
        (&format!("{deep}/x/"), &format!("{deep}/x"), true),
    ] {
        for mode in [Mode::Soft, Mode::Hard] {
            let purges = Purges::default();
            let (prefix, url) = (target(prefix), target(url));
            let entry = marks(&purges, 1, "x");
            purges.purge(&[purges.prefix(&site(1, &prefix))], mode);
            assert_eq!(purges.judge(&entry, &site(2, &url)), None, "another route's");
            let entry = Marks::new(1, 0, Box::default());
            assert_eq!(purges.judge(&entry, &site(1, &url)), taken.then_some(mode), "{prefix:?} {url:?}");
        }
    }
}

#[test]
fn groups_hold_within_an_origin_and_tags_everywhere() {
    let purges = Purges::default();
    let group = Tag::group(purges.tag_hash(b"g"));
    let entry = |tag| Marks::new(purges.begin(), 0, Box::new([tag]));
    let (here, there) = (target("http://a/x"), target("https://a/y"));
    let (grouped, tagged, any) = (entry(group), entry(Tag::own(purges.tag_hash(b"g"))), entry(Tag::ANY));
    let elsewhere = entry(group);
    let shared = entry(group);
    purges.purge(&purges.group(&site(1, &here), b"g"), Mode::Hard);
    assert_eq!(purges.judge(&grouped, &site(2, &target("http://a/z"))), Some(Mode::Hard));
    assert_eq!(purges.judge(&any, &site(1, &here)), Some(Mode::Hard), "it may have the group");
    assert_eq!(purges.judge(&tagged, &site(1, &here)), None, "a tag is no group");
    assert_eq!(purges.judge(&elsewhere, &site(1, &there)), None, "another scheme is another origin");
    let by_host = Site { by_host: false, ..site(1, &there) };
    assert_eq!(purges.judge(&shared, &by_host), None, "the scheme counts");
    let by_host = Site { by_host: false, target: &here, ..by_host };
    assert_eq!(
        purges.judge(&entry_before(&purges, group), &by_host),
        Some(Mode::Hard),
        "it may be of any host"
    );

    let (grouped, tagged, any) = (entry(group), entry(Tag::own(purges.tag_hash(b"g"))), entry(Tag::ANY));
    let other = entry(Tag::own(purges.tag_hash(b"h")));
    purges.purge(&purges.tag(None, b"g"), Mode::Soft);
    for entry in [&grouped, &tagged, &any] {
        assert_eq!(purges.judge(entry, &site(3, &there)), Some(Mode::Soft));
    }
    assert_eq!(purges.judge(&other, &site(3, &there)), None);
}

/// An entry with a tag, older than the last purge.
fn entry_before(purges: &Purges, tag: Tag) -> Marks {
    Marks::new(purges.begin() - 1, 0, Box::new([tag]))
}

#[test]
fn what_was_judged_is_judged_again_after_the_next_purge_only() {
    let purges = Purges::default();
    let there = target("http://a/x");
    let entry = marks(&purges, 1, "x");
    assert_eq!(entry.since(), purges.generation());
    purges.purge(&[Purges::url(url_hash(&purges, 1, "y"))], Mode::Hard);
    assert_ne!(entry.since(), purges.generation());
    assert_eq!(purges.judge(&entry, &site(1, &there)), None);
    assert_eq!(entry.since(), purges.generation());
    purges.purge(&[Purges::url(url_hash(&purges, 1, "x"))], Mode::Soft);
    for _ in 0..2 {
        assert_eq!(purges.judge(&entry, &site(1, &there)), Some(Mode::Soft), "it stays purged");
    }
    purges.purge(&[Purges::url(url_hash(&purges, 1, "x"))], Mode::Hard);
    purges.purge(&[Purges::url(url_hash(&purges, 1, "x"))], Mode::Soft);
    assert_eq!(purges.judge(&entry, &site(1, &there)), Some(Mode::Hard), "a soft one takes nothing back");
}

/// What happens to a store.
#[derive(Clone, Debug)]
enum Step {
    /// A request is sent whose response, with these tags, is stored at once or after some more steps.
    Send {
        route: u64,
        path: usize,
        tags: u8,
    },
    Purge {
        what: What,
        route: Option<u64>,
        mode: Mode,
    },
}

#[derive(Clone, Copy, Debug)]
enum What {
    All,
    Url(usize),
    Prefix(usize),
    Tag(u8),
}

const PATHS: [&str; 6] = ["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let mode = prop_oneof![Just(Mode::Soft), Just(Mode::Hard)];
    let what = prop_oneof![
        1 => Just(What::All),
        4 => (0..PATHS.len()).prop_map(What::Url),
        4 => (0..PATHS.len()).prop_map(What::Prefix),
        4 => (0..3u8).prop_map(What::Tag),
    ];
    let send =
        (1..3u64, 0..PATHS.len(), 0..8u8).prop_map(|(route, path, tags)| Step::Send { route, path, tags });
    let purge = (what, proptest::option::of(1..3u64), mode).prop_map(|(what, route, mode)| Step::Purge {
        what,
        route,
        mode,
    });
    proptest::collection::vec(prop_oneof![send, purge], 1..40)
}

/// Whether a path begins with another one, segment by segment.
fn begins(path: &str, prefix: &str) -> bool {
    path == prefix
        || path.strip_prefix(prefix).is_some_and(|rest| prefix.ends_with('/') || rest.starts_with('/'))
}

/// Whether a purge takes what is at this place, written down without any hashing.
fn takes(what: What, of: Option<u64>, route: u64, path: usize, tags: u8) -> bool {
    of.is_none_or(|of| of == route)
        && match what {
            What::All => true,
            What::Url(url) => url == path,
            What::Prefix(prefix) => begins(PATHS[path], PATHS[prefix]),
            What::Tag(tag) => tags >> tag & 1 == 1,
        }
}

fn names(purges: &Purges, what: What, route: Option<u64>) -> Vec<Name> {
    let routes = || (1..3u64).filter(|one| route.is_none_or(|route| route == *one));
    match what {
        What::All => vec![purges.everything(route)],
        What::Url(url) => routes().map(|one| Purges::url(url_hash(purges, one, PATHS[url]))).collect(),
        What::Prefix(prefix) => {
            let prefix = target(&format!("http://a{}", PATHS[prefix]));
            routes().map(|one| purges.prefix(&site(one, &prefix))).collect()
        }
        What::Tag(tag) => purges.tag(route, &[tag]).into(),
    }
}

proptest! {
    /// Nothing that was purged is taken for what was not, however often it was judged in between; and
    /// nothing else is purged, as long as there are few names.
    #[test]
    fn purges_take_what_a_naive_model_says(
        steps in steps(),
        judged in proptest::collection::vec(any::<bool>(), 40),
    ) {
        let purges = Purges::default();
        // Route, path, tags, marks, and what the model says.
        let mut entries: Vec<(u64, usize, u8, Marks, Option<Mode>)> = Vec::new();
        for (step, judged) in steps.into_iter().zip(judged) {
            match step {
                Step::Send { route, path, tags } => {
                    let own = (0..3u8).filter(|tag| tags >> tag & 1 == 1);
                    let hashes = own.map(|tag| Tag::own(purges.tag_hash(&[tag]))).collect();
                    let marks = Marks::new(purges.begin(), url_hash(&purges, route, PATHS[path]), hashes);
                    entries.push((route, path, tags, marks, None));
                }
                Step::Purge { what, route, mode } => {
                    purges.purge(&names(&purges, what, route), mode);
                    for (at, path, tags, _, verdict) in &mut entries {
                        if takes(what, route, *at, *path, *tags) {
                            *verdict = (*verdict).max(Some(mode));
                        }
                    }
                }
            }
            for (route, path, _, marks, verdict) in entries.iter().filter(|_| judged) {
                let there = target(&format!("http://a{}", PATHS[*path]));
                prop_assert_eq!(purges.judge(marks, &site(*route, &there)), *verdict);
            }
        }
        for (route, path, _, marks, verdict) in &entries {
            let there = target(&format!("http://a{}", PATHS[*path]));
            prop_assert_eq!(purges.judge(marks, &site(*route, &there)), *verdict);
        }
    }
}
