use super::config::CorsConfig;
use super::origin::{NoOrigin, Pattern};
use crate::report::{Path, Report};

#[test]
fn origins_are_compared_as_a_whole() {
    for (pattern, origin, taken) in [
        ("*", "https://a.example", true),
        ("*", "null", true),
        ("https://a.example", "https://a.example", true),
        ("HTTPS://A.example", "https://a.example", true),
        ("https://a.example", "http://a.example", false),
        ("https://a.example", "https://a.example:8443", false),
        ("https://a.example", "https://a.example.evil", false),
        ("https://a.example", "https://a.example/", false),
        ("https://a.example", "null", false),
        ("https://a.example:8443", "https://a.example:8443", true),
        ("http://[::1]:3000", "http://[::1]:3000", true),
        ("https://*.a.example", "https://b.a.example", true),
        ("https://*.a.example", "https://c.b.a.example", true),
        ("https://*.a.example", "https://a.example", false),
        ("https://*.a.example", "https://.a.example", false),
        ("https://*.a.example", "https://xa.example", false),
        ("https://*.a.example", "https://evil/.a.example", false),
        ("https://*.a.example", "https://evil:1@b.a.example", false),
        ("https://*.a.example", "https://b.a.example:8443", false),
        ("https://*.a.example:8443", "https://b.a.example:8443", true),
        ("https://*.a.example", "http://b.a.example", false),
    ] {
        let parsed = Pattern::parse(pattern).unwrap();
        assert_eq!(parsed.takes(origin.as_bytes()), taken, "{pattern} {origin}");
    }
    for (text, why) in [
        ("", NoOrigin::Scheme),
        ("null", NoOrigin::Scheme),
        ("a.example", NoOrigin::Scheme),
        ("://a", NoOrigin::Scheme),
        ("https://", NoOrigin::Host),
        ("https://a.example/", NoOrigin::Host),
        ("https://u@a.example", NoOrigin::Host),
        ("https://a.example:", NoOrigin::Host),
        ("https://a.example:99999", NoOrigin::Host),
        ("https://a.example:443", NoOrigin::Port),
        ("http://a.example:80", NoOrigin::Port),
        ("https://*", NoOrigin::Wildcard),
        ("https://*.com", NoOrigin::Wildcard),
        ("https://*a.example", NoOrigin::Wildcard),
        ("https://a.*.example", NoOrigin::Wildcard),
        ("https://*..example", NoOrigin::Wildcard),
    ] {
        assert_eq!(Pattern::parse(text), Err(why), "{text}");
    }
}

#[test]
fn problems_are_found() {
    for (toml, path, part) in [
        ("", "cors.origins", "no page"),
        ("origins = ['a']", "cors.origins[0]", "`a` is no origin"),
        ("origins = ['*']\ncredentials = true", "cors.origins", "do not go together"),
        ("origins = ['http://a']\nheaders = ['*']\ncredentials = true", "cors.headers", "do not go"),
        ("origins = ['http://a']\nmethods = ['*']\ncredentials = true", "cors.methods", "do not go"),
        ("origins = ['http://a']\nexpose = ['*']\ncredentials = true", "cors.expose", "do not go"),
        ("origins = ['*']\nmethods = ['G T']", "cors.methods[0]", "no method"),
        ("origins = ['*']\nheaders = ['a b']", "cors.headers[0]", "no field"),
        ("origins = ['*']\nexpose = ['']", "cors.expose[0]", "no field"),
    ] {
        let config: CorsConfig = toml::from_str(toml).unwrap();
        let mut report = Report::new();
        super::plan(&config, &Path::root().key("cors"), &mut report);
        let found =
            report.problems().iter().any(|it| it.path.to_string() == path && it.message.contains(part));
        assert!(found, "{toml}: {:?}", report.problems());
    }
}
