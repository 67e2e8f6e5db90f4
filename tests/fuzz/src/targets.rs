//! What is fuzzed: for every parser of ours a function that must not panic, hang, or break its word, whatever
//! the bytes. A failed assertion is a finding.
//!
//! The fuzzer calls them from `targets/`; `tests/fuzz.rs` replays the corpus with them on stable.

use std::io::Read as _;
use std::net::IpAddr;

use forebay::clock::Wall;
use forebay::http::coding::{Coding, Encoder, Level, Then};
use forebay::http::normalize::{self, PathRules};
use forebay::http::template::{self, Part};
use forebay::http::{Scheme, Target};
use forebay::layers::aggregate::{self, config::PartConfig};
use forebay::layers::cache::directives::{DELTA_MAX, RequestDirectives, ResponseDirectives};
use forebay::layers::cache::key::{KeyRules, Pattern, QueryRules};
use forebay::layers::cache::partial::Strong;
use forebay::layers::cache::range::{self, Selection};
use forebay::layers::cache::search::Variance;
use forebay::layers::cache::validate::{self, Validators};
use forebay::layers::cache::vary::Variant;
use forebay::layers::cache::{dates, targeted};
use forebay::layers::compress::accept::Accept;
use forebay::memory::{Memory, Use};
use forebay::plan::Plan;
use forebay::report::{Path, Report};
use forebay::server::client_address::{self, Trusted};
use forebay::units::{Rate, Size, Time};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

#[path = "connection.rs"]
mod connection;
#[path = "frames.rs"]
mod frames;
#[path = "wire.rs"]
mod wire;

pub use connection::connection;
pub use frames::frames;
pub use wire::{certificate, dns, framing, proxy, token};

/// A target's name and what it does.
pub type Fuzzed = (&'static str, fn(&[u8]));

/// All of them; the names are those of the files in `targets/` and of the folders in `corpus/`.
pub const ALL: [Fuzzed; 23] = [
    ("accept", accept),
    ("aggregate", aggregate),
    ("authority", authority),
    ("certificate", certificate),
    ("conditions", conditions),
    ("config", config),
    ("connection", connection),
    ("dates", dates),
    ("directives", directives),
    ("dns", dns),
    ("encoder", encoder),
    ("forwarded", forwarded),
    ("frames", frames),
    ("framing", framing),
    ("key", key),
    ("proxy", proxy),
    ("range", range),
    ("search", search),
    ("target", target),
    ("template", template),
    ("token", token),
    ("units", units),
    ("vary", vary),
];

/// When it is: an ordinary day.
const NOW: Wall = Wall::from_secs(1_800_000_000);

/// Lines of `name: value`; those that are none are left out.
fn headers(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(64) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) =
            (HeaderName::from_bytes(&line[..at]), HeaderValue::from_bytes(line[at + 1..].trim_ascii()));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// One field with a value a line.
fn field(name: &'static str, data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(16) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name, value);
        }
    }
    headers
}

/// The first byte, and the rest.
fn choice(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}

/// `Accept-Encoding`: nothing is chosen that is not named.
pub fn accept(data: &[u8]) {
    let accept = Accept::of(&field("accept-encoding", data));
    let levels = Coding::ALL.map(|coding| Level::new(coding, 1));
    if let Some(level) = accept.best(&levels) {
        let text = data.to_ascii_lowercase();
        let names = |name: &[u8]| text.windows(name.len()).any(|part| part == name);
        assert!(names(level.coding.as_str().as_bytes()) || names(b"*"));
    }
    let _ = accept.refuses_identity();
}

