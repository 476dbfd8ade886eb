//! Whether settings can work: each field by itself, then those that depend on one another.

use super::{AutoCharge, Branding, QuietHours, Settings, SettingsInput, branding, limits, minute, region};
use crate::links;
use backstop_domain::followup::Services;
use backstop_domain::limits::Limits;
use backstop_domain::quiet;
use backstop_domain::text::{Country, Routes, TextService, Way};
use backstop_domain::wallet::{Kind, MAX_BALANCE_MICROS};
use backstop_wire::{FieldError, Grade};
use std::collections::BTreeMap;

const MAX_COMPANY_NAME_CHARS: usize = 100;
const MAX_LINK_SCHEMES: usize = 20;
const MAX_LINK_HOSTS: usize = 20;
const MAX_HOST_CHARS: usize = 253;
const MAX_URL_CHARS: usize = 2_048;
/// Schemes that run, read or hide something: no list allows them (P14).
const DANGEROUS_SCHEMES: &[&str] =
    &["javascript", "vbscript", "data", "file", "blob", "about", "content", "intent", "filesystem", "view-source"];

/// Something to know about settings that were taken. The words of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Neither a push, nor a text, nor an email can leave.
    NothingCanLeave,
    /// S1: both switches are off.
    PushOnly,
    /// Texts are on, and the deployment has no account for them.
    NoTextProvider,
    /// Emails are on, and the deployment has no account for them.
    NoEmailProvider,
    /// T6: texts come from the deployment's number.
    AnswersAreLost,
    /// Texts are on, and no country of theirs is.
    NoCountry,
    /// T3: texts are to go by Alimtalk first, and no template may be used.
    NoAlimtalkTemplate,
    /// S2: texts are to go by an SNS first that costs nobody knows what.
    SnsWithoutPrice,
    /// T4: texts go to Korea, and no relay of theirs counts as relays there do.
    NoKoreanRelay,
    /// S3: money is to be asked for, and the deployment has nobody to ask.
    NobodyToAsk,
    /// The heartbeats' time-out is never reached.
    HeartbeatAfterIdle,
}

impl Advice {
    /// Stable code.
    pub fn code(self) -> &'static str {
        match self {
            Advice::NothingCanLeave => "nothing_can_leave",
            Advice::PushOnly => "push_only",
            Advice::NoTextProvider => "no_text_provider",
            Advice::NoEmailProvider => "no_email_provider",
            Advice::AnswersAreLost => "answers_are_lost",
            Advice::NoCountry => "no_country",
            Advice::NoAlimtalkTemplate => "no_alimtalk_template",
            Advice::SnsWithoutPrice => "sns_without_price",
            Advice::NoKoreanRelay => "no_korean_relay",
            Advice::NobodyToAsk => "nobody_to_ask",
            Advice::HeartbeatAfterIdle => "heartbeat_after_idle",
        }
    }

    /// What to do about it.
    pub fn message(self) -> &'static str {
        match self {
            Advice::NothingCanLeave => {
                "both switches are off and no push credentials are configured: nothing reaches a customer who is away; \
                 switch \"phone_number\" or \"email\" on"
            }
            Advice::PushOnly => {
                "both switches are off: a push that is not acknowledged is followed by nothing; switch \
                 \"phone_number\" or \"email\" on"
            }
            Advice::NoTextProvider => "\"phone_number\" is on, but the deployment has no text account: no text leaves",
            Advice::NoEmailProvider => "\"email\" is on, but the deployment has no mail account: no email leaves",
            Advice::AnswersAreLost => {
                "texts come from the deployment's number, and what customers answer to it does not reach you; give \
                 numbers of your own in \"senders\", one a country: chats that you begin are texted from those alone"
            }
            Advice::NoCountry => {
                "\"phone_number\" is on, but texts go to no country: set \"country\", or list those you write to in \
                 \"countries\""
            }
            Advice::NoAlimtalkTemplate => {
                "\"sns\" names \"alimtalk\", but no template is active: texts go by SMS; put one with PUT \
                 /v1/alimtalk-templates/{template_id}"
            }
            Advice::SnsWithoutPrice => {
                "\"sns\" names a way that the deployment has no price for: texts pass it over; ask the deployment for \
                 its price, or take it out"
            }
            Advice::NoKoreanRelay => {
                "texts to Korea leave by an international account alone: they have no LMS, are paid by parts of 70 or \
                 67 Hangul instead of by text, and come from a foreign number; ask the deployment for a Korean relay"
            }
            Advice::NobodyToAsk => {
                "\"auto_charge\" is set, but the deployment has no billing system to ask (wallet.billing_webhook_url): \
                 texts end with the money"
            }
            Advice::HeartbeatAfterIdle => {
                "\"heartbeat_timeout_ms\" is more than \"idle_after_ms\": a page that went silent counts as online \
                 until it idles"
            }
        }
    }
}

