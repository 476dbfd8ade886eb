//! A workspace's settings: what the API takes and shows, and what the rules take from it.
//!
//! `PUT /v1/settings` replaces them whole; what it does not name has its default again, which is why only what was
//! given is stored: a default that changes with the deployment changes for everyone who did not choose.
//!
//! A setting is one entry of the table below: its meaning, its type, its default and the numbers it may have. What a
//! number alone cannot say is in [`check`]; what the rules make of it is in [`Settings::policy`].

mod branding;
mod check;
mod limits;
#[cfg(test)]
mod tests;

pub use branding::Branding;
pub use check::Advice;
pub use limits::{CapInput, LimitsInput};

use crate::number::region;
use backstop_domain::Ms;
use backstop_domain::device::UnreadPolicy;
use backstop_domain::followup::{Channels, Policy, Services, Sns, SnsUnknown};
use backstop_domain::limits::Limits;
use backstop_domain::presence::PresencePolicy;
use backstop_domain::quiet;
use backstop_domain::text::{Country, Routes, Way};
use backstop_domain::wallet::{self, Terms};
use backstop_wire::{FieldError, Grade};
use rlibphonenumber::Region;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use utoipa::ToSchema;

/// P3: within this, whatever is asked for.
pub const ACK_WAIT_MS: RangeInclusive<Ms> = 1_000..=30_000;

const DAY_MS: Ms = 86_400_000;

/// One setting, for the documentation.
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it is for and why its default is what it is.
    pub about: &'static str,
}

/// What of the deployment defaults are made of.
struct Defaults {
    policy: Policy,
    /// S1: off in a new workspace, on in the sandbox.
    switched_on: bool,
}