/// Templates of aggregates, a line each: path, parameter that is passed, captured value, what the client asks
/// for. Whatever was captured is one value in a query, and in a path nothing that leads out of it.
pub fn aggregate(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (path, parameter, captured, asked) = (line(), line(), line(), line());
    let part = PartConfig { name: "a".to_owned(), path: path.to_owned(), ..PartConfig::default() };
    let part = PartConfig { query: vec![parameter.to_owned()], ..part };
    let mut report = Report::new();
    let plans = aggregate::plan(&[part], &["x"], &Path::root(), &mut report);
    let (Some(plan), false) = (plans.first(), report.has_errors()) else { return };
    let (Some(captured), Some(asked)) = (target_of(captured), target_of(asked)) else { return };
    let value = captured.path().trim_start_matches('/');
    let params = [("x".into(), value.into())].into_iter().collect();
    let Ok(expanded) = plan.target.expand(&asked, &params) else { return };
    let again =
        normalize::path_and_query(&expanded, PathRules { merge_slashes: false, ..PathRules::default() });
    let again = again.expect("normal").unwrap_or_else(|| expanded.clone());
    assert_eq!(again.path(), expanded.path());
    assert!(
        expanded.path().starts_with('/') && expanded.path().split('/').all(|it| it != ".."),
        "{expanded}"
    );
    let written = path.split_once('?').map_or("", |(_, query)| query);
    let passed = asked.query().unwrap_or_default().split('&');
    let passed = passed.filter(|it| parameter == "*" || it.split('=').next() == Some(parameter)).count();
    let most = written.matches('&').count() + usize::from(!written.is_empty()) + passed;
    let query = expanded.query().unwrap_or_default();
    assert!(query.split('&').count() <= most.max(1), "{expanded}: {query}");
    assert!(!expanded.as_str().contains('#'), "{expanded}");
}

/// Host and port: what is canonical stays so.
pub fn authority(data: &[u8]) {
    for scheme in [Scheme::Http, Scheme::Https] {
        let Ok(value) = normalize::authority(data, scheme) else { continue };
        let again = normalize::authority(value.as_bytes(), scheme).expect("canonical");
        assert_eq!(again, value);
        let kept = normalize::authority_value(&value, scheme).expect("canonical");
        assert_eq!(kept, value);
        let plain =
            |byte: &u8| !byte.is_ascii_uppercase() && byte.is_ascii_graphic() && !b"/?#@\\%".contains(byte);
        assert!(value.as_bytes().iter().all(plain), "{value:?}");
    }
}

/// Validators and conditions.
pub fn conditions(data: &[u8]) {
    let (request, response) = match data.iter().position(|byte| *byte == 0) {
        Some(at) => (headers(&data[..at]), headers(&data[at + 1..])),
        None => (headers(data), headers(data)),
    };
    for status in [StatusCode::OK, StatusCode::NOT_FOUND] {
        let validators = Validators::of(status, &response, NOW);
        let matches = validate::not_modified(&request, &validators, NOW);
        assert!(!matches || status == StatusCode::OK);
        if let Some(value) = request.get("if-range") {
            assert!(!validators.is_exactly(value) || validators.is_ranged());
        }
        if let Selection::Part(part) = range::select(&request, &validators, 1000) {
            assert!(part.length > 0 && part.start + part.length <= 1000);
        }
    }
    if let Some(strong) = Strong::of(&response, NOW) {
        assert!(!strong.value().as_bytes().starts_with(b"W/"));
    }
    let _ = validate::confirms(&response, &request);
    let merged = validate::merge(&response, &request, NOW);
    assert!(merged.keys_len() <= response.keys_len() + request.keys_len() + 1);
    let base = target_of("/a/b?c").expect("a target");
    for name in ["location", "content-location"] {
        if let Some(other) = response.get(name).and_then(|value| validate::resolve(&base, value)) {
            assert!(other.path().starts_with('/'));
        }
    }
}

/// A config file, TOML or YAML: whatever is wrong with it is shown, and what is right makes a plan.
pub fn config(data: &[u8]) {
    let (syntax, text) = choice(data);
    let name = if syntax % 2 == 0 { "forebay.toml" } else { "forebay.yaml" };
    let text = String::from_utf8_lossy(text);
    let variable = |name: &str| (name.len() < 4).then(|| name.to_owned());
    let mut loaded = forebay::config::parse(name.as_ref(), &text, &variable);
    let broken = loaded.report.has_errors();
    let (plan, report) = Plan::build(&loaded.config);
    loaded.add(&report);
    let shown = loaded.problems();
    assert_eq!(shown.is_empty(), loaded.report.problems().is_empty());
    if !broken {
        assert_eq!(plan.is_some(), !report.has_errors());
        // What it means does not change in a second reading.
        if plan.is_some() {
            let again = forebay::config::parse(name.as_ref(), &text, &variable);
            assert_eq!(Plan::build(&again.config).0, plan);
        }
    }
}

/// Dates in all three forms (RFC 9110 §5.6.7): what we write is what we read.
pub fn dates(data: &[u8]) {
    if let Some(at) = dates::parse(data, NOW) {
        assert_eq!(dates::parse(dates::format(at).as_bytes(), NOW), Some(at));
    }
    let name = HeaderName::from_static("expires");
    let _ = dates::field(&field("expires", data), &name, NOW).at();
}

