//! Named lists of query parameters, for `key.query.ignore`.

/// A list that is written as its name: `"@tracking"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Its name, with the `@`.
    pub name: &'static str,
    /// The parameters; a `*` at the end stands for anything.
    pub parameters: &'static [&'static str],
}

/// All of them. [`QueryKeyConfig`](super::config::QueryKeyConfig) lists what they stand for: names are added,
/// never taken away.
pub const PRESETS: [Preset; 1] = [Preset {
    name: "@tracking",
    parameters: &[
        "utm_*",
        "mtm_*",
        "gclid",
        "gclsrc",
        "dclid",
        "gbraid",
        "wbraid",
        "gad_source",
        "gad_campaignid",
        "srsltid",
        "_ga",
        "_gl",
        "fbclid",
        "igshid",
        "igsh",
        "msclkid",
        "yclid",
        "ysclid",
        "ymclid",
        "twclid",
        "ttclid",
        "li_fat_id",
        "epik",
        "rdt_cid",
        "ScCid",
        "mc_cid",
        "mc_eid",
        "mkt_tok",
        "_hsenc",
        "_hsmi",
        "__hstc",
        "__hssc",
        "__hsfp",
        "hsCtaTracking",
        "vero_id",
        "vero_conv",
        "oly_anon_id",
        "oly_enc_id",
        "s_kwcid",
        "wickedid",
        "pk_campaign",
        "pk_kwd",
        "pk_source",
        "pk_medium",
        "pk_content",
        "pk_cid",
    ],
}];

/// The parameters of a preset; none if there is no such one.
pub fn find(name: &str) -> Option<&'static [&'static str]> {
    PRESETS.iter().find(|preset| preset.name == name).map(|preset| preset.parameters)
}

#[cfg(test)]
mod tests {
    use super::super::key::Pattern;
    use super::*;

    #[test]
    fn presets_are_patterns_and_documented() {
        let docs = include_str!("config.rs");
        for preset in PRESETS {
            assert_eq!(find(preset.name), Some(preset.parameters));
            for (at, name) in preset.parameters.iter().enumerate() {
                assert!(Pattern::parse(name).is_some(), "{name}");
                assert!(!preset.parameters[..at].contains(name), "{name} is there twice");
                assert!(docs.contains(&format!("`{name}`")), "{name} is not in the docs of `ignore`");
            }
        }
        assert_eq!(find("tracking"), None);
    }
}