impl Settings {
    /// What the company should know although these settings were taken.
    pub fn advice(&self, services: &Services, limits: &Limits) -> Vec<Advice> {
        let mut advice = Vec::new();
        match (self.phone_number || self.email, services.fcm || services.apns) {
            (false, false) => advice.push(Advice::NothingCanLeave),
            (false, true) => advice.push(Advice::PushOnly),
            (true, _) => {}
        }
        if self.phone_number && services.text.is_empty() {
            advice.push(Advice::NoTextProvider);
        }
        if self.phone_number && limits.countries.as_ref().is_some_and(Vec::is_empty) {
            advice.push(Advice::NoCountry);
        }
        if self.phone_number && self.named().any(|code| code == "KR") && !has_korean_relay(&services.text) {
            advice.push(Advice::NoKoreanRelay);
        }
        let prices = &limits.prices.prices;
        let has_price = |way: &Way| match way {
            Way::Alimtalk => prices.iter().any(|price| price.kind == Kind::Alimtalk),
            Way::Line => prices.iter().any(|price| price.kind == Kind::Line),
            Way::Xms => true,
        };
        if self.phone_number && !prices.is_empty() && !self.sns.iter().all(has_price) {
            advice.push(Advice::SnsWithoutPrice);
        }
        if self.email && services.email.is_none() {
            advice.push(Advice::NoEmailProvider);
        }
        if self.phone_number && self.lacks_a_sender() && services.text.iter().any(|text| text.is_shared) {
            advice.push(Advice::AnswersAreLost);
        }
        if self.heartbeat_timeout_ms > self.idle_after_ms {
            advice.push(Advice::HeartbeatAfterIdle);
        }
        advice
    }

    /// The countries that texts go to, as far as they are named.
    fn named(&self) -> impl Iterator<Item = &str> {
        self.country.iter().chain(self.countries.iter().flatten()).map(String::as_str)
    }

    /// T6: whether texts to some country come from the deployment's number.
    fn lacks_a_sender(&self) -> bool {
        let has = |code| Country::parse(code).is_some_and(|country| self.senders.contains_key(&country));
        self.senders.is_empty() || self.named().any(|code| !has(code))
    }

    /// Settings that cannot work together, as far as each by itself can.
    pub fn contradictions(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.push_ttl_ms < self.ack_wait_ms {
            let message =
                format!("give at least ack_wait_ms, {}: a push must live until it is decided", self.ack_wait_ms);
            errors.push(error("push_ttl_ms", "contradiction", message));
        }
        if self.fallback_horizon_ms <= self.repeat_gap_ms {
            let message = format!(
                "give more than repeat_gap_ms, {}: a text that waited out the gap would be too old to leave",
                self.repeat_gap_ms
            );
            errors.push(error("fallback_horizon_ms", "contradiction", message));
        }
        if let Some(url) = &self.conversation_url
            && (url.chars().count() > MAX_URL_CHARS || links::target(self, None, "1").is_none())
        {
            let message = "give a whole URL, such as https://shop.example/chat/{conversation_id}, with a scheme of \
                           link_schemes and a host of link_hosts";
            errors.push(error("conversation_url", "invalid", message));
        }
        if self.quiet_hours.is_some() && self.quiet().is_none() {
            let message = "give an IANA name such as Asia/Seoul: country is not set or has several zones, and a \
                           customer's own zone is not always known";
            errors.push(error("quiet_hours.time_zone", "required", message));
        }
        errors
    }
}

/// Whether one of those that carry XMS counts as relays in Korea do; nobody misses one where nothing is carried.
fn has_korean_relay(services: &[TextService]) -> bool {
    let mut carriers = services.iter().filter(|service| service.ways.contains(&Way::Xms)).peekable();
    carriers.peek().is_none() || carriers.any(|service| service.is_korean)
}