/// `Cache-Control` and its targeted kin.
pub fn directives(data: &[u8]) {
    let headers = field("cache-control", data);
    let asked = RequestDirectives::of(&headers, true);
    let said = ResponseDirectives::of(&headers);
    let deltas = [asked.max_age, asked.min_fresh, asked.stale_if_error, said.max_age, said.s_maxage];
    assert!(deltas.into_iter().flatten().all(|seconds| seconds <= DELTA_MAX));
    // Dishonoured directives are none.
    assert!(!RequestDirectives::of(&headers, false).no_cache);
    let targeted = targeted::directives(&field("cdn-cache-control", data));
    assert!(targeted.is_none_or(|said| said.max_age.is_none_or(|seconds| seconds <= DELTA_MAX)));
}

/// An encoder: what is decoded is what went in, whatever is flushed in between.
pub fn encoder(data: &[u8]) {
    let (which, rest) = choice(data);
    let coding = Coding::ALL[usize::from(which) % Coding::ALL.len()];
    let level = Level::new(coding, u32::from(which) / 16);
    let memory = Memory::unlimited();
    let mut encoder = Encoder::new(level, None, memory.hold(Use::Encoding)).expect("memory");
    let (mut plain, mut encoded) = (Vec::new(), Vec::new());
    let mut rest = rest;
    while let Some((how, more)) = rest.split_first().filter(|_| plain.len() < 1 << 17) {
        let (chunk, more) = more.split_at(more.len().min(usize::from(how >> 2)));
        let chunk = chunk.repeat(1 + usize::from(how & 1) * 50);
        let then = if how & 2 == 0 { Then::More } else { Then::Flush };
        encoder.encode(&chunk, then).expect("to encode");
        assert!(!(then == Then::Flush && encoder.is_dirty()));
        plain.extend_from_slice(&chunk);
        encoded.extend_from_slice(&encoder.take());
        rest = more;
    }
    encoder.encode(&[], Then::Finish).expect("to encode");
    encoded.extend_from_slice(&encoder.take());
    let mut decoded = Vec::new();
    match coding {
        Coding::Gzip => flate2::read::GzDecoder::new(&encoded[..]).read_to_end(&mut decoded),
        Coding::Br => brotli::Decompressor::new(&encoded[..], 4096).read_to_end(&mut decoded),
        Coding::Zstd => zstd::stream::read::Decoder::new(&encoded[..])
            .and_then(|mut decoder| decoder.read_to_end(&mut decoded)),
    }
    .expect("to decode");
    assert!(decoded == plain);
}

/// `X-Forwarded-For` and `Forwarded`: no client talks a trusted proxy into more than its own address.
pub fn forwarded(data: &[u8]) {
    let headers = headers(data);
    let peer: IpAddr = [10, 0, 0, 1].into();
    let trusted = Trusted::new(vec!["10.0.0.0/8".parse().expect("a network")]);
    let client = client_address::behind(&headers, peer, &trusted);
    assert!(client == peer || headers.contains_key("x-forwarded-for") || headers.contains_key("forwarded"));
    let _ = client_address::scheme(&headers);
}

fn target_of(text: &str) -> Option<Target> {
    let given = PathAndQuery::try_from(text).ok()?;
    let path_and_query = normalize::path_and_query(&given, PathRules::default()).ok()?.unwrap_or(given);
    Some(Target { scheme: Scheme::Http, authority: HeaderValue::from_static("a.example"), path_and_query })
}

/// Cache keys: the same for the same, another for another.
pub fn key(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (one, two) = text.split_once('\n').unwrap_or((&text, &text));
    let (Some(one), Some(two)) = (target_of(one), target_of(two)) else { return };
    let all = KeyRules { host: true, query: None, ..KeyRules::default() };
    let some = QueryRules {
        ignore: ["utm_*", "x"].iter().filter_map(|text| Pattern::parse(text)).collect(),
        only: Box::default(),
        sort: true,
    };
    let some = KeyRules { query: Some(some), ..all.clone() };
    let key = |rules: &KeyRules, target: &Target| {
        let mut key = Vec::new();
        rules.write(&mut key, 7, target, &HeaderMap::new());
        key
    };
    // As texts, for an empty one is `/` too.
    let same = one.path_and_query.as_str() == two.path_and_query.as_str();
    assert_eq!(key(&all, &one) == key(&all, &two), same);
    if same {
        assert_eq!(key(&some, &one), key(&some, &two));
    }
    if one.path() != two.path() {
        assert_ne!(key(&some, &one), key(&some, &two));
    }
}