/// Makes both shapes of the settings of one table: what is given, and what is in force.
macro_rules! settings {
    (
        defaults $defaults:ident;
        $( $(#[doc = $doc:literal])+ $name:ident: $type:ty $(as $shown:ty)? = $default:expr $(, in $range:expr)?; )*
        without_default;
        $( $(#[doc = $doc_of_open:literal])+ $open:ident: $type_of_open:ty; )*
    ) => {
        /// Body of `PUT /v1/settings`: full replacement, everything optional, absent = default.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct SettingsInput {
            $(
                $(#[doc = $doc])+
                #[serde(default, skip_serializing_if = "Option::is_none")]
                $(#[schema(value_type = Option<$shown>)])?
                pub $name: Option<$type>,
            )*
            $(
                $(#[doc = $doc_of_open])+
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $open: Option<$type_of_open>,
            )*
        }

        /// Settings in force. See [`SettingsInput`] for what each means.
        #[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
        #[expect(missing_docs, reason = "each field is described where it is given")]
        pub struct Settings {
            $(
                $(#[schema(value_type = $shown)])?
                pub $name: $type,
            )*
            $( pub $open: Option<$type_of_open>, )*
        }

        /// Every setting, in the order of the table.
        pub const FIELDS: &[Field] = &[
            $( Field { name: stringify!($name), about: concat!($($doc),+) }, )*
            $( Field { name: stringify!($open), about: concat!($($doc_of_open),+) }, )*
        ];

        impl SettingsInput {
            fn over(self, $defaults: &Defaults) -> Settings {
                Settings {
                    $( $name: self.$name.unwrap_or_else(|| $default), )*
                    $( $open: self.$open, )*
                }
            }

            /// The numbers that were given, each with what it may be.
            fn numbers(&self) -> Vec<(&'static str, i64, RangeInclusive<i64>)> {
                let numbers = [$( $( (stringify!($name), self.$name.map(i64::from), $range), )? )*];
                numbers.into_iter().filter_map(|(name, value, range)| Some((name, value?, range))).collect()
            }
        }
    };
}

settings! {
    defaults d;

    /// Send texts ("phone number"). Off in a new workspace: texts cost money.
    phone_number: bool = d.switched_on;
    /// Send emails. Off in a new workspace: nobody is written to before somebody said so.
    email: bool = d.switched_on;
    /// Whether a bot's reply starts a text. Off: a bot answers everything, and each text costs money.
    bot_text: bool = false;
    /// The lowest grade of an ack that counts: `received`, `displayed` or `opened`. `displayed`, since a push that
    /// cannot be seen reached nobody.
    ack_grade: Grade as String = d.policy.ack_grade;
    /// How long a push may stay without an ack: 1,000–30,000. The deployment's `followup.ack_wait_ms`; 30 s is the
    /// promise.
    ack_wait_ms: i64 = d.policy.ack_wait_ms, in ACK_WAIT_MS;
    /// After this many counted acks without a sign of life, a device no longer counts; 0 = never. Three: a tablet in a
    /// drawer must not silence a person.
    unread_limit: u32 = d.policy.unread.unread_limit, in 0..=20;
    /// Only acks at least this old tell that nobody looks. An hour: a meeting is no drawer.
    unread_after_ms: i64 = d.policy.unread.unread_after_ms, in 0..=30 * DAY_MS;
    /// Without activity for this long = offline. 270 s: short of five minutes, within which people still look.
    idle_after_ms: i64 = d.policy.presence.idle_after_ms, in 1_000..=DAY_MS;
    /// Another page in front for this long = offline; 0 = at once. As long as without activity.
    hidden_after_ms: i64 = d.policy.presence.hidden_after_ms, in 0..=DAY_MS;
    /// An active page that says nothing for this long is gone. A minute: several heartbeats were lost.
    heartbeat_timeout_ms: i64 = d.policy.presence.heartbeat_timeout_ms, in 1_000..=DAY_MS;
    /// Between texts and emails of one conversation. Three minutes: a burst of replies is one text.
    repeat_gap_ms: i64 = d.policy.repeat_gap_ms, in 0..=DAY_MS;
    /// How long a push lives when no text or email can leave; at most four weeks, as FCM keeps it. A day: then the
    /// answer is old.
    push_ttl_ms: i64 = d.policy.push_ttl_ms, in 1_000..=28 * DAY_MS;
    /// Later than this after its deadline a follow-up goes by email only. Six hours: a text that late surprises.
    fallback_horizon_ms: i64 = d.policy.fallback_horizon_ms, in 1_000..=30 * DAY_MS;
    /// What a push shows, and so what its vendors see: `full`; `sender_only` = who answered; `none` = that there is an
    /// answer. `full`: most companies want it read at a glance.
    push_content: PushContent = PushContent::Full;
    /// What a text shows: `full`, or `link_only` = that there is an answer, and where. `full`, for the same reason.
    text_content: TextContent = TextContent::Full;
    /// How long a Korean SMS may be: `kr-90` = 90 bytes, 45 Hangul, what relays sell; `kr-140` = 140 bytes, 70 Hangul,
    /// for accounts that take them; Solapi's takes 90. What is longer goes as LMS.
    sms_profile: SmsProfile = SmsProfile::Kr90;
    /// Schemes that `link` may have. The web's; add your app's own to link into it.
    link_schemes: Vec<String> = vec!["https".into(), "http".into()];
    /// Whether a follow-up a minute goes through the server for nobody, with an alarm if it is not decided in time.
    /// Off: it costs the disk a few writes a minute.
    canary: bool = false;
    /// The numbers that texts come from, one a country: `{"US": "+14155550100"}`. Elsewhere they come from the
    /// deployment's, which is fine for follow-ups, but answers then do not reach you; chats that you begin need one of
    /// your own.
    senders: BTreeMap<Country, String> as BTreeMap<String, String> = BTreeMap::new();
    /// What a text goes as before SMS or LMS is tried, in this order: `alimtalk` (needs a template), `line`. None: they
    /// need contracts with Kakao and LINE.
    sns: Vec<Way> as Vec<String> = Vec::new();
    /// How long an Alimtalk or LINE message may stay without a word on whether it arrived. Three minutes: that is how
    /// long Kakao itself takes for uncertain.
    sns_report_wait_ms: i64 = d.policy.sns.report_wait_ms, in 1_000..=DAY_MS;
    /// What follows when that is over: `email_decides` = SMS or LMS, unless the email was accepted; `hold` = nothing;
    /// `xms` = SMS or LMS, though it may be a second text. `email_decides`: nobody is lost, and few are told twice.
    sns_unknown: SnsUnknown as String = d.policy.sns.unknown;

    without_default;

    /// The company's name as customers see it. Unset: the workspace's name.
    company_name: String;
    /// Where a text leads when no reply in it has a `link`: `{conversation_id}` in it stands for the conversation's.
    /// Unset: a page that names the company.
    conversation_url: String;
    /// Hosts that web links may lead to, such as `shop.example` or `*.shop.example`. Unset: any that your backend
    /// names.
    link_hosts: Vec<String>;
    /// ISO 3166 code of the country whose national phone numbers are read. Unset: only numbers with `+` are read.
    country: String;
    /// Countries that texts may go to, besides `country`, which always is among them. Unset: none but `country`, since
    /// whoever pumps texts does it abroad; in a sandbox any.
    countries: Vec<String>;
    /// Caps of texts that are lower than the deployment's. Unset: the deployment's.
    limits: LimitsInput;
    /// How emails look: logo, colour, footer. Unset: none, blue, none.
    branding: Branding;
    /// The address that answers to emails go to where the deployment reads none itself (`[mail] reply_domain`). Unset:
    /// they go to the sender, which nobody may read.
    support_email: String;
    /// Which of the deployment's text providers carry SMS and LMS where, in their order, a line a country and `*` for
    /// all others: `["KR: solapi, twilio", "*: twilio"]`. Unset: the deployment's routes.
    text_routes: Vec<String>;
    /// Ask the deployment's billing system for money when the wallet holds less than a threshold. Unset: nobody is
    /// asked, and texts end with the money.
    auto_charge: AutoCharge;
    /// Daily hours, on the customer's clock, in which no text is sent: it waits for their end. Push and email go at
    /// once. Unset: no hour is quiet, since an answer is awaited.
    quiet_hours: QuietHours;
}

/// When money is asked for, and how much (S3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AutoCharge {
    /// When the balance is below this, in millionths of the wallet's currency.
    pub threshold_micros: i64,
    /// How much, in millionths.
    pub amount_micros: i64,
}

/// Hours without texts (D10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuietHours {
    /// When they begin, such as `21:00`.
    pub start: String,
    /// When they end, such as `08:00`; before the start = on the next day.
    pub end: String,
    /// IANA name, for customers whose own zone is not known; may be left out if `country` has one zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// What a push shows (S10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PushContent {
    /// Who answered, and what.
    Full,
    /// Who answered.
    SenderOnly,
    /// That there is an answer.
    None,
}

/// What a text shows (S10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TextContent {
    /// Who answered, and what.
    Full,
    /// That there is an answer, and where.
    LinkOnly,
}

/// How long a Korean SMS may be (T4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum SmsProfile {
    /// 90 bytes.
    #[serde(rename = "kr-90")]
    Kr90,
    /// 140 bytes.
    #[serde(rename = "kr-140")]
    Kr140,
}

impl SmsProfile {
    /// Bytes of CP949 that an SMS holds.
    pub fn sms_bytes(self) -> u16 {
        match self {
            SmsProfile::Kr90 => 90,
            SmsProfile::Kr140 => 140,
        }
    }
}

/// One setting that has another value than before; `null` = its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldChange {
    /// Its name.
    pub field: String,
    /// What it was.
    pub old: Value,
    /// What it is.
    pub new: Value,
}

impl SettingsInput {
    /// What differs between what was given before and now, in the order of names.
    pub fn changes_to(&self, new: &SettingsInput) -> Vec<FieldChange> {
        let (before, after) = (fields_of(self), fields_of(new));
        let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let value = |of: &serde_json::Map<String, Value>, name: &String| of.get(name).cloned().unwrap_or(Value::Null);
        let changes = names.into_iter().map(|name| FieldChange {
            field: name.clone(),
            old: value(&before, name),
            new: value(&after, name),
        });
        changes.filter(|change| change.old != change.new).collect()
    }

    /// Which limits on texts are above the deployment's.
    pub fn above(&self, deployment: &Limits) -> Vec<FieldError> {
        self.limits.as_ref().map(|limits| limits.problems(deployment)).unwrap_or_default()
    }

    /// Which routes name what the deployment does not have.
    pub fn unknown_routes(&self, services: &Services) -> Vec<FieldError> {
        let known: Vec<&str> =
            services.text.iter().filter(|text| text.ways.contains(&Way::Xms)).map(|text| text.name.as_str()).collect();
        let lines = self.text_routes.iter().flatten().enumerate();
        let strange = lines.filter(|(_, line)| {
            Routes::parse(&[line]).is_ok_and(|routes| routes.names().any(|name| !known.contains(&name)))
        });
        let message = match known.is_empty() {
            true => "the deployment has no text account: leave the field out".to_owned(),
            false => format!("name providers of this deployment that carry SMS: {}", known.join(", ")),
        };
        strange.map(|(i, _)| check::error(&format!("text_routes[{i}]"), "unknown_provider", message.clone())).collect()
    }

    /// Everything that was not chosen has its default: the rules' numbers, the deployment's `ack_wait`, and the
    /// switches (S1) as `switched_on` says.
    pub fn in_force(self, deployment: &Policy, switched_on: bool) -> Settings {
        let policy = Policy { ack_wait_ms: deployment.ack_wait_ms, ..Policy::sandbox() };
        self.over(&Defaults { policy, switched_on })
    }
}

/// What was given, by name.
fn fields_of(input: &SettingsInput) -> serde_json::Map<String, Value> {
    match serde_json::to_value(input) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    }
}

impl Settings {
    /// What the rules take as given: these settings over the deployment's services and waits.
    pub fn policy(&self, deployment: &Policy) -> Policy {
        Policy {
            ack_wait_ms: self.ack_wait_ms,
            ack_grade: self.ack_grade,
            unread: UnreadPolicy { unread_limit: self.unread_limit, unread_after_ms: self.unread_after_ms },
            presence: PresencePolicy {
                idle_after_ms: self.idle_after_ms,
                hidden_after_ms: self.hidden_after_ms,
                heartbeat_timeout_ms: self.heartbeat_timeout_ms,
            },
            repeat_gap_ms: self.repeat_gap_ms,
            push_ttl_ms: self.push_ttl_ms,
            fallback_horizon_ms: self.fallback_horizon_ms,
            quiet: self.quiet(),
            sns: Sns { report_wait_ms: self.sns_report_wait_ms, unknown: self.sns_unknown },
            limits: self.limits_within(&deployment.limits),
            services: self.services(&deployment.services),
            wallet: deployment.wallet.clone().map(|terms| Terms { auto_charge: self.asks_for_money(), ..terms }),
            channels: Channels { phone_number: self.phone_number, email: self.email, bot_text: self.bot_text },
            ..deployment.clone()
        }
    }

    /// The deployment's, by routes of its own if there are some.
    fn services(&self, deployment: &Services) -> Services {
        // A line that cannot be read was refused before it came here.
        let own = self.text_routes.as_deref().and_then(|lines| Routes::parse(lines).ok());
        Services { routes: own.unwrap_or_else(|| deployment.routes.clone()), ..deployment.clone() }
    }

    /// D10, for the rules; `None` = off. Where no zone is known it is refused before it comes here.
    fn quiet(&self) -> Option<quiet::QuietHours> {
        let QuietHours { start, end, time_zone } = self.quiet_hours.as_ref()?;
        let country = || self.country.as_deref().and_then(quiet::zone_of_country);
        Some(quiet::QuietHours {
            start_minute: minute(start)?,
            end_minute: minute(end)?,
            time_zone: time_zone.as_deref().or_else(country)?.to_owned(),
        })
    }

    fn asks_for_money(&self) -> Option<wallet::AutoCharge> {
        let AutoCharge { threshold_micros, amount_micros } = self.auto_charge?;
        Some(wallet::AutoCharge { threshold_micros, amount_micros })
    }

    fn limits_within(&self, deployment: &Limits) -> Limits {
        let within = self.limits.as_ref().map_or_else(|| deployment.clone(), |limits| limits.within(deployment));
        let countries = limits::countries(self.countries.as_deref(), self.country.as_deref(), deployment);
        Limits { countries, ..within }
    }

    /// The country whose national numbers are read (T4).
    pub fn region(&self) -> Option<Region> {
        self.country.as_deref().and_then(region)
    }
}

/// `HH:MM` in minutes from midnight.
fn minute(text: &str) -> Option<u16> {
    let number = |digits: &str, limit: u16| {
        let all = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|number| all && *number < limit)
    };
    let (hours, minutes) = text.split_once(':')?;
    Some(number(hours, 24)? * 60 + number(minutes, 60)?)
}
