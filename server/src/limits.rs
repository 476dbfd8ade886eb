//! The deployment's limits on texts, from its configuration (S4).

use crate::config;
use backstop_domain::limits::{Cap, Caps, Limits, Price, PriceList, Scope};
use backstop_domain::text::Country;
use std::sync::Arc;

/// Stands in a price for every country without one of its own.
const ELSEWHERE: &str = "*";

/// What no workspace may exceed. A sandbox has no caps, and every country and number: only the prices are the same.
pub fn of_deployment(config: &config::Limits, sandbox: bool) -> Limits {
    let prices = config.text_prices.iter().filter_map(|line| price(line).ok()).collect();
    let prices = Arc::new(PriceList { currency: config.text_price_currency.clone(), prices });
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
    let currency = &config.text_price_currency;
    if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
        problems.push(("limits.text_price_currency", "must be three capital letters of ISO 4217, such as USD".into()));
    }
    if config.text_max_price_micros.is_some_and(|micros| micros < 0) {
        problems.push(("limits.text_max_price_micros", "must be 0 or more, in millionths of the currency".into()));
    }
    problems.extend(config.text_prices.iter().filter_map(|line| Some(("limits.text_prices", price(line).err()?))));
    problems
}

/// One line of the list: `2026-11-01 KR 42300`.
fn price(line: &str) -> Result<Price, String> {
    let wrong = |what: &str| {
        format!(
            "has `{line}`: {what}; write the first day, the country or *, and millionths, as in 2026-11-01 KR 42300"
        )
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    let [day, country, micros] = words.as_slice() else { return Err(wrong("not three words")) };
    let day: jiff::civil::Date = day.parse().map_err(|_| wrong("no date"))?;
    let from = day.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong("no date"))?.timestamp().as_millisecond();
    let country = match *country {
        ELSEWHERE => None,
        code => Some(Country::parse(code).ok_or_else(|| wrong("no country of two capital letters"))?),
    };
    let micros: i64 = micros.parse().ok().filter(|micros| *micros >= 0).ok_or_else(|| wrong("no price"))?;
    Ok(Price { from, country, micros })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// S4: the defaults are strict, and a sandbox has none of them.
    #[test]
    fn a_deployment_has_caps_and_a_sandbox_none() {
        let config = Config::default().limits;
        let live = of_deployment(&config, false);
        assert!(live.ordinary_numbers_only && live.judges());
        assert_eq!(live.caps.cap(Scope::Number), Cap { per_hour: Some(5), per_day: Some(20) });
        assert_eq!(live.countries, Some(Vec::new()));
        assert!(!of_deployment(&config, true).judges());
        assert_eq!(problems(&config), []);
    }

    /// S4: a price is dated, and one that does not read is named with its mend.
    #[test]
    fn prices_are_lines_of_day_country_and_micros() {
        let kr = Price { from: 1_793_491_200_000, country: Country::parse("KR"), micros: 42_300 };
        assert_eq!(price("2026-11-01 KR 42300"), Ok(kr));
        assert_eq!(price(" 2026-11-01  *  0 "), Ok(Price { country: None, micros: 0, ..kr }));
        for bad in ["", "2026-11-01 KR", "2026-13-01 KR 1", "2026-11-01 kr 1", "2026-11-01 KR 0.04", "2026-11-01 KR -1"]
        {
            assert!(price(bad).is_err_and(|mend| mend.contains("as in 2026-11-01 KR 42300")), "{bad}");
        }
        let mut config = Config::default().limits;
        config.text_prices = vec!["free".into()];
        config.text_price_currency = "usd".into();
        config.text_max_price_micros = Some(-1);
        let keys: Vec<_> = problems(&config).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["limits.text_price_currency", "limits.text_max_price_micros", "limits.text_prices"]);
    }
}