/// `Range` and `Content-Range`: no part is outside of the whole.
pub fn range(data: &[u8]) {
    let (length, value) = data.split_at(data.len().min(3));
    let length = length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    for spec in range::parse(value).into_iter().flatten() {
        if let Some(part) = spec.within(length) {
            assert!(part.length > 0 && part.end() <= length);
        }
        let again = range::parse(range::range(spec).as_bytes());
        assert_eq!(again.as_deref(), Some(&[spec][..]));
    }
    let request = field("range", value);
    let validators = Validators::of(StatusCode::OK, &HeaderMap::new(), NOW);
    match range::select(&request, &validators, length) {
        Selection::Whole | Selection::Unsatisfiable => {}
        Selection::Part(part) => assert!(part.end() <= length),
        Selection::Parts(parts) => {
            assert!(parts.len() > 1 && parts.iter().all(|part| part.end() <= length));
            for (at, part) in parts.iter().enumerate() {
                assert!(parts[at + 1..].iter().all(|other| !part.touches(*other)));
            }
        }
    }
    let _ = range::wanted(&request);
    if let Some((part, whole)) = range::said(&field("content-range", value)) {
        assert!(part.length > 0 && part.end() <= whole);
        let mut answer = HeaderMap::new();
        answer.insert("content-range", range::content_range(part, whole));
        assert_eq!(range::said(&answer), Some((part, whole)));
    }
}

/// `No-Vary-Search`, a dictionary of structured fields (RFC 9651).
pub fn search(data: &[u8]) {
    let _ = Variance::of(&field("no-vary-search", data));
}

/// Request targets: what is normal stays so, and has nothing that two readers could read differently.
pub fn target(data: &[u8]) {
    let (rules, text) = choice(data);
    let rules = PathRules {
        merge_slashes: rules & 1 == 0,
        reject_encoded_slash: rules & 2 == 0,
        reject_parameters: rules & 4 != 0,
    };
    let Ok(given) = PathAndQuery::try_from(text) else { return };
    let Ok(normal) = normalize::path_and_query(&given, rules) else { return };
    let normal = normal.unwrap_or(given);
    let again = normalize::path_and_query(&normal, rules).expect("normal");
    assert!(again.is_none_or(|again| again == normal), "{normal}");
    let path = normal.path();
    let lower = path.to_ascii_lowercase();
    assert!(path.starts_with('/'));
    assert!(!rules.merge_slashes || !path.contains("//"), "{path}");
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{path}");
    for bad in ["\\", "%5c", "%00", "%2e", "%7e", "%41", "#", " "] {
        assert!(!lower.contains(bad), "{path}");
    }
    assert!(!(rules.reject_encoded_slash && lower.contains("%2f")), "{path}");
    assert!(!(rules.reject_parameters && (lower.contains(';') || lower.contains("%3b"))), "{path}");
}

/// Templates with `{name}`: put together, the parts are the text.
pub fn template(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(parts) = template::parse(&text) else { return };
    let mut again = String::new();
    for part in parts {
        match part {
            Part::Text(text) => {
                assert!(!text.is_empty());
                again.push_str(&text);
            }
            Part::Name(name) => {
                again.push('{');
                again.push_str(&name);
                again.push('}');
            }
        }
    }
    assert_eq!(again, text);
}

/// Durations, sizes and rates: what we print is what we read.
pub fn units(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(time) = text.parse::<Time>() {
        assert_eq!(time.to_string().parse(), Ok(time));
    }
    if let Ok(size) = text.parse::<Size>() {
        assert_eq!(size.to_string().parse(), Ok(size));
    }
    if let Ok(rate) = text.parse::<Rate>() {
        assert_eq!(rate.to_string().parse(), Ok(rate));
    }
}

/// `Vary`: a request selects what answered it.
pub fn vary(data: &[u8]) {
    let (by_meaning, rest) = choice(data);
    let (response, request) = match rest.iter().position(|byte| *byte == 0) {
        Some(at) => (headers(&rest[..at]), headers(&rest[at + 1..])),
        None => (headers(rest), headers(rest)),
    };
    if let Some(variant) = Variant::of(&response, &request, by_meaning & 1 == 1) {
        assert!(variant.matches(&request));
    }
}
