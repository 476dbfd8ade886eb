//! What texts cost and what pays for them, from the deployment's configuration (S2, S3, S5).

use crate::config;
use backstop_domain::text::Country;
use backstop_domain::wallet::{Kind, MAX_BALANCE_MICROS, Price, PriceList, Terms};
use std::sync::Arc;

/// Stands in a price for every country without one of its own.
const ELSEWHERE: &str = "*";
const EXAMPLE: &str = "2026-11-01 KR sms 42300 1";
/// One part of one text for a thousand units of the currency is a slip of the pen.
const MAX_PRICE_MICROS: i64 = 1_000 * 1_000_000;
const MAX_PU: i64 = 1_000_000;

/// What everything costs in a sandbox whose configuration has no prices: near what they are, and nothing real.
const SANDBOX_PRICES: [&str; 8] = [
    "2020-01-01 KR sms 9000 1",
    "2020-01-01 KR lms 27000 3",
    "2020-01-01 KR alimtalk 7500 0.8",
    "2020-01-01 * sms 50000 5",
    "2020-01-01 * lms 100000 10",
    "2020-01-01 * alimtalk 15000 1.5",
    "2020-01-01 * line 20000 2",
    "2020-01-01 * email 0 0",
];
/// Names every workspace in `paid_workspaces`.
const EVERYBODY: &str = "*";

/// The deployment's price list.
pub fn prices(config: &config::Wallet, sandbox: bool) -> Arc<PriceList> {
    let lines: Vec<&str> = match sandbox && config.prices.is_empty() {
        true => SANDBOX_PRICES.to_vec(),
        false => config.prices.iter().map(String::as_str).collect(),
    };
    let prices = lines.into_iter().filter_map(|line| price(line).ok()).collect();
    Arc::new(PriceList { currency: config.currency.clone(), prices })
}

/// What all wallets have in common; `None` = nobody is charged. A grant is each workspace's own matter: see [`Plans`].
pub fn terms(config: &config::Wallet, prices: &PriceList, sandbox: bool) -> Option<Terms> {
    let texts = prices.prices.iter().filter(|price| price.kind != Kind::Email);
    (config.charge && !prices.prices.is_empty()).then(|| Terms {
        least_micros: texts.map(|price| price.micros).min().unwrap_or_default(),
        currency: config.currency.clone(),
        opening_micros: if sandbox { config.sandbox_opening_micros } else { 0 },
        monthly_grant_micros: 0,
        auto_charge: None,
        alarm_below_micros: config.alarm_below_micros,
    })
}

/// What workspaces are given, and whether they may add money themselves.
#[derive(Clone, Debug, Default)]
pub struct Plans {
    paid: Vec<String>,
    monthly_grant_micros: i64,
    /// Whether a key of scope `server` may top up.
    pub server_keys_top_up: bool,
    /// Whether there is a billing system to ask.
    pub can_ask: bool,
}

impl Plans {
    /// Those of the configuration; in a sandbox money is nobody's.
    pub fn of(config: &config::Wallet, sandbox: bool) -> Plans {
        Plans {
            paid: config.paid_workspaces.clone(),
            monthly_grant_micros: config.monthly_grant_micros,
            server_keys_top_up: sandbox || config.server_keys_top_up,
            can_ask: config.billing_webhook_url.is_some(),
        }
    }

    /// What this workspace is given each month (S3).
    pub fn monthly_grant_micros(&self, workspace: &str) -> i64 {
        let is_paid = self.paid.iter().any(|name| name == workspace || name == EVERYBODY);
        if is_paid { self.monthly_grant_micros } else { 0 }
    }
}

/// What is wrong with the keys of it, each with its mend.
pub fn problems(config: &config::Wallet) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    if config.currency.len() != 3 || !config.currency.bytes().all(|b| b.is_ascii_uppercase()) {
        problems.push(("wallet.currency", "must be three capital letters of ISO 4217, such as USD".into()));
    }
    problems.extend(config.prices.iter().filter_map(|line| Some(("wallet.prices", price(line).err()?))));
    for (key, micros) in [
        ("wallet.monthly_grant_micros", config.monthly_grant_micros),
        ("wallet.sandbox_opening_micros", config.sandbox_opening_micros),
        ("wallet.alarm_below_micros", config.alarm_below_micros),
    ] {
        if !(0..=MAX_BALANCE_MICROS).contains(&micros) {
            problems.push((key, format!("must be 0 to {MAX_BALANCE_MICROS}, in millionths of the currency")));
        }
    }
    problems
}

