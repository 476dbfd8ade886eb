//! What fields may hold; every wrong field of a request is named at once.

use crate::apps::{Apps, MAX_APPS};
use crate::engine::api::CustomerInput;
use crate::links;
use crate::mail::address::canonical;
use crate::number;
use crate::problem::Problem;
use crate::settings::Settings;
use backstop_domain::customer::ContactSource;
use backstop_domain::followup::Channel;
use backstop_wire::FieldError;
use serde::Deserialize;
use utoipa::ToSchema;

const MAX_ID_CHARS: usize = 128;
const MAX_TEXT_CHARS: usize = 10_000;
const MAX_NAME_CHARS: usize = 200;
const MAX_EMAIL_CHARS: usize = 254;
const MAX_PHONE_CHARS: usize = 40;
const MAX_LINK_CHARS: usize = 2_048;
const MAX_LOCALE_CHARS: usize = 35;

/// Customer data as callers give it; full replacement, `null` = absent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CustomerData {
    /// Display name, 1–200 characters.
    #[serde(default)]
    #[schema(example = "Lucas Kim")]
    name: Option<String>,
    /// Address. A domain in another alphabet is kept as DNS spells it, `xn--…`.
    #[serde(default)]
    #[schema(example = "lucas@example.com")]
    email: Option<String>,
    /// E.164, or a national number of the settings' `country`.
    #[serde(default)]
    #[schema(example = "+821012345678")]
    phone: Option<String>,
    /// The customer's user id at your LINE channel, as its webhooks and LINE Login name it.
    #[serde(default)]
    #[schema(example = "U4af4980629f4a8d4b6a1b7c3b0a4e5d6")]
    line_user_id: Option<String>,
    /// What the contact data may be used for; default `account`. `follow_up` = answers to this customer's inquiry only.
    #[serde(default)]
    #[schema(value_type = Option<super::openapi::ContactSource>)]
    contact_source: Option<ContactSource>,
    /// BCP 47.
    #[serde(default)]
    #[schema(example = "ko-KR")]
    locale: Option<String>,
    /// IANA name.
    #[serde(default)]
    #[schema(example = "Asia/Seoul")]
    time_zone: Option<String>,
}

/// Collects what is wrong.
#[derive(Default)]
pub(super) struct Check {
    errors: Vec<FieldError>,
}

impl Check {
    pub(super) fn error(&mut self, field: &str, code: &str, message: impl Into<String>) {
        self.errors.push(FieldError { field: field.into(), code: code.into(), message: message.into() });
    }

    /// How much is wrong so far.
    pub(super) fn count(&self) -> usize {
        self.errors.len()
    }

