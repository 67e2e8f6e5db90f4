use super::super::config::EjectionConfig;
use super::*;

fn planned(endpoints: &[&str]) -> (UpstreamPlan, Vec<String>) {
    let config = EndpointsConfig {
        endpoints: endpoints.iter().map(|url| EndpointConfig::Url((*url).to_owned())).collect(),
        ..EndpointsConfig::default()
    };
    let mut report = Report::new();
    let plan = plan(&config, &Path::root().key("upstream").key("api"), &mut report);
    let problems = report.problems().iter().map(|problem| format!("{}: {}", problem.path, problem.message));
    (plan, problems.collect())
}

#[test]
fn urls_that_are_endpoints() {
    for (url, label, authority) in [
        ("http://10.0.0.1:8000", "10.0.0.1:8000", "10.0.0.1:8000"),
        ("http://10.0.0.1/", "10.0.0.1:80", "10.0.0.1"),
        ("https://Orders.Internal", "orders.internal:443", "orders.internal"),
        ("https://orders_1:8443", "orders_1:8443", "orders_1:8443"),
        ("http://[::1]:9000", "[::1]:9000", "[::1]:9000"),
        ("https://[2001:db8::1]", "[2001:db8::1]:443", "[2001:db8::1]"),
    ] {
        let (plan, problems) = planned(&[url]);
        assert!(problems.is_empty(), "{url}: {problems:?}");
        assert_eq!(plan.endpoints[0].label(), label);
        assert_eq!(plan.endpoints[0].authority(), authority);
    }
}

#[test]
fn urls_that_are_not() {
    for url in [
        "10.0.0.1:8000",
        "ftp://a",
        "http://",
        "http://user@host",
        "http://host/path",
        "http://host?x=1",
        "http://host#f",
        "http://host:0",
        "http://host:99999",
        "http://host:",
        "http://-bad-",
        "http://1.2.3",
        "http://999.1.1.1",
        "http://[::zz]",
        "http://a b",
    ] {
        let (plan, problems) = planned(&[url]);
        assert_eq!(problems.len(), 1, "{url}: {problems:?}");
        assert!(problems[0].starts_with("upstream.api.endpoints[0]: "), "{problems:?}");
        assert!(plan.endpoints.is_empty());
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let (_, problems) = planned(&[]);
    assert_eq!(problems.len(), 1);
    let (_, problems) = planned(&["http://a", "http://A:80"]);
    assert_eq!(problems, ["upstream.api.endpoints[1]: `http://A:80` is here twice"]);

    let config = EndpointsConfig {
        endpoints: vec![EndpointConfig::Weighted(super::super::config::WeightedEndpoint {
            url: "http://a".to_owned(),
            weight: 0,
        })],
        host: "no host".to_owned(),
        hash_header: Some("bad name".to_owned()),
        max_connections: 0,
        connect_timeout: crate::units::Time::secs(0),
        read_timeout: crate::units::Time::secs(0),
        resolve_interval: crate::units::Time::millis(1),
        tls: UpstreamTlsConfig { cert: Some("c.pem".to_owned()), ..UpstreamTlsConfig::default() },
        ejection: EjectionConfig {
            error_rate: 2.0,
            latency_factor: 0.5,
            max_ejected: f64::NAN,
            ..EjectionConfig::default()
        },
        ..EndpointsConfig::default()
    };
    let mut report = Report::new();
    let plan = plan(&config, &Path::root(), &mut report);
    let paths: Vec<String> = report.problems().iter().map(|problem| problem.path.to_string()).collect();
    assert_eq!(
        paths,
        [
            "endpoints[0].weight",
            "tls",
            "tls",
            "hash_header",
            "hash_header",
            "connect_timeout",
            "read_timeout",
            "max_connections",
            "resolve_interval",
            "host",
            "ejection.error_rate",
            "ejection.max_ejected",
            "ejection.latency_factor",
        ]
    );
    assert_eq!((plan.endpoints[0].weight, plan.max_connections), (1, 1));
    assert_eq!((plan.ejection.error_rate, plan.ejection.max_ejected), (1.0, 0.0));
}
