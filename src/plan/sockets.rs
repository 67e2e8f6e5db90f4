//! The part of the plan that is about sockets: the process's limits, the listeners, the admin listener.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use http::HeaderValue;

use crate::config::admin::AdminConfig;
use crate::config::listener::{
    CertificateConfig, ClientAuth, DownstreamProtocol, HstsConfig, ListenerConfig,
};
use crate::config::server::{EncodedSlash, PathParameters, ServerConfig};
use crate::http::normalize::PathRules;
use crate::net::networks;
use crate::report::{Path, Report};

use super::{AdminPlan, CertificatePlan, ClientAuthPlan, ListenerPlan, ServerPlan};

pub(super) fn server(config: &ServerConfig, at: &Path, report: &mut Report) -> ServerPlan {
    let mut at_least_one = |key: &str, value: u32| {
        if value == 0 {
            report.error_with_hint(&at.key(key), format!("`{key}` is 0"), "it must be at least 1");
        }
        value as usize
    };
    let workers = config.workers.map(|workers| at_least_one("workers", workers));
    let max_connections = at_least_one("max_connections", config.max_connections);
    let per_address = config.max_connections_per_address;
    let per_address = per_address.map(|most| at_least_one("max_connections_per_address", most));
    let max_headers = at_least_one("max_headers", config.max_headers);
    at_least_one("max_requests_per_connection", config.max_requests_per_connection);
    for (key, time) in [
        ("header_timeout", config.header_timeout),
        ("body_timeout", config.body_timeout),
        ("max_connection_age", config.max_connection_age),
    ] {
        if time.get().is_zero() {
            report.error_with_hint(&at.key(key), format!("`{key}` is zero"), "every request would time out");
        }
    }
    let max_header_bytes = config.max_header_bytes.len();
    if !(1024..=1024 * 1024).contains(&max_header_bytes) {
        let message = format!("`max_header_bytes` is {}", config.max_header_bytes);
        report.error_with_hint(&at.key("max_header_bytes"), message, "between 1KiB and 1MiB make sense");
    }
    ServerPlan {
        workers,
        max_connections,
        max_connections_per_address: per_address.unwrap_or(max_connections.div_ceil(4).saturating_mul(3)),
        header_timeout: config.header_timeout.get(),
        body_timeout: config.body_timeout.get(),
        idle_timeout: config.idle_timeout.get(),
        write_timeout: config.write_timeout.get(),
        min_rate: config.min_rate.bytes(),
        max_requests_per_connection: config.max_requests_per_connection,
        max_connection_age: config.max_connection_age.get(),
        max_http2_control_frames: config.max_http2_control_frames,
        tunnel_timeout: config.tunnel_timeout.get(),
        max_header_bytes,
        max_headers,
        max_hops: config.max_hops as usize,
        max_body: config.max_body.bytes(),
        drain_timeout: config.drain_timeout.get(),
        memory_limit: config.memory_limit.bytes(),
        paths: PathRules {
            merge_slashes: config.merge_slashes,
            reject_encoded_slash: config.encoded_slash == EncodedSlash::Reject,
            reject_parameters: config.path_parameters == PathParameters::Reject,
        },
    }
}

/// A token that can be guessed is as good as none.
const TOKEN_MIN: usize = 16;

pub(super) fn admin(config: &AdminConfig, at: &Path, report: &mut Report) -> Option<AdminPlan> {
    let (listen, token) = (&config.listen, &config.token);
    if listen == "off" {
        return None;
    }
    // Reported at the table, for a problem shows the line where it stands.
    if !token.is_sendable() {
        let hint = "a token is of letters, digits and punctuation, without blanks";
        report.error_with_hint(at, "no client can send this token", hint);
    }
    let address = address(listen, &at.key("listen"), report)?;
    if !address.ip().is_loopback() {
        if token.is_empty() {
            let hint =
                "set `admin.token`, or listen on 127.0.0.1 and let a local agent or port-forward reach it";
            let message = format!("`{listen}` can be reached from outside, and there is no token");
            report.error_with_hint(&at.key("listen"), message, hint);
        } else if token.len() < TOKEN_MIN {
            let message = format!("the token has fewer than {TOKEN_MIN} characters");
            report.warn(at, message, "make a long random one: `openssl rand -hex 24`");
        }
    }
    Some(AdminPlan { address, token: token.clone() })
}

fn address(text: &str, at: &Path, report: &mut Report) -> Option<SocketAddr> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        let hint = "write an address and a port, like \"127.0.0.1:8080\" or \"[::]:8080\"";
        report.error_with_hint(at, format!("`{text}` is no address to listen on"), hint);
    }
    parsed
}