/// One line of the list: `2026-11-01 KR sms 42300 1`.
fn price(line: &str) -> Result<Price, String> {
    let wrong = |what: &str| {
        format!(
            "has `{line}`: {what}; write the first day, the country or *, one of {}, millionths of the currency and \
             post units, as in {EXAMPLE}",
            Kind::ALL.map(Kind::as_str).join(" ")
        )
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    let [day, country, kind, micros, pu] = words.as_slice() else { return Err(wrong("not five words")) };
    let day: jiff::civil::Date = day.parse().map_err(|_| wrong("no date"))?;
    let from = day.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wrong("no date"))?.timestamp().as_millisecond();
    let country = match *country {
        ELSEWHERE => None,
        code => Some(Country::parse(code).ok_or_else(|| wrong("no country of two capital letters"))?),
    };
    let kind = Kind::parse(kind).ok_or_else(|| wrong("no kind"))?;
    let fits = |micros: &i64| (0..=MAX_PRICE_MICROS).contains(micros);
    let micros: i64 = micros.parse().ok().filter(fits).ok_or_else(|| wrong("no price"))?;
    let pu_milli = pu_milli(pu).ok_or_else(|| wrong("no post units"))?;
    // S5: it is in the list, and free: an empty wallet stops texts alone (S2).
    if kind == Kind::Email && (micros, pu_milli) != (0, 0) {
        return Err(wrong("an email costs nothing: its price and post units are 0"));
    }
    Ok(Price { from, country, kind, micros, pu_milli })
}

/// `1`, `0.5` or `2.125` in thousandths.
fn pu_milli(text: &str) -> Option<i64> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(rest) || rest.len() > 3 {
        return None;
    }
    let thousandths: i64 = format!("{rest:0<3}").parse().ok()?;
    let whole: i64 = whole.parse().ok().filter(|whole| *whole <= MAX_PU)?;
    Some(whole * 1_000 + thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// S2, S5: a price is dated, in money and post units; one that does not read is named with its mend.
    #[test]
    fn prices_are_lines_of_day_country_kind_and_amounts() {
        let kr = Price {
            from: 1_793_491_200_000,
            country: Country::parse("KR"),
            kind: Kind::Sms,
            micros: 42_300,
            pu_milli: 1_000,
        };
        assert_eq!(price(EXAMPLE), Ok(kr));
        let free = Price { country: None, kind: Kind::Email, micros: 0, pu_milli: 0, ..kr };
        assert_eq!(price(" 2026-11-01  * email  0 0 "), Ok(free));
        for bad in [
            "",
            "2026-11-01 KR 42300",
            "2026-11-01 KR sms 42300",
            "2026-13-01 KR sms 1 1",
            "2026-11-01 kr sms 1 1",
            "2026-11-01 KR fax 1 1",
            "2026-11-01 KR sms 0.04 1",
            "2026-11-01 KR sms -1 1",
            "2026-11-01 KR sms 1000000001 1",
            "2026-11-01 KR sms 1 -1",
            "2026-11-01 KR sms 1 1 1",
            "2026-11-01 * email 1 0",
            "2026-11-01 * email 0 0.1",
        ] {
            assert!(price(bad).is_err_and(|mend| mend.contains("as in 2026-11-01 KR sms 42300 1")), "{bad}");
        }
        let mut config = Config::default().wallet;
        assert_eq!(problems(&config), []);
        config.prices = vec!["free".into()];
        config.currency = "usd".into();
        let keys: Vec<_> = problems(&config).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["wallet.currency", "wallet.prices"]);
    }

    /// S2: post units have up to three decimal places.
    #[test]
    fn post_units_are_thousandths() {
        for (text, expected) in [("1", 1_000), ("0", 0), ("0.5", 500), ("2.125", 2_125), ("10.05", 10_050)] {
            assert_eq!(pu_milli(text), Some(expected), "{text}");
        }
        for bad in ["", ".", "1.", ".5", "1.2345", "-1", "1e3", "1000001", "1,5"] {
            assert_eq!(pu_milli(bad), None, "{bad}");
        }
    }
}
