//! What may be done with a customer's contact data (S8).

use crate::Ms;
use serde::{Deserialize, Serialize};

/// The purpose of chats that the company begins (D6). Others are the company's own words: kept, shown and exported.
pub const OUTREACH: &str = "outreach";
/// Consents of one customer that are kept; what was replaced longest ago makes room, the last word on outreach never.
pub const MAX_CONSENTS: usize = 32;

/// Where contact data came from, and so what it serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContactSource {
    /// Given with the account.
    #[default]
    Account,
    /// Given to be answered; serves only answering the customer's own inquiry.
    FollowUp,
    /// Given with an explicit consent.
    Consent,
}

/// A customer's word that their contact data may serve a purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// What for.
    pub purpose: String,
    /// Which wording they agreed to; `None` = they never did, and objected.
    #[serde(default, rename = "wording", skip_serializing_if = "Option::is_none")]
    pub wording_version: Option<String>,
    /// When they gave it, or objected.
    pub at: Ms,
    /// Where, by the company's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When they withdrew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_at: Option<Ms>,
}

/// Whether contact data may serve a chat that the company begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outreach {
    /// It may.
    Allowed,
    /// The company says that there is a consent, and never said which: it may, and the company should know.
    Unrecorded,
    /// It serves only answers, or the consent was withdrawn.
    Refused,
}

impl Outreach {
    /// The newest word for this purpose goes before where the contact data came from.
    pub fn of(source: ContactSource, consents: &[Consent]) -> Outreach {
        match (newest(consents, OUTREACH), source) {
            (Some(consent), _) if consent.withdrawn_at.is_none() => Outreach::Allowed,
            (Some(_), _) | (None, ContactSource::FollowUp) => Outreach::Refused,
            (None, ContactSource::Account) => Outreach::Allowed,
            (None, ContactSource::Consent) => Outreach::Unrecorded,
        }
    }

    /// What the contact data counts as when a way out is judged: with a consent it serves outreach wherever it came
    /// from, without one that was withdrawn it serves answers alone.
    pub fn source(self, given: ContactSource) -> ContactSource {
        match (self, given) {
            (Outreach::Refused, _) => ContactSource::FollowUp,
            (_, ContactSource::FollowUp) => ContactSource::Consent,
            (_, given) => given,
        }
    }
}

/// Adds a consent; the same again changes nothing, also after it was withdrawn. One that is noted late, and was given
/// before a withdrawal, was withdrawn by it. `false` = nothing changed.
pub fn give(consents: &mut Vec<Consent>, mut given: Consent) -> bool {
    let same = |known: &Consent| {
        (&known.purpose, &known.wording_version, known.at) == (&given.purpose, &given.wording_version, given.at)
    };
    if consents.iter().any(same) {
        return false;
    }
    let withdrawn =
        consents.iter().filter(|known| known.purpose == given.purpose).filter_map(|known| known.withdrawn_at);
    given.withdrawn_at = given.withdrawn_at.or_else(|| withdrawn.filter(|at| *at >= given.at).min());
    add(consents, given);
    true
}

fn add(consents: &mut Vec<Consent>, consent: Consent) {
    consents.push(consent);
    // In the order of their giving, whatever the order of their coming.
    consents.sort_by_key(|consent| consent.at);
    if consents.len() > MAX_CONSENTS {
        let stands = |at: usize| {
            let consent = &consents[at];
            !consents[at + 1..].iter().any(|later| later.purpose == consent.purpose)
        };
        let own_word = |at: &usize| consents[*at].purpose != OUTREACH;
        let oldest = (0..consents.len()).find(|at| !stands(*at)).or_else(|| (0..consents.len()).find(own_word));
        consents.remove(oldest.unwrap_or(0));
    }
}

/// Withdraws what stands of a purpose; `None` = there never was a consent for it, `false` = it was withdrawn before.
/// Outreach may need none, so that an objection to it is noted without one.
pub fn withdraw(consents: &mut Vec<Consent>, purpose: &str, now: Ms) -> Option<bool> {
    let Some(standing) = consents.iter_mut().rev().find(|consent| consent.purpose == purpose) else {
        let objection = Consent {
            purpose: purpose.to_owned(),
            wording_version: None,
            at: now,
            source: None,
            withdrawn_at: Some(now),
        };
        return (purpose == OUTREACH).then(|| add(consents, objection)).map(|()| true);
    };
    if standing.withdrawn_at.is_some() {
        return Some(false);
    }
    standing.withdrawn_at = Some(now);
    Some(true)
}

