//! Origins (RFC 6454 §6.2): what a page is served from, compared as a whole.
//!
//! ```
//! use forebay::layers::cors::origin::Pattern;
//! let below = Pattern::parse("https://*.example.com")?;
//! assert!(below.takes(b"https://app.example.com") && below.takes(b"https://a.b.example.com"));
//! assert!(!below.takes(b"https://example.com"), "not the name itself");
//! assert!(!below.takes(b"https://evilexample.com") && !below.takes(b"http://app.example.com"));
//! assert!(!below.takes(b"https://app.example.com:8443"), "another port is another origin");
//! # Ok::<(), forebay::layers::cors::origin::NoOrigin>(())
//! ```

/// Which origins are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// All.
    Any,
    /// This one.
    One(Box<str>),
    /// All below a name.
    Below {
        /// Up to the host: `https://`.
        before: Box<str>,
        /// The name with the dot before it, and the port: `.example.com`.
        after: Box<str>,
    },
}

/// A text that names no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoOrigin {
    /// No scheme, or not one that browsers send.
    #[error("it has no `scheme://`")]
    Scheme,
    /// A path, a user, or what no host has.
    #[error("after the scheme there is a host, and perhaps a port, and nothing else")]
    Host,
    /// It would match names of others.
    #[error("`*` stands at the beginning of the host, before a dot and a name with a dot in it")]
    Wildcard,
    /// Browsers leave the scheme's own port out.
    #[error("this port goes without saying, so browsers do not send it")]
    Port,
}

impl Pattern {
    /// Reads what the user wrote.
    ///
    /// # Errors
    /// Why it names no origin.
    pub fn parse(text: &str) -> Result<Self, NoOrigin> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let text = text.to_ascii_lowercase();
        let (scheme, host) = text.split_once("://").ok_or(NoOrigin::Scheme)?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        if !is_scheme {
            return Err(NoOrigin::Scheme);
        }
        let of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
            _ => (host, None),
        };
        if let Some(port) = port {
            let number = port.parse::<u16>().ok().filter(|_| !port.starts_with(['0', '+']));
            match (scheme, number.ok_or(NoOrigin::Host)?) {
                ("http", 80) | ("https", 443) => return Err(NoOrigin::Port),
                _ => {}
            }
        }
        if let Some(below) = name.strip_prefix("*.") {
            let good = below.contains('.') && below.bytes().all(of_name) && !below.starts_with('.');
            if !good {
                return Err(NoOrigin::Wildcard);
            }
            let after = host.strip_prefix('*').unwrap_or(host).into();
            return Ok(Self::Below { before: format!("{scheme}://").into(), after });
        }
        let six = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let good = match six {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !name.is_empty() && name.bytes().all(of_name),
        };
        match (good, name.contains('*')) {
            (true, _) => Ok(Self::One(text.into())),
            (false, true) => Err(NoOrigin::Wildcard),
            (false, false) => Err(NoOrigin::Host),
        }
    }

    /// Whether an `Origin` is meant. Browsers send them in lower case; anything else is another one.
    pub fn takes(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::One(one) => one.as_bytes() == origin,
            Self::Below { before, after } => {
                let host = origin.strip_prefix(before.as_bytes());
                let label = host.and_then(|host| host.strip_suffix(after.as_bytes()));
                let of_label = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
                label.is_some_and(|label| !label.is_empty() && label.iter().all(of_label))
            }
        }
    }
}
