//! The quick start: `forebay run --upstream URL` is a config without a file.

use clap::Args;

use crate::config::Config;
use crate::config::listener::ListenerConfig;
use crate::config::route::RouteConfig;
use crate::config::upstream::UpstreamConfig;
use crate::upstream::config::EndpointConfig;

/// What the one route and the one upstream are called, in log and metrics.
pub const NAME: &str = "default";

/// What can be said without a config file.
#[derive(Clone, Debug, Default, Args)]
pub struct QuickArgs {
    /// The API to stand in front of, like http://127.0.0.1:8000, with caching and backpressure on.
    #[arg(long, value_name = "URL", env = "FOREBAY_UPSTREAM")]
    pub upstream: Option<String>,
    /// Where to listen [default: 127.0.0.1:8080]
    #[arg(
        long,
        value_name = "ADDR",
        env = "FOREBAY_LISTEN",
        requires = "upstream",
        conflicts_with = "config"
    )]
    pub listen: Option<String>,
    /// Threads that serve requests [default: one a processor]
    #[arg(long, value_name = "N", env = "FOREBAY_WORKERS", requires = "upstream", conflicts_with = "config")]
    pub workers: Option<u32>,
    /// Do not cache.
    #[arg(long, env = "FOREBAY_NO_CACHE", requires = "upstream", conflicts_with = "config")]
    #[arg(value_parser = clap::builder::FalseyValueParser::new())]
    pub no_cache: bool,
    /// Where the access log goes: off, stdout, or a file [default: stdout]
    #[arg(
        long,
        value_name = "off|stdout|PATH",
        env = "FOREBAY_ACCESS_LOG",
        requires = "upstream",
        conflicts_with = "config"
    )]
    pub access_log: Option<String>,
}

/// The config for one upstream: one route for everything, the defaults for the rest.
pub fn config(args: &QuickArgs) -> Config {
    let mut upstream = UpstreamConfig::default();
    upstream.endpoints.endpoints.extend(args.upstream.clone().map(EndpointConfig::Url));
    let mut route =
        RouteConfig { name: NAME.to_owned(), upstream: Some(NAME.to_owned()), ..RouteConfig::default() };
    route.match_.path = Some("/{*rest}".to_owned());
    route.cache.enabled = !args.no_cache;
    let mut listener = ListenerConfig::default();
    if let Some(address) = &args.listen {
        listener.address.clone_from(address);
    }
    let mut config = Config {
        listener: vec![listener],
        upstream: [(NAME.to_owned(), upstream)].into(),
        route: vec![route],
        ..Config::default()
    };
    config.server.workers = args.workers;
    if let Some(access) = &args.access_log {
        config.log.access.clone_from(access);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_a_file_would() {
        let args = QuickArgs {
            upstream: Some("http://127.0.0.1:8000".to_owned()),
            listen: Some("127.0.0.1:0".to_owned()),
            workers: Some(2),
            no_cache: true,
            access_log: Some("off".to_owned()),
        };
        let text = r#"
            server.workers = 2
            log.access = "off"
            listener = [{ address = "127.0.0.1:0" }]
            upstream.default.endpoints = ["http://127.0.0.1:8000"]
            [[route]]
            name = "default"
            match.path = "/{*rest}"
            upstream = "default"
            cache.enabled = false
        "#;
        let loaded = crate::config::parse("quick.toml".as_ref(), text, &|_| None);
        assert_eq!(loaded.problems(), "");
        assert_eq!(config(&args), loaded.config);
    }

    #[test]
    fn caching_is_on_unless_it_is_turned_off() {
        let args = QuickArgs { upstream: Some("http://127.0.0.1:8000".to_owned()), ..QuickArgs::default() };
        assert!(config(&args).route.iter().all(|route| route.cache.enabled));
    }
}