    pub(super) fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }

    /// A caller's id.
    pub(super) fn id(&mut self, field: &str, id: &str) {
        let message = format!("give 1 to {MAX_ID_CHARS} characters without control characters");
        self.short(field, id, MAX_ID_CHARS, &message);
    }

    /// A name shown to customers.
    pub(super) fn name(&mut self, field: &str, name: &str) {
        let message = format!("give 1 to {MAX_NAME_CHARS} characters without line breaks");
        self.short(field, name, MAX_NAME_CHARS, &message);
    }

    /// A word that is kept as it is given.
    pub(super) fn word(&mut self, field: &str, word: &str, max: usize) {
        self.short(field, word, max, &format!("give 1 to {max} characters without line breaks"));
    }

    fn short(&mut self, field: &str, text: &str, max: usize, message: &str) {
        if text.is_empty() {
            self.error(field, "too_short", message);
        } else if longer_than(text, max) {
            self.error(field, "too_long", message);
        } else if text.chars().any(char::is_control) {
            self.error(field, "invalid", message);
        }
    }

    /// A message's text; line ends become `\n`.
    pub(super) fn text(&mut self, field: &str, text: String) -> String {
        let text = if text.contains('\r') { text.replace("\r\n", "\n") } else { text };
        let message = format!("give 1 to {MAX_TEXT_CHARS} characters");
        if text.is_empty() {
            self.error(field, "too_short", message);
        } else if longer_than(&text, MAX_TEXT_CHARS) {
            self.error(field, "too_long", message);
        } else if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            self.error(field, "invalid", "take out control characters; line breaks and tabs may stay");
        }
        text
    }

    /// Where the conversation goes on (P14).
    pub(super) fn link(&mut self, field: &str, link: &str, settings: &Settings) {
        if longer_than(link, MAX_LINK_CHARS) {
            self.error(field, "too_long", format!("give at most {MAX_LINK_CHARS} characters"));
        } else if link.chars().any(|c| c.is_control() || c.is_whitespace()) {
            self.error(field, "invalid", "give a URL without spaces and control characters");
        } else {
            let allowed = |s: &str| settings.link_schemes.iter().any(|allowed| allowed.eq_ignore_ascii_case(s));
            match link.split_once(':') {
                Some((scheme, rest)) if allowed(scheme) && names_something(scheme, rest) => {
                    if settings.link_hosts.is_some() && links::allowed(settings, link).is_none() {
                        let message = "its host is not one of link_hosts: add it in PUT /v1/settings";
                        self.error(field, "host_not_allowed", message);
                    }
                }
                Some((scheme, _)) if allowed(scheme) => self.error(field, "invalid", "give a whole URL with a host"),
                _ => {
                    let schemes = settings.link_schemes.join(", ");
                    let message = format!(
                        "give a URL with one of these schemes: {schemes}; add your app's own to link_schemes in \
                         PUT /v1/settings"
                    );
                    self.error(field, "scheme_not_allowed", message);
                }
            }
        }
    }

    /// Channels the caller chose: sorted, each once. `sms` and `xms` are other names of `text`.
    pub(super) fn channels(&mut self, field: &str, words: &[String]) -> Vec<Channel> {
        let mut channels = Vec::new();
        for (i, word) in words.iter().enumerate() {
            match word.as_str() {
                "push" => channels.push(Channel::Push),
                "text" | "sms" | "xms" => channels.push(Channel::Text),
                "email" => channels.push(Channel::Email),
                _ => self.error(&format!("{field}[{i}]"), "unknown_channel", "give push, text or email"),
            }
            if i > 10 {
                break;
            }
        }
        if words.is_empty() {
            self.error(field, "too_short", "name at least one channel, or leave the field out for all");
        }
        channels.sort();
        channels.dedup();
        channels
    }

    /// Apps the caller chose: sorted, each once, all known to the workspace (P1).
    pub(super) fn apps(&mut self, field: &str, mut ids: Vec<String>, apps: &Apps) -> Vec<String> {
        if ids.is_empty() {
            self.error(field, "too_short", "name at least one app, or leave the field out for all");
        }
        if ids.len() > MAX_APPS {
            self.error(field, "too_long", format!("name at most {MAX_APPS} apps"));
        }
        for (i, id) in ids.iter().enumerate().take(MAX_APPS) {
            if !apps.has(id) {
                let message = "there is no app of this id: GET /v1/apps lists them, PUT /v1/apps/{app_id} makes one";
                self.error(&format!("{field}[{i}]"), "unknown_app", message);
            }
        }
        ids.sort();
        ids.dedup();
        ids
    }

    /// A phone number, read into E.164.
    pub(super) fn phone(&mut self, field: &str, given: &str, settings: &Settings) -> Option<String> {
        let read = read_phone(given, settings);
        if read.is_none() {
            let message = match &settings.country {
                Some(country) => format!("give an E.164 number such as +821012345678, or one of {country}"),
                None => "give an E.164 number such as +821012345678; national numbers need country in \
                         PUT /v1/settings"
                    .into(),
            };
            self.error(field, "invalid", message);
        }
        read
    }

    /// One address, its domain as DNS spells it.
    pub(super) fn email(&mut self, field: &str, given: &str) -> Option<String> {
        let canonical = Some(canonical(given)).filter(|canonical| is_email(given) && is_email(canonical));
        if canonical.is_none() {
            self.error(field, "invalid", "give one address such as lucas@example.com");
        }
        canonical
    }

    /// Customer data; `at` is the path before each field (`customer.`).
    pub(super) fn customer(&mut self, at: &str, data: CustomerData, settings: &Settings) -> CustomerInput {
        let field = |name: &str| format!("{at}{name}");
        if let Some(name) = &data.name {
            self.name(&field("name"), name);
        }
        let email = data.email.and_then(|given| self.email(&field("email"), &given));
        let phone = data.phone.and_then(|given| self.phone(&field("phone"), &given, settings));
        if let Some(user) = &data.line_user_id
            && !is_line_user(user)
        {
            self.error(&field("line_user_id"), "invalid", "give U and 32 hexadecimal digits, as LINE writes it");
        }
        let locale = data.locale.and_then(|given| {
            let read = locale(&given);
            if read.is_none() {
                self.error(&field("locale"), "invalid", "give a BCP 47 tag such as ko-KR");
            }
            read
        });
        if let Some(zone) = &data.time_zone
            && (longer_than(zone, 64) || !backstop_domain::quiet::is_time_zone(zone))
        {
            self.error(&field("time_zone"), "invalid", "give an IANA name such as Asia/Seoul");
        }
        let contact_source = data.contact_source.unwrap_or_default();
        CustomerInput {
            name: data.name,
            email,
            phone,
            line_user_id: data.line_user_id,
            contact_source,
            locale,
            time_zone: data.time_zone,
        }
    }
}