impl SettingsInput {
    /// What is wrong with it, field by field; empty = nothing.
    pub fn problems(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (field, value, range) in self.numbers() {
            if !range.contains(&value) {
                let message = format!("give a number from {} to {}", range.start(), range.end());
                errors.push(error(field, "out_of_range", message));
            }
        }
        if self.ack_grade.is_some_and(|g| !matches!(g, Grade::Received | Grade::Displayed | Grade::Opened)) {
            errors.push(error("ack_grade", "invalid", "give received, displayed or opened"));
        }
        if let Some(name) = &self.company_name {
            let chars = name.chars().count();
            if chars == 0 || chars > MAX_COMPANY_NAME_CHARS || name.chars().any(char::is_control) {
                let message = format!("give 1 to {MAX_COMPANY_NAME_CHARS} characters without line breaks");
                errors.push(error("company_name", "invalid", message));
            }
        }
        if self.country.as_ref().is_some_and(|c| region(c).is_none()) {
            errors.push(error("country", "invalid", "give an ISO 3166 code of two capital letters, such as KR"));
        }
        errors.extend(self.auto_charge.iter().flat_map(auto_charge_problems));
        errors.extend(self.quiet_hours.iter().flat_map(quiet_problems));
        errors.extend(self.branding.iter().flat_map(Branding::problems));
        if self.support_email.as_deref().is_some_and(|address| !branding::is_address(address)) {
            errors.push(error("support_email", "invalid", "give an address such as support@shop.example"));
        }
        errors.extend(self.countries.iter().flat_map(|countries| limits::country_problems(countries)));
        errors.extend(self.link_schemes.iter().flat_map(|schemes| scheme_problems(schemes)));
        errors.extend(self.link_hosts.iter().flat_map(|hosts| host_problems(hosts)));
        errors.extend(self.senders.iter().flat_map(sender_problems));
        if let Some(ways) = &self.sns
            && (ways.contains(&Way::Xms) || ways.iter().enumerate().any(|(i, way)| ways[..i].contains(way)))
        {
            errors.push(error("sns", "invalid", "give alimtalk and line, each once at most: SMS comes after them"));
        }
        if let Some(Err(wrong)) = self.text_routes.as_deref().map(Routes::parse) {
            errors.push(error(&format!("text_routes[{}]", wrong.line), "invalid", wrong.why.to_string()));
        }
        errors
    }
}

/// One host or one level of wildcard, as a URL spells it.
fn host_problems(hosts: &[String]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if hosts.is_empty() || hosts.len() > MAX_LINK_HOSTS {
        let message = format!("give 1 to {MAX_LINK_HOSTS} hosts, or leave the field out for any");
        errors.push(error("link_hosts", "out_of_range", message));
    }
    for (i, host) in hosts.iter().enumerate().take(MAX_LINK_HOSTS) {
        let name = host.strip_prefix("*.").unwrap_or(host);
        let spelled = url::Host::parse(name).is_ok_and(|parsed| parsed.to_string() == name);
        if !spelled || name.len() > MAX_HOST_CHARS {
            let message = "give a host in lower case without scheme and port, such as shop.example or *.shop.example";
            errors.push(error(&format!("link_hosts[{i}]"), "invalid", message));
        }
    }
    errors
}

/// T6: each number is one that a text can come from, in its one spelling.
fn sender_problems(senders: &BTreeMap<Country, String>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (country, number) in senders {
        let digits = number.strip_prefix('+').unwrap_or("");
        let is_e164 = (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_e164 || region(country.as_str()).is_none() {
            let message = "give a country's two capital letters and a number of yours there, such as +14155550100";
            errors.push(error(&format!("senders.{country}"), "invalid", message));
        }
    }
    errors
}

/// S3: both are amounts that a wallet can hold.
fn auto_charge_problems(auto: &AutoCharge) -> Vec<FieldError> {
    let amounts =
        [("auto_charge.threshold_micros", auto.threshold_micros), ("auto_charge.amount_micros", auto.amount_micros)];
    let wrong = amounts.into_iter().filter(|(_, micros)| !(1..=MAX_BALANCE_MICROS).contains(micros));
    let message = format!("give 1 to {MAX_BALANCE_MICROS}, in millionths of the currency");
    wrong.map(|(field, _)| error(field, "out_of_range", message.clone())).collect()
}

fn quiet_problems(hours: &QuietHours) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (field, given) in [("quiet_hours.start", &hours.start), ("quiet_hours.end", &hours.end)] {
        if minute(given).is_none() {
            errors.push(error(field, "invalid", "give hours and minutes as on a clock of 24 hours, such as 21:00"));
        }
    }
    if hours.start == hours.end {
        errors.push(error(
            "quiet_hours.end",
            "contradiction",
            "give another time than start: a day has other hours, too",
        ));
    }
    if hours.time_zone.as_deref().is_some_and(|zone| !quiet::is_time_zone(zone)) {
        errors.push(error("quiet_hours.time_zone", "invalid", "give an IANA name such as Asia/Seoul"));
    }
    errors
}

fn scheme_problems(schemes: &[String]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if schemes.len() > MAX_LINK_SCHEMES {
        let message = format!("give at most {MAX_LINK_SCHEMES} schemes");
        errors.push(error("link_schemes", "too_long", message));
    }
    for (i, scheme) in schemes.iter().enumerate().take(MAX_LINK_SCHEMES) {
        if !is_scheme(scheme) {
            let message = "give a scheme in lower case without the colon, such as https or myshop";
            errors.push(error(&format!("link_schemes[{i}]"), "invalid", message));
        } else if DANGEROUS_SCHEMES.contains(&scheme.as_str()) {
            let message = "this scheme can run or read something on the phone and is never allowed";
            errors.push(error(&format!("link_schemes[{i}]"), "not_allowed", message));
        }
    }
    errors
}

/// RFC 3986, lower case.
fn is_scheme(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 40
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.'))
}

pub(super) fn error(field: &str, code: &str, message: impl Into<String>) -> FieldError {
    FieldError { field: field.into(), code: code.into(), message: message.into() }
}