pub(super) fn listeners(configs: &[ListenerConfig], at: &Path, report: &mut Report) -> Vec<ListenerPlan> {
    if configs.is_empty() {
        let hint = "add [[listener]] with address = \"127.0.0.1:8080\"";
        report.error_with_hint(at, "there is no listener, so nobody can connect", hint);
    }
    let mut seen = BTreeSet::new();
    let mut plans = Vec::new();
    for (index, config) in configs.iter().enumerate() {
        let at = at.index(index);
        let Some(address) = address(&config.address, &at.key("address"), report) else { continue };
        if address.port() != 0 && !seen.insert(address) {
            report.error(&at.key("address"), format!("`{address}` is listened on twice"));
        }
        plans.push(listener(config, address, &at, report));
    }
    plans
}

fn listener(config: &ListenerConfig, address: SocketAddr, at: &Path, report: &mut Report) -> ListenerPlan {
    if config.protocols.is_empty() {
        report.error_with_hint(&at.key("protocols"), "no protocol", "write [\"http1\", \"http2\"]");
    }
    let trusted = networks(&config.trusted_proxies, &at.key("trusted_proxies"), report);
    if config.proxy_protocol && config.trusted_proxies.is_empty() {
        let hint = "`trusted_proxies` are those whose header is believed; all others are turned away";
        report.error_with_hint(&at.key("proxy_protocol"), "nobody may connect to this listener", hint);
    }
    if config.reuse_port && address.port() == 0 {
        let hint = "another process cannot know the port that is found: give it a number";
        report.error_with_hint(&at.key("reuse_port"), "nobody could share this address", hint);
    }
    if config.reuse_port && config.socket.is_some() {
        let hint = "who hands the socket over keeps it from one process to the next";
        report.error_with_hint(&at.key("reuse_port"), "this listener does not bind its address", hint);
    }
    let speaks_tls = !config.tls.as_slice().is_empty();
    if config.client_ca.is_some() && !speaks_tls {
        let hint = "set `tls`: certificates are shown in its handshake";
        report.error_with_hint(&at.key("client_ca"), "this listener speaks clear text", hint);
    }
    if config.client_ca.is_none() && config.client_auth != ClientAuth::default() {
        let hint = "`client_ca` names the file of who signs them";
        report.error_with_hint(&at.key("client_auth"), "no certificate could be checked", hint);
    }
    if config.client_ca.is_none() && config.client_cert_header {
        let hint = "`client_ca` names the file of who signs them";
        report.error_with_hint(&at.key("client_cert_header"), "no certificate could be told", hint);
    }
    if config.redirect_to_https && speaks_tls {
        let hint = "it belongs to the listener for `http`";
        report.error_with_hint(&at.key("redirect_to_https"), "this listener speaks TLS", hint);
    }
    let certificate = |config: &CertificateConfig| CertificatePlan {
        cert: config.cert.clone().into(),
        key: config.key.clone().into(),
    };
    ListenerPlan {
        address,
        socket: config.socket.clone(),
        reuse_port: config.reuse_port,
        http1: config.protocols.contains(&DownstreamProtocol::Http1),
        http2: config.protocols.contains(&DownstreamProtocol::Http2),
        certificates: config.tls.as_slice().iter().map(certificate).collect(),
        trusted,
        proxy_protocol: config.proxy_protocol,
        client_auth: config.client_ca.as_ref().map(|ca| ClientAuthPlan {
            ca: ca.into(),
            required: config.client_auth == ClientAuth::Required,
            told: config.client_cert_header,
        }),
        redirect_to_https: config.redirect_to_https,
        hsts: config.hsts.as_ref().and_then(|config| hsts(config, &at.key("hsts"), report)),
    }
}

/// What the lists of browsers ask for, in seconds: a year.
const PRELOAD_MIN: u64 = 31_536_000;

/// The value of `Strict-Transport-Security` (RFC 6797 §6.1).
fn hsts(config: &HstsConfig, at: &Path, report: &mut Report) -> Option<HeaderValue> {
    let seconds = config.max_age.get().as_secs();
    if config.preload && (seconds < PRELOAD_MIN || !config.include_subdomains) {
        let hint = "`preload` takes `include_subdomains = true` and a `max_age` of at least \"365d\"";
        report.error_with_hint(&at.key("preload"), "no browser would put this on its list", hint);
    }
    let mut value = format!("max-age={seconds}");
    if config.include_subdomains {
        value.push_str("; includeSubDomains");
    }
    if config.preload {
        value.push_str("; preload");
    }
    HeaderValue::try_from(value).ok()
}