/// As LINE writes it: nothing is folded.
fn is_line_user(id: &str) -> bool {
    let digits = id.strip_prefix('U').unwrap_or_default();
    digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A caller's id alone.
pub(crate) fn caller_id(field: &str, id: &str) -> Result<(), Problem> {
    let mut check = Check::default();
    check.id(field, id);
    check.finish()
}

/// A language tag in its hyphenated spelling; phones also write `ko_KR`.
pub(super) fn locale(given: &str) -> Option<String> {
    let tag = given.replace('_', "-");
    let subtag = |s: &str| (1..=8).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric());
    let mut subtags = tag.split('-');
    let language =
        subtags.next().is_some_and(|l| (2..=8).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphabetic()));
    (tag.len() <= MAX_LOCALE_CHARS && language && subtags.all(subtag)).then_some(tag)
}

fn read_phone(given: &str, settings: &Settings) -> Option<String> {
    if longer_than(given, MAX_PHONE_CHARS) || given.chars().any(char::is_control) {
        return None;
    }
    number::read(given, settings.region())
}

/// One plain address: what a header takes as it is.
fn is_email(address: &str) -> bool {
    address.len() <= MAX_EMAIL_CHARS
        && !address.chars().any(|c| c.is_control() || c.is_whitespace())
        && address.parse::<lettre::Address>().is_ok()
}

/// `https:` alone leads nowhere; an app's own scheme may name anything behind the colon.
fn names_something(scheme: &str, rest: &str) -> bool {
    if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http") {
        rest.strip_prefix("//").is_some_and(|host| host.starts_with(|c: char| c.is_alphanumeric() || c == '['))
    } else {
        !rest.is_empty()
    }
}

