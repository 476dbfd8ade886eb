//! Both sides of every cap, window and price.

use super::*;
use crate::text::{Encoding, Form, Hop, Sender, Way};
use crate::wallet::{Kind, Price};

/// A full hour, not a midnight.
const NOW: Ms = 1_795_370_400_000;

fn caps(scope: Scope, per_hour: Option<u32>, per_day: Option<u32>) -> Caps {
    Caps::of([(scope, Cap { per_hour, per_day })])
}

/// Takes until something is full: how many there were, and what stopped it.
fn fill(counters: &mut Counters, caps: &Caps, now: Ms) -> (u32, Skip) {
    for count in 0.. {
        match counters.take(caps, now) {
            Ok((next, _)) => *counters = next,
            Err(skip) => return (count, skip),
        }
    }
    unreachable!("a cap is finite")
}

fn plan(country: &str, segments: u16) -> TextPlan {
    TextPlan {
        hop: Hop { way: Way::Xms, via: "text".into() },
        then: Vec::new(),
        passed: None,
        country: Country::parse(country),
        number: NumberKind::Ordinary,
        form: Form::Sms,
        encoding: Encoding::Gsm7,
        segments,
        sender: Sender::Shared(None),
        shows: vec![1],
    }
}

/// S4: the cap is the last that leaves, in each scope, per hour and per day; the next window is empty.
#[test]
fn each_cap_holds_to_the_text_and_to_the_millisecond() {
    for scope in Scope::ALL {
        for (window, caps) in [(Window::Hour, caps(scope, Some(3), None)), (Window::Day, caps(scope, None, Some(3)))] {
            let mut counters = Counters::default();
            assert_eq!(fill(&mut counters, &caps, NOW), (3, Skip::Capped(scope)));
            let end = window.end(NOW);
            assert_eq!(counters.take(&caps, end - 1), Err(Skip::Capped(scope)), "{scope:?} {window:?}");
            assert_eq!(fill(&mut counters, &caps, end), (3, Skip::Capped(scope)));
        }
    }
}

/// S4: the day's cap stands above the hour's.
#[test]
fn hours_add_up_to_a_day() {
    let caps = caps(Scope::Number, Some(5), Some(12));
    let mut counters = Counters::default();
    let midnight = Window::Day.end(NOW);
    for (hour, expected) in [(0, 5), (1, 5), (2, 2), (3, 0)] {
        assert_eq!(fill(&mut counters, &caps, midnight + hour * HOUR_MS).0, expected, "hour {hour}");
    }
}

/// S4: a cap of nothing lets nothing out; no cap lets everything out.
#[test]
fn nothing_and_anything_are_caps_too() {
    let mut counters = Counters::default();
    let none = caps(Scope::Workspace, Some(0), None);
    assert_eq!(fill(&mut counters, &none, NOW), (0, Skip::Capped(Scope::Workspace)));
    assert!(!Caps::default().counts() && none.counts());
    for _ in 0..1_000 {
        counters = counters.take(&Caps::default(), NOW).expect("there is no cap").0;
    }
    assert_eq!(counters.of(Scope::Number).hour.count, 1_000);
}

/// S4: a clock that is set back by a moment frees nothing; one that was a year ahead does not hold for a year.
#[test]
fn clocks_that_are_set_back_neither_free_nor_block() {
    let caps = caps(Scope::Number, Some(2), Some(2));
    let mut counters = Counters::default();
    fill(&mut counters, &caps, NOW);
    assert!(counters.take(&caps, NOW - 1).is_err());
    let mut ahead = Counters::default();
    fill(&mut ahead, &caps, NOW + 365 * DAY_MS);
    assert_eq!(fill(&mut ahead, &caps, NOW).0, 2);
}

/// S4: what certainly did not leave is given back, once the window is over not any more, and never below nothing.
#[test]
fn what_is_given_back_was_counted_in_this_window() {
    let caps = caps(Scope::Number, Some(2), Some(9));
    let mut counters = Counters::default();
    fill(&mut counters, &caps, NOW);
    assert_eq!(fill(&mut counters.give_back(NOW), &caps, NOW).0, 1);
    let later = counters.take(&caps, NOW + HOUR_MS).expect("a new hour").0;
    let given = later.give_back(NOW).of(Scope::Number);
    assert_eq!((given.hour.count, given.day.count), (1, 2), "the hour it was counted in is over, the day is not");
    assert_eq!(Counters::default().give_back(0).of(Scope::Number).hour.count, 0);
}

