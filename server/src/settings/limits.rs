//! What a workspace may spend on texts (S4): its own caps, which can only be lower than the deployment's.

use super::check::error;
use super::region;
use backstop_domain::limits::{Cap, Caps, Limits, Scope};
use backstop_domain::text::Country;
use backstop_wire::FieldError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const MAX_COUNTRIES: usize = 250;

/// Own caps; absent = the deployment's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsInput {
    /// Texts to one number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<CapInput>,
    /// Texts to numbers that differ in their last four digits only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<CapInput>,
    /// Texts to one customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<CapInput>,
    /// Texts of one conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<CapInput>,
    /// Texts of the whole workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<CapInput>,
    /// The most that one text may cost, all its parts, in millionths of the price list's currency. Where no price is
    /// known for a country, a maximum refuses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_price_micros: Option<i64>,
}

/// How many, at most; 0 = none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CapInput {
    /// From full hour to full hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_hour: Option<u32>,
    /// From midnight to midnight, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_day: Option<u32>,
}

impl LimitsInput {
    fn cap(&self, scope: Scope) -> Cap {
        let CapInput { per_hour, per_day } = match scope {
            Scope::Number => self.number,
            Scope::Prefix => self.prefix,
            Scope::Customer => self.customer,
            Scope::Conversation => self.conversation,
            Scope::Workspace => self.workspace,
        }
        .unwrap_or_default();
        Cap { per_hour, per_day }
    }

    fn caps(&self) -> Caps {
        Caps::of(Scope::ALL.map(|scope| (scope, self.cap(scope))))
    }

    /// What is above the deployment's limits.
    pub(super) fn problems(&self, deployment: &Limits) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for scope in Scope::ALL {
            let (mine, most) = (self.cap(scope), deployment.caps.cap(scope));
            for (field, mine, most) in
                [("per_hour", mine.per_hour, most.per_hour), ("per_day", mine.per_day, most.per_day)]
            {
                if let (Some(mine), Some(most)) = (mine, most)
                    && mine > most
                {
                    let message = format!("give at most {most}: the deployment allows no more (its [limits])");
                    errors.push(error(&format!("limits.{}.{field}", scope.as_str()), "out_of_range", message));
                }
            }
        }
        let most = deployment.max_price_micros.unwrap_or(i64::MAX);
        if self.max_price_micros.is_some_and(|micros| !(0..=most).contains(&micros)) {
            let message = match deployment.max_price_micros {
                Some(most) => format!("give 0 to {most}: the deployment allows no more (its [limits])"),
                None => "give 0 or more, in millionths of the currency".to_owned(),
            };
            errors.push(error("limits.max_price_micros", "out_of_range", message));
        }
        errors
    }

    /// These within the deployment's, whose own may have been lowered since.
    pub(super) fn within(&self, deployment: &Limits) -> Limits {
        Limits {
            caps: self.caps().within(&deployment.caps),
            max_price_micros: self.max_price_micros.into_iter().chain(deployment.max_price_micros).min(),
            ..deployment.clone()
        }
    }
}

/// Where texts go: the countries that were switched on, and always the workspace's own. `None` = anywhere.
pub(super) fn countries(given: Option<&[String]>, own: Option<&str>, deployment: &Limits) -> Option<Vec<Country>> {
    let given = given.or_else(|| deployment.countries.as_ref().map(|_| &[][..]))?;
    let codes = given.iter().map(String::as_str).chain(own);
    let mut countries: Vec<Country> = codes.filter_map(Country::parse).collect();
    countries.sort_unstable();
    countries.dedup();
    Some(countries)
}

/// What does not read as a country.
pub(super) fn country_problems(countries: &[String]) -> Vec<FieldError> {
    if countries.len() > MAX_COUNTRIES {
        return vec![error("countries", "too_long", format!("give at most {MAX_COUNTRIES} countries"))];
    }
    let wrong = countries.iter().enumerate().filter(|(_, code)| region(code).is_none());
    let message = "give an ISO 3166 code of two capital letters, such as KR";
    wrong.map(|(i, _)| error(&format!("countries[{i}]"), "invalid", message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Limits {
        Limits {
            caps: Caps::of([(Scope::Number, Cap { per_hour: Some(5), per_day: None })]),
            countries: Some(Vec::new()),
            max_price_micros: Some(100),
            ..Limits::none()
        }
    }

    /// S4: a workspace's limits can only be lower than the deployment's, on both sides of each.
    #[test]
    fn a_workspace_lowers_limits_and_never_raises_them() {
        let input = |per_hour, max_price_micros| LimitsInput {
            number: Some(CapInput { per_hour: Some(per_hour), per_day: Some(1_000_000) }),
            max_price_micros: Some(max_price_micros),
            ..LimitsInput::default()
        };
        assert_eq!(input(5, 100).problems(&deployment()), []);
        let fields: Vec<_> = input(6, 101).problems(&deployment()).into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["limits.number.per_hour", "limits.max_price_micros"]);
        assert_eq!(input(1, -1).problems(&Limits::none()).len(), 1);
        // Stored before the deployment lowered its own.
        let limits = input(6, 101).within(&deployment());
        let cap = Cap { per_hour: Some(5), per_day: Some(1_000_000) };
        assert_eq!((limits.caps.cap(Scope::Number), limits.max_price_micros), (cap, Some(100)));
        assert_eq!(LimitsInput::default().within(&deployment()), deployment());
    }

    /// S4: countries are off but for the workspace's own; in a sandbox all are on until some are named.
    #[test]
    fn the_own_country_is_always_on() {
        let of = |given: Option<&[&str]>, own, deployment: &Limits| {
            let given: Option<Vec<String>> = given.map(|codes| codes.iter().map(|code| (*code).to_owned()).collect());
            let countries = countries(given.as_deref(), own, deployment)?;
            Some(countries.iter().map(Country::as_str).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(of(None, Some("KR"), &deployment()).as_deref(), Some("KR"));
        assert_eq!(of(None, None, &deployment()).as_deref(), Some(""));
        assert_eq!(of(Some(&["US", "KR"]), Some("KR"), &deployment()).as_deref(), Some("KR US"));
        assert_eq!(of(None, Some("KR"), &Limits::none()), None);
        assert_eq!(of(Some(&["US"]), Some("KR"), &Limits::none()).as_deref(), Some("KR US"));
        let errors = country_problems(&["KR".into(), "kr".into(), "KOR".into()]);
        let fields: Vec<_> = errors.into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["countries[1]", "countries[2]"]);
    }
}