/// Counts characters only where bytes do not settle it.
fn longer_than(text: &str, chars: usize) -> bool {
    text.len() > chars && text.chars().count() > chars
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SettingsInput;
    use backstop_domain::followup::Policy;

    fn settings(country: Option<&str>) -> Settings {
        let input = SettingsInput {
            country: country.map(str::to_owned),
            link_schemes: Some(vec!["https".into(), "shop".into()]),
            ..SettingsInput::default()
        };
        input.in_force(&Policy::sandbox(), true)
    }

    fn customer(json: serde_json::Value, country: Option<&str>) -> Result<CustomerInput, Vec<(String, String)>> {
        let mut check = Check::default();
        let input = check.customer("customer.", serde_json::from_value(json).unwrap(), &settings(country));
        let errors: Vec<_> = check.errors.into_iter().map(|e| (e.field, e.code)).collect();
        if errors.is_empty() { Ok(input) } else { Err(errors) }
    }

    /// T4: E.164, and national numbers only where the workspace says whose.
    #[test]
    fn phones_are_read_as_e164() {
        let phone =
            |given: &str, country| customer(serde_json::json!({ "phone": given }), country).ok().and_then(|c| c.phone);
        assert_eq!(phone("+82 10-1234-5678", None).as_deref(), Some("+821012345678"));
        assert_eq!(phone("010-1234-5678", Some("KR")).as_deref(), Some("+821012345678"));
        assert_eq!(phone("010-1234-5678", None), None);
        assert_eq!(phone("+15555550100", None).as_deref(), Some("+15555550100"), "a number of films");
        for bad in [
            "abc",
            "",
            "+",
            "+1",
            "112",
            "+8210123456789012345678",
            "+82 2 123 4567 ext. 5",
            "+8210\u{0}12345678",
            "0001.com",
        ] {
            assert_eq!(phone(bad, Some("KR")), None, "{bad:?}");
        }
        let errors = customer(serde_json::json!({"phone": "abc"}), None).err();
        assert_eq!(errors, Some(vec![("customer.phone".into(), "invalid".into())]));
    }

    /// W4: every wrong field is named, under its path.
    #[test]
    fn customer_data_is_checked_whole() {
        let bad = serde_json::json!({
            "name": "a\nb", "email": "x@y\r\nBcc: z@y", "phone": "1", "locale": "not a tag", "time_zone": "Mars/Olympus"
        });
        let fields: Vec<_> = customer(bad, None).err().unwrap().into_iter().map(|(field, _)| field).collect();
        let expected = ["name", "email", "phone", "locale", "time_zone"].map(|f| format!("customer.{f}"));
        assert_eq!(fields, expected);
        let good = serde_json::json!({
            "name": "Lucas", "email": "lucas+chat@example.com", "phone": null, "locale": "pt_BR",
            "time_zone": "Asia/Seoul", "contact_source": "follow_up"
        });
        let input = customer(good, None).ok().unwrap();
        assert_eq!((input.locale.as_deref(), input.phone), (Some("pt-BR"), None));
        assert_eq!(input.contact_source, ContactSource::FollowUp);
    }

    #[test]
    fn addresses_are_one_plain_address() {
        for good in ["a@b.co", "lucas+chat@example.com", "o'neil@example.co.kr"] {
            assert!(is_email(good), "{good}");
        }
        for bad in ["", "a", "@b.co", "a@", "a b@c.de", "a@b.co,c@d.ef", "Lucas <a@b.co>", "a@b.co\n"] {
            assert!(!is_email(bad), "{bad:?}");
        }
    }

    /// P14: the scheme is on the list, and what could run something never is.
    #[test]
    fn links_have_an_allowed_scheme() {
        let codes = |link: &str| {
            let mut check = Check::default();
            check.link("link", link, &settings(None));
            check.errors.into_iter().map(|e| e.code).next()
        };
        for good in ["https://shop.example/chat/1?a=b#c", "HTTPS://shop.example", "shop:chat/1", "shop://chat/1"] {
            assert_eq!(codes(good), None, "{good}");
        }
        for bad in ["javascript:alert(1)", "http://x.example", "//x.example", "x.example", "", "data:text/html,x"] {
            assert_eq!(codes(bad).as_deref(), Some("scheme_not_allowed"), "{bad}");
        }
        for bad in ["https:", "https://", "https:///x", "https://a b", "https://a\u{0}", "shop:"] {
            assert_eq!(codes(bad).as_deref(), Some("invalid"), "{bad:?}");
        }
        assert_eq!(codes(&format!("https://{}", "x".repeat(2_041))).as_deref(), Some("too_long"));
        assert_eq!(codes(&format!("https://{}", "x".repeat(2_040))), None);
    }

    /// Bad input: texts of 0 and 10,001 characters, NUL; 10,000 characters of four bytes are taken.
    #[test]
    fn texts_have_1_to_10_000_characters() {
        let codes = |text: &str| {
            let mut check = Check::default();
            let text = check.text("text", text.to_owned());
            check.errors.into_iter().map(|e| e.code).next().map_or(Ok(text), Err)
        };
        assert_eq!(codes("a\r\n\tb"), Ok("a\n\tb".into()));
        assert!(codes(&"\u{1F600}".repeat(10_000)).is_ok());
        for (bad, code) in [("", "too_short"), ("a\0b", "invalid"), ("a\u{1b}[31m", "invalid"), ("a\rb", "invalid")] {
            assert_eq!(codes(bad), Err(code.into()), "{bad:?}");
        }
        assert_eq!(codes(&"x".repeat(10_001)), Err("too_long".into()));
    }

    #[test]
    fn ids_have_1_to_128_characters() {
        assert!(caller_id("id", &"\u{d55c}".repeat(128)).is_ok());
        for bad in ["", "a\nb", "a\0", &"x".repeat(129)] {
            assert!(caller_id("id", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn channels_are_sorted_and_known() {
        let channels = |words: &[&str]| {
            let mut check = Check::default();
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let channels = check.channels("channels", &words);
            if check.errors.is_empty() { Ok(channels) } else { Err(check.errors[0].field.clone()) }
        };
        assert_eq!(channels(&["email", "sms", "xms"]), Ok(vec![Channel::Text, Channel::Email]));
        assert_eq!(channels(&["push", "fax"]), Err("channels[1]".into()));
        assert_eq!(channels(&[]), Err("channels".into()));
    }
}