/// S4: alarms at 50, 80 and 100 % of the workspace's caps, each once a window, also when texts are given back.
#[test]
fn alarms_ring_once_a_window() {
    let caps = Caps::of([
        (Scope::Workspace, Cap { per_hour: Some(10), per_day: None }),
        (Scope::Number, Cap { per_hour: Some(20), per_day: None }),
    ]);
    let mut counters = Counters::default();
    let mut rang = Vec::new();
    for text in 1..=10 {
        let (next, filled) = counters.take(&caps, NOW).expect("below the cap");
        rang.extend(filled.into_iter().map(|f| (text, f.percent)));
        // Counted, given back and counted again.
        let (next, filled) = next.give_back(NOW).take(&caps, NOW).expect("below the cap");
        assert_eq!(filled, []);
        counters = next;
    }
    assert_eq!(rang, [(5, 50), (8, 80), (10, 100)]);
    let (_, filled) = counters.take(&caps, Window::Hour.end(NOW)).expect("a new hour");
    assert_eq!(filled, []);
    let one = Caps::of([(Scope::Workspace, Cap { per_hour: None, per_day: Some(1) })]);
    let (_, filled) = Counters::default().take(&one, NOW).expect("one may leave");
    assert_eq!(filled, [Filled { window: Window::Day, percent: 100 }], "the highest alone");
}

/// S4: a workspace's caps can only be lower than the deployment's.
#[test]
fn a_workspace_only_lowers_caps() {
    let ceiling = caps(Scope::Number, Some(5), None);
    for (mine, expected) in [(None, Some(5)), (Some(4), Some(4)), (Some(5), Some(5)), (Some(6), Some(5))] {
        assert_eq!(caps(Scope::Number, mine, None).within(&ceiling).cap(Scope::Number).per_hour, expected, "{mine:?}");
    }
    assert_eq!(caps(Scope::Number, None, Some(7)).within(&ceiling).cap(Scope::Number).per_day, Some(7));
}

/// S4: countries that were not switched on get nothing, nor do numbers of no country.
#[test]
fn only_countries_that_are_on_are_written_to() {
    let on = |countries: Option<&[&str]>| Limits {
        countries: countries.map(|codes| codes.iter().filter_map(|code| Country::parse(code)).collect()),
        ..Limits::none()
    };
    assert!(!on(None).judges() && on(Some(&[])).judges());
    assert_eq!(on(None).allow(&plan("", 1), NOW), Ok(()));
    assert_eq!(on(Some(&["KR"])).allow(&plan("KR", 1), NOW), Ok(()));
    for (countries, to) in [(&["KR"][..], "US"), (&["KR"], ""), (&[], "KR")] {
        assert_eq!(on(Some(countries)).allow(&plan(to, 1), NOW), Err(Skip::CountryOff), "{to}");
    }
}

/// S4: premium and unassigned numbers are refused, where that is asked for.
#[test]
fn only_ordinary_numbers_are_written_to() {
    let strict = Limits { ordinary_numbers_only: true, ..Limits::none() };
    for (number, expected) in [
        (NumberKind::Ordinary, Ok(())),
        (NumberKind::Premium, Err(Skip::PremiumNumber)),
        (NumberKind::Unassigned, Err(Skip::UnassignedNumber)),
    ] {
        let plan = TextPlan { number, ..plan("KR", 1) };
        assert_eq!(strict.allow(&plan, NOW), expected);
        assert_eq!(Limits::none().allow(&plan, NOW), Ok(()));
    }
}

/// S4: the maximum itself is still allowed; a price that is not known is not.
#[test]
fn the_maximum_price_is_of_all_parts() {
    let price = |country: &str, micros| Price {
        from: NOW,
        country: Country::parse(country),
        kind: Kind::Sms,
        micros,
        pu_milli: 1_000,
    };
    let list = PriceList { currency: "USD".into(), prices: vec![price("KR", 9_000), price("", 50_000)] };
    let limits = Limits { max_price_micros: Some(18_000), prices: Arc::new(list), ..Limits::none() };
    assert_eq!(limits.allow(&plan("KR", 2), NOW), Ok(()));
    assert_eq!(limits.allow(&plan("KR", 3), NOW), Err(Skip::PriceTooHigh));
    assert_eq!(limits.allow(&plan("US", 1), NOW), Err(Skip::PriceTooHigh), "everywhere else");
    assert_eq!(limits.allow(&plan("US", 1), NOW - 1), Err(Skip::PriceUnknown));
    let unpriced = Limits { max_price_micros: None, ..limits };
    assert_eq!(unpriced.allow(&plan("US", 1), NOW - 1), Ok(()), "no maximum: a price need not be known");
    assert!(!unpriced.judges());
}
