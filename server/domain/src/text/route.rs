//! Which ways a text can take, and in which order: SNS before XMS, a second provider after the first (T1, T2).

use super::plan::Country;
use crate::Ms;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What carries a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Kakao Alimtalk: an approved template to a Korean number (T3).
    Alimtalk,
    /// LINE.
    Line,
    /// SMS or LMS.
    Xms,
}

/// How a route counts what a text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// GSM 03.38 or UCS-2, in parts.
    International,
    /// Bytes of CP949.
    Korean {
        /// The longest SMS: 90, or 140.
        sms_bytes: u16,
        /// Whether what is longer goes as LMS.
        lms: bool,
    },
}

/// Whom a text provider can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every number.
    Anybody,
    /// Numbers of these countries.
    Countries(Vec<Country>),
    /// Customers whose LINE user is known.
    LineUsers,
}

/// A text provider as the rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextService {
    /// Its name in deliveries.
    pub name: String,
    /// What it carries.
    pub ways: Vec<Way>,
    /// Whom it reaches.
    pub reach: Reach,
    /// Whether a repeat under one key is one effect; without it an unknown outcome is never sent again.
    pub idempotent: bool,
    /// Whether it says later of each SNS that it took whether it arrived: until then nobody knows.
    pub confirms: bool,
    /// Whether it counts in bytes of CP949 and carries LMS, to Korean numbers.
    pub is_korean: bool,
    /// The longest Korean SMS that it sells, in bytes of CP949.
    pub max_sms_bytes: u16,
    /// Whether its number is all workspaces': what customers answer to it reaches none of them (T6).
    pub is_shared: bool,
}

/// One way by one provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hop {
    /// What it goes as.
    pub way: Way,
    /// The provider's name.
    pub via: String,
}

/// Which providers carry XMS, by the number's country, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Countries that have an order of their own.
    pub of_country: BTreeMap<Country, Vec<String>>,
    /// All others; empty = every provider, Korean ones first to Korean numbers.
    pub others: Vec<String>,
}

/// Who is to be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Of the number; `None` = of no country.
    pub country: Option<Country>,
    /// Whether there is a number.
    pub has_number: bool,
    /// Whether the LINE user is known.
    pub has_line_user: bool,
}

impl TextService {
    /// An ordinary provider of XMS.
    pub fn xms(name: &str) -> TextService {
        TextService {
            name: name.to_owned(),
            ways: vec![Way::Xms],
            reach: Reach::Anybody,
            idempotent: false,
            confirms: false,
            is_korean: false,
            max_sms_bytes: u16::MAX,
            is_shared: true,
        }
    }

    fn carries(&self, way: Way, to: &Recipient) -> bool {
        let reaches = match &self.reach {
            // A number leads to a LINE user only where LINE says so.
            Reach::Anybody if way == Way::Line => to.has_line_user,
            Reach::Anybody => to.has_number,
            Reach::Countries(countries) => to.has_number && to.country.is_some_and(|c| countries.contains(&c)),
            Reach::LineUsers => to.has_line_user,
        };
        // Kakao delivers Alimtalk to Korean numbers alone.
        reaches && self.ways.contains(&way) && (way != Way::Alimtalk || to.country == Country::parse("KR"))
    }

    /// How it counts a text to this country: an SMS is as long as the workspace wants, and as it sells.
    pub fn carrier(&self, country: Option<Country>, sms_bytes: u16) -> Carrier {
        match self.is_korean && country == Country::parse("KR") {
            true => Carrier::Korean { sms_bytes: sms_bytes.min(self.max_sms_bytes), lms: true },
            false => Carrier::International,
        }
    }
}

/// How long a block of one way is kept to: nobody says when it is lifted, so that way is tried again after it (T7).
pub const BLOCK_LASTS_MS: Ms = 30 * 86_400_000;

