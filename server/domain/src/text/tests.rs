//! T4, T5, T6: parts, cuts and senders, each number on both sides.

use super::*;
use crate::followup::{Kind, Skip};
use proptest::prelude::*;
use std::collections::BTreeMap;
use unicode_segmentation::UnicodeSegmentation as _;

fn count(text: &str) -> Size {
    super::count(text, Carrier::International)
}

fn fit(head: &str, ending: &str, max_segments: u16) -> Fitted {
    super::fit(head, ending, Carrier::International, max_segments)
}

fn segments(text: &str) -> (Encoding, u16) {
    let size = count(text);
    (size.encoding, size.segments)
}

/// T4: 160/153 and 70/67, both sides of each.
#[test]
fn t4_parts_on_both_sides_of_each_number() {
    use Encoding::{Gsm7, Ucs2};
    assert_eq!(segments(""), (Gsm7, 1));
    for (n, parts) in [(160, 1), (161, 2), (306, 2), (307, 3), (459, 3), (460, 4)] {
        assert_eq!(segments(&"a".repeat(n)), (Gsm7, parts), "{n}");
    }
    for (n, parts) in [(70, 1), (71, 2), (134, 2), (135, 3), (201, 3), (202, 4)] {
        assert_eq!(segments(&"가".repeat(n)), (Ucs2, parts), "{n}");
    }
    assert_eq!((count(&"a".repeat(160)).bytes(), count(&"가".repeat(70)).bytes()), (140, 140));
}

/// T4: an extension character takes two, and is not torn from its escape.
#[test]
fn t4_extension_characters_double_and_stay_whole() {
    assert_eq!(segments(&"€".repeat(80)), (Encoding::Gsm7, 1));
    assert_eq!(segments(&"€".repeat(81)), (Encoding::Gsm7, 2));
    // 152 + 2 would be 153 and one torn: the pair moves, and 153 of the next part are full with 151 more.
    let torn = format!("{}€{}", "a".repeat(152), "b".repeat(151));
    assert_eq!((count(&torn).units, count(&torn).segments), (305, 2));
    assert_eq!(count(&format!("{torn}b")).segments, 3, "306 units that do not fit into two");
}

/// T4: neither a surrogate pair nor a grapheme is torn.
#[test]
fn t4_graphemes_stay_whole() {
    let family = "👨‍👩‍👧‍👦";
    assert_eq!(family.encode_utf16().count(), 11);
    // Six fit into 67, the seventh does not, although 66 + 1 would.
    assert_eq!(segments(&family.repeat(7)), (Encoding::Ucs2, 2));
    assert_eq!(segments(&format!("{}{}", "가".repeat(66), "😀".repeat(34))), (Encoding::Ucs2, 3));
    let monster = format!("e{}", "\u{301}".repeat(200));
    assert_eq!(segments(&monster), (Encoding::Ucs2, 3), "what fills a part is torn between characters");
}

/// T5: what only looks better is replaced where that saves a part, and nowhere else.
#[test]
fn t5_look_alikes_save_a_part() {
    let long = format!("It\u{2019}s \u{201c}ready\u{201d} \u{2014} {}", "x".repeat(80));
    let fitted = fit(&long, "", 3);
    assert_eq!((fitted.size.encoding, fitted.size.segments), (Encoding::Gsm7, 1));
    assert!(fitted.text.starts_with("It's \"ready\" - x"));
    let short = fit("It\u{2019}s ready", "", 3);
    assert_eq!((short.text.as_str(), short.size.encoding), ("It\u{2019}s ready", Encoding::Ucs2));
    let korean = format!("\u{201c}{}\u{201d}", "가".repeat(100));
    assert_eq!(fit(&korean, "", 3).text, korean, "it is no GSM text, whatever is replaced");
}

/// T4: at most three parts, and the ending is always there.
#[test]
fn t4_a_long_text_is_cut_before_its_ending() {
    let link = "\nhttps://t.example/l/AAAAAAAAAAAAAAAAAAAA";
    let room = 459 - link.len();
    let fits = fit(&"a".repeat(room), link, 3);
    assert_eq!((fits.is_cut, fits.size.segments, fits.size.units), (false, 3, 459));
    let cut = fit(&"a".repeat(room + 1), link, 3);
    assert!(cut.is_cut && cut.text.ends_with(&format!("aaa...{link}")));
    assert_eq!((cut.size.segments, cut.size.units), (3, 459));
    let korean = fit(&"가".repeat(10_000), link, 3);
    assert!(korean.text.ends_with(&format!("가…{link}")));
    assert_eq!((korean.size.segments, korean.size.units), (3, 201));
    let quotes = fit(&"\u{2019}".repeat(10_000), link, 3);
    assert_eq!((quotes.size.encoding, quotes.size.units), (Encoding::Gsm7, 459), "twice as much is read");
    let no_room = fit("head", &"y".repeat(500), 3);
    assert_eq!(no_room.text, format!("...{}", "y".repeat(500)), "a link is never cut");
}

