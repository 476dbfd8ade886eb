//! The deployment's limits on texts, from its configuration (S4).

use crate::config;
use backstop_domain::limits::{Cap, Caps, Limits, Scope};
use backstop_domain::wallet::PriceList;
use std::sync::Arc;

/// What no workspace may exceed. A sandbox has no caps, and every country and number: only the prices are the same.
pub fn of_deployment(config: &config::Limits, prices: Arc<PriceList>, sandbox: bool) -> Limits {
    if sandbox {
        return Limits { prices, ..Limits::none() };
    }
    let cap = |per_hour, per_day| Cap { per_hour: Some(per_hour), per_day: Some(per_day) };
    Limits {
        caps: Caps::of([
            (Scope::Number, cap(config.number_texts_per_hour, config.number_texts_per_day)),
            (Scope::Prefix, cap(config.prefix_texts_per_hour, config.prefix_texts_per_day)),
            (Scope::Customer, cap(config.customer_texts_per_hour, config.customer_texts_per_day)),
            (Scope::Conversation, cap(config.conversation_texts_per_hour, config.conversation_texts_per_day)),
            (Scope::Workspace, cap(config.workspace_texts_per_hour, config.workspace_texts_per_day)),
        ]),
        // A workspace's own, until it switches others on.
        countries: Some(Vec::new()),
        ordinary_numbers_only: true,
        max_price_micros: config.text_max_price_micros,
        prices,
    }
}

/// What is wrong with the keys of it, each with its mend.
pub fn problems(config: &config::Limits) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    if config.text_max_price_micros.is_some_and(|micros| micros < 0) {
        problems.push(("limits.text_max_price_micros", "must be 0 or more, in millionths of the currency".into()));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// S4: the defaults are strict, and a sandbox has none of them.
    #[test]
    fn a_deployment_has_caps_and_a_sandbox_none() {
        let config = Config::default().limits;
        let live = of_deployment(&config, Arc::default(), false);
        assert!(live.ordinary_numbers_only && live.judges());
        assert_eq!(live.caps.cap(Scope::Number), Cap { per_hour: Some(5), per_day: Some(20) });
        assert_eq!(live.countries, Some(Vec::new()));
        assert!(!of_deployment(&config, Arc::default(), true).judges());
        assert_eq!(problems(&config), []);
    }

    /// S4: a maximum below nothing is named with its mend.
    #[test]
    fn a_maximum_price_is_not_below_nothing() {
        let mut config = Config::default().limits;
        config.text_max_price_micros = Some(-1);
        let keys: Vec<_> = problems(&config).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["limits.text_max_price_micros"]);
    }
}