/// Every hop to this recipient, in the order in which they are tried: the workspace's SNS, then XMS.
pub fn hops(to: &Recipient, sns: &[Way], services: &[TextService], routes: &Routes) -> Vec<Hop> {
    let hop = |way: Way, service: &TextService| Hop { way, via: service.name.clone() };
    let mut hops = Vec::new();
    for way in sns.iter().filter(|way| **way != Way::Xms) {
        hops.extend(services.iter().filter(|service| service.carries(*way, to)).map(|service| hop(*way, service)));
    }
    let carries = |service: &&TextService| service.carries(Way::Xms, to);
    let named = to.country.and_then(|country| routes.of_country.get(&country)).unwrap_or(&routes.others);
    if named.is_empty() {
        let mut all: Vec<_> = services.iter().filter(carries).collect();
        // Elsewhere a Korean relay is the last resort; in Korea it is the first.
        let in_korea = to.country == Country::parse("KR");
        all.sort_by_key(|service| service.is_korean != in_korea);
        hops.extend(all.into_iter().map(|service| hop(Way::Xms, service)));
    } else {
        let of_name = |name: &String| services.iter().filter(carries).find(|service| service.name == *name);
        hops.extend(named.iter().filter_map(of_name).map(|service| hop(Way::Xms, service)));
    }
    hops
}

impl Way {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Way::Alimtalk => "alimtalk",
            Way::Line => "line",
            Way::Xms => "xms",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn country(code: &str) -> Option<Country> {
        Country::parse(code)
    }

    fn house() -> Vec<TextService> {
        let line = TextService { ways: vec![Way::Line], reach: Reach::LineUsers, ..TextService::xms("line") };
        let asia = ["JP", "TH", "TW"].into_iter().filter_map(country).collect();
        let line_number = TextService {
            ways: vec![Way::Line],
            reach: Reach::Countries(asia),
            confirms: true,
            ..TextService::xms("line_notification")
        };
        let solapi = TextService { ways: vec![Way::Alimtalk, Way::Xms], is_korean: true, ..TextService::xms("solapi") };
        vec![TextService::xms("twilio"), solapi, line, line_number]
    }

    fn by(to: &Recipient, sns: &[Way], routes: &Routes) -> Vec<String> {
        let names = hops(to, sns, &house(), routes).into_iter().map(|hop| format!("{}:{}", hop.way.as_str(), hop.via));
        names.collect()
    }

    /// T1: the workspace's SNS in its order, then XMS by the country's own relays first.
    #[test]
    fn t1_sns_comes_before_xms() {
        let korean = Recipient { country: country("KR"), has_number: true, has_line_user: true };
        let both = [Way::Line, Way::Alimtalk];
        let all = ["line:line", "alimtalk:solapi", "xms:solapi", "xms:twilio"];
        assert_eq!(by(&korean, &both, &Routes::default()), all);
        assert_eq!(by(&korean, &[], &Routes::default()), ["xms:solapi", "xms:twilio"]);
        let japanese = Recipient { country: country("JP"), has_line_user: false, ..korean };
        assert_eq!(by(&japanese, &both, &Routes::default()), ["line:line_notification", "xms:twilio", "xms:solapi"]);
        let nobody = Recipient { country: None, has_number: false, has_line_user: true };
        assert_eq!(by(&nobody, &both, &Routes::default()), ["line:line"], "LINE needs no number");
    }

    /// T4: routes are by country; a provider that is not configured is passed over.
    #[test]
    fn routes_are_by_country() {
        let korean = Recipient { country: country("KR"), has_number: true, has_line_user: false };
        let own = country("KR").into_iter().map(|kr| (kr, vec!["smpp".to_owned(), "twilio".into()])).collect();
        let routes = Routes { of_country: own, others: vec!["solapi".into()] };
        assert_eq!(by(&korean, &[Way::Alimtalk], &routes), ["alimtalk:solapi", "xms:twilio"]);
        let american = Recipient { country: country("US"), ..korean };
        assert_eq!(by(&american, &[Way::Alimtalk], &routes), ["xms:solapi"]);
    }

    /// T4: a longer SMS than a relay sells is refused there, so it goes as LMS.
    #[test]
    fn t4_an_sms_is_no_longer_than_its_relay_sells() {
        let relay = |max_sms_bytes| TextService { is_korean: true, max_sms_bytes, ..TextService::xms("relay") };
        let korean = |sms_bytes| Carrier::Korean { sms_bytes, lms: true };
        assert_eq!(relay(90).carrier(country("KR"), 140), korean(90));
        assert_eq!(relay(u16::MAX).carrier(country("KR"), 140), korean(140));
        assert_eq!(relay(140).carrier(country("KR"), 90), korean(90));
    }
}