/// The consent that stands or stood last.
fn newest<'a>(consents: &'a [Consent], purpose: &str) -> Option<&'a Consent> {
    consents.iter().rev().find(|consent| consent.purpose == purpose)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consent(purpose: &str, at: Ms) -> Consent {
        let wording_version = Some(format!("v{at}"));
        Consent { purpose: purpose.into(), wording_version, at, source: None, withdrawn_at: None }
    }

    /// S8, D6: the whole table.
    #[test]
    fn a_consent_goes_before_where_contact_data_came_from() {
        use ContactSource::{Account, Consent, FollowUp};
        let none: &[super::Consent] = &[];
        let other = [consent("newsletter", 1)];
        let given = [consent(OUTREACH, 1)];
        let mut withdrawn = vec![consent(OUTREACH, 1)];
        assert_eq!(withdraw(&mut withdrawn, OUTREACH, 2), Some(true));
        let mut objected = Vec::new();
        assert_eq!(withdraw(&mut objected, OUTREACH, 2), Some(true));
        for (source, consents, allowed, counts_as) in [
            (Account, none, Outreach::Allowed, Account),
            (FollowUp, none, Outreach::Refused, FollowUp),
            (Consent, none, Outreach::Unrecorded, Consent),
            (FollowUp, &other, Outreach::Refused, FollowUp),
            (Account, &given, Outreach::Allowed, Account),
            (FollowUp, &given, Outreach::Allowed, Consent),
            (Consent, &given, Outreach::Allowed, Consent),
            (Account, &withdrawn, Outreach::Refused, FollowUp),
            (FollowUp, &withdrawn, Outreach::Refused, FollowUp),
            (Consent, &withdrawn, Outreach::Refused, FollowUp),
            (Account, &objected, Outreach::Refused, FollowUp),
            (Consent, &objected, Outreach::Refused, FollowUp),
        ] {
            let found = Outreach::of(source, consents);
            assert_eq!((found, found.source(source)), (allowed, counts_as), "{source:?} {consents:?}");
        }
    }

    /// S8: the last word counts, in whatever order they come; a repeat does not undo a withdrawal.
    #[test]
    fn the_last_word_counts() {
        let mut consents = Vec::new();
        assert!(give(&mut consents, consent(OUTREACH, 5)));
        assert_eq!(withdraw(&mut consents, OUTREACH, 6), Some(true));
        assert_eq!(withdraw(&mut consents, OUTREACH, 7), Some(false));
        assert_eq!(withdraw(&mut consents, "newsletter", 7), None);
        assert!(!give(&mut consents, consent(OUTREACH, 5)), "the same word");
        assert!(give(&mut consents, consent(OUTREACH, 3)), "an older one that came late");
        assert_eq!(Outreach::of(ContactSource::Consent, &consents), Outreach::Refused);
        assert!(give(&mut consents, consent(OUTREACH, 8)));
        assert_eq!(Outreach::of(ContactSource::FollowUp, &consents), Outreach::Allowed);
    }

    /// Invariant 7: what was replaced makes room, what stands stays.
    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let mut consents = vec![consent("newsletter", 0)];
        for at in 1..100 {
            give(&mut consents, consent(OUTREACH, at));
        }
        assert_eq!(consents.len(), MAX_CONSENTS);
        assert_eq!((consents[0].purpose.as_str(), consents[MAX_CONSENTS - 1].at), ("newsletter", 99));
    }

    /// S8, D6: a consent from before a withdrawal stays withdrawn, whenever it is noted; both sides of the instant.
    #[test]
    fn s8_a_late_noted_consent_undoes_no_withdrawal() {
        let mut given = vec![consent(OUTREACH, 1)];
        assert_eq!(withdraw(&mut given, OUTREACH, 10), Some(true));
        let mut objected = Vec::new();
        assert_eq!(withdraw(&mut objected, OUTREACH, 10), Some(true));
        assert_eq!(withdraw(&mut objected, OUTREACH, 11), Some(false), "noted once");
        for before in [given, objected] {
            for (at, expected) in [(9, Outreach::Refused), (10, Outreach::Refused), (11, Outreach::Allowed)] {
                let mut consents = before.clone();
                assert!(give(&mut consents, consent(OUTREACH, at)));
                assert_eq!(Outreach::of(ContactSource::Consent, &consents), expected, "{at}: {consents:?}");
                let late = consents.iter().find(|consent| consent.at == at && consent.wording_version.is_some());
                assert_eq!(late.unwrap().withdrawn_at, (at <= 10).then_some(10));
            }
            let mut consents = before.clone();
            assert!(give(&mut consents, consent("newsletter", 9)));
            assert!(consents.iter().any(|known| known.purpose == "newsletter" && known.withdrawn_at.is_none()));
        }
    }

    /// S8: however many purposes of the company's own there are, they do not push out a word on outreach.
    #[test]
    fn s8_the_last_word_on_outreach_is_never_forgotten() {
        let mut withdrawn = vec![consent(OUTREACH, 1)];
        assert_eq!(withdraw(&mut withdrawn, OUTREACH, 2), Some(true));
        for n in 0..40 {
            assert!(give(&mut withdrawn, consent(&format!("purpose-{n}"), 10 + n)));
        }
        assert_eq!(withdrawn.len(), MAX_CONSENTS);
        assert_eq!(Outreach::of(ContactSource::Account, &withdrawn), Outreach::Refused);
        let mut full: Vec<Consent> = (0..40).map(|n| consent(&format!("purpose-{n}"), n)).collect();
        assert_eq!(withdraw(&mut full, OUTREACH, 50), Some(true));
        assert_eq!(Outreach::of(ContactSource::Account, &full), Outreach::Refused);
    }
}