/// T6: the own number of the country, else the deployment's; outreach only from an own one; never an unknown one.
#[test]
fn t6_the_sender_is_of_the_country() {
    let (us, fr) = (Country::parse("US"), Country::parse("FR"));
    let own: BTreeMap<Country, String> = [(us.unwrap(), "+15005550006".to_owned())].into();
    let senders = Senders { shared: Some("+33900000000".into()), ..Senders::default() };
    assert_eq!(senders.of(us, &own), Sender::Own("+15005550006".into()));
    assert_eq!(senders.of(fr, &own), Sender::Shared(Some("+33900000000".into())));
    assert_eq!(senders.of(None, &own), Sender::Shared(Some("+33900000000".into())));
    let registered = Senders { registered: vec!["+33900000000".into()], ..senders.clone() };
    assert_eq!(registered.of(us, &own), Sender::Unregistered);
    assert_eq!(registered.of(fr, &own), Sender::Shared(Some("+33900000000".into())));
    let sandbox = Senders { is_everybodys: true, ..senders };
    let plan = |sender| TextPlan {
        hop: Hop { way: Way::Xms, via: "text".into() },
        then: Vec::new(),
        passed: None,
        country: us,
        number: NumberKind::Ordinary,
        form: Form::Sms,
        encoding: Encoding::Gsm7,
        segments: 1,
        sender,
        shows: vec![1],
    };
    assert_eq!(plan(sandbox.of(fr, &own)).refusal(Kind::Outreach), None);
    assert_eq!(plan(Sender::Shared(None)).refusal(Kind::Outreach), Some(Skip::NoSender));
    assert_eq!(plan(Sender::Shared(None)).refusal(Kind::Reply), None);
    assert_eq!(plan(Sender::Unregistered).refusal(Kind::Reply), Some(Skip::SenderUnregistered));
}

pub(super) fn any_text(max: usize) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "[ -~]{1,20}",
        2 => "[€\\[\\]{}|~^]{1,9}",
        2 => "[가-힣]{1,12}",
        2 => Just("👨\u{200d}👩\u{200d}👧\u{200d}👦".to_owned()),
        1 => Just("e\u{301}\u{327}".to_owned()),
        1 => Just("🇰🇷".to_owned()),
        1 => Just("\u{2019}\u{2026}\r\n".to_owned()),
        1 => any::<String>(),
    ];
    proptest::collection::vec(piece, 0..max).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// T4: whatever the text, it fits, ends with its ending, and begins as it did; one grapheme more would not fit.
    #[test]
    fn t4_cuts_fit_and_are_the_longest(head in any_text(80), max in 1u16..4) {
        let ending = "\nhttps://t.example/l/AAAAAAAAAAAAAAAAAAAA";
        let fitted = fit(&head, ending, max);
        prop_assert!(fitted.size.segments <= max);
        prop_assert_eq!(fitted.size, count(&fitted.text));
        prop_assert!(fitted.text.ends_with(ending));
        let kept = &fitted.text[..fitted.text.len() - ending.len()];
        if !fitted.is_cut {
            prop_assert!(kept == head || count(kept).encoding == Encoding::Gsm7);
        } else if let Some(kept) = kept.strip_suffix('…') {
            prop_assert!(head.starts_with(kept));
            let longer = head.grapheme_indices(true).map(|(at, g)| at + g.len()).find(|end| *end > kept.len());
            let longer = head[..longer.unwrap_or(head.len())].trim_end();
            let more = [longer, "…", ending].concat();
            prop_assert!(longer.len() <= kept.len() || count(&more).segments > max);
        }
    }

    /// T4: a text is never fewer parts than its units fill, nor more than one a piece.
    #[test]
    fn t4_parts_are_as_many_as_units_need(text in any_text(60)) {
        let size = count(&text);
        let (alone, joined) = match size.encoding { Encoding::Gsm7 => (160, 153), _ => (70, 67) };
        let least = if size.units <= alone { 1 } else { size.units.div_ceil(joined) };
        prop_assert!(u32::from(size.segments) >= least);
        prop_assert!(size.segments == 1 || size.units > alone);
    }
}

/// T4, T8: a link as long as a company may give one never takes more than there is, and a text that says nothing but
/// where to go on is none.
#[test]
fn t4_a_link_that_does_not_fit_is_left_out() {
    let korean = Carrier::Korean { sms_bytes: 90, lms: true };
    let head = "[Acme]\nKim: It arrives today, and here is all of what we found out about it meanwhile.";
    let link = |chars: usize| format!("https://shop.example/{}", "a".repeat(chars - 21));
    for (carrier, chars, stays) in [
        (Carrier::International, 100, true),
        (Carrier::International, 390, true),
        (Carrier::International, 420, false),
        (Carrier::International, 1_000, false),
        (korean, 1_000, true),
        (korean, 1_990, false),
        (korean, 2_048, false),
    ] {
        let link = link(chars);
        let fitted = fit_linked(head, "\nSTOP ends this", Some(&link), carrier, MAX_SEGMENTS);
        let most = if carrier == korean { 1 } else { MAX_SEGMENTS };
        assert!(fitted.size.segments <= most, "{chars}: {:?}", fitted.size);
        assert_eq!(fitted.text.ends_with(&link), stays, "{chars}");
        assert!(fitted.text.starts_with(&head[..40]) && fitted.text.contains("\nSTOP ends this"), "{chars}");
    }
}
