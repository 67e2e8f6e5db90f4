//! Where a freshness lifetime comes from, in one word.

/// Where a freshness lifetime comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// `ttl.override`.
    Override,
    /// `s-maxage`.
    SMaxage,
    /// `max-age`.
    MaxAge,
    /// `Expires`.
    Expires,
    /// `ttl.by_status`.
    ByStatus,
    /// A guess from `Last-Modified`.
    Heuristic,
    /// `ttl.default`.
    Default,
    /// Nothing gives one: it is stale from the start.
    None,
}

impl Source {
    /// The directive, the field or the key of the config.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Override => "ttl.override",
            Self::SMaxage => "s-maxage",
            Self::MaxAge => "max-age",
            Self::Expires => "expires",
            Self::ByStatus => "ttl.by_status",
            Self::Heuristic => "heuristic",
            Self::Default => "ttl.default",
            Self::None => "nothing",
        }
    }

    /// Whether the origin gave it.
    pub const fn is_origin(self) -> bool {
        matches!(self, Self::SMaxage | Self::MaxAge | Self::Expires)
    }

    /// Whether the operator gave it: such a lifetime counts from the arrival.
    pub(super) const fn is_operator(self) -> bool {
        matches!(self, Self::Override | Self::ByStatus | Self::Default)
    }
}
