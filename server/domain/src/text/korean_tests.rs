//! T4, T5 in Korea: bytes of CP949, SMS and LMS, each number on both sides, and what stands for what is not in it.

use super::tests::any_text;
use super::*;
use encoding_rs::EUC_KR;
use proptest::prelude::*;

const LINK: &str = "\nhttps://t.example/l/AAAAAAAAAAAAAAAAAAAA";
const KR_90: Carrier = Carrier::Korean { sms_bytes: 90, lms: true };
const KR_140: Carrier = Carrier::Korean { sms_bytes: 140, lms: true };
const NO_LMS: Carrier = Carrier::Korean { sms_bytes: 90, lms: false };

fn size(form: Form, segments: u16, units: u32) -> Size {
    Size { form, encoding: Encoding::Cp949, segments, units }
}

fn leaves(text: &str) -> String {
    fit(text, "", KR_90, 1).text
}

/// T4: 90 and 140 bytes for an SMS, 2,000 for an LMS, both sides of each; two bytes a Hangul.
#[test]
fn t4_korean_forms_on_both_sides_of_each_number() {
    use Form::{Lms, Sms};
    for (carrier, bytes, form, segments) in [
        (KR_90, 0, Sms, 1),
        (KR_90, 90, Sms, 1),
        (KR_90, 91, Lms, 1),
        (KR_140, 140, Sms, 1),
        (KR_140, 141, Lms, 1),
        (KR_90, 2_000, Lms, 1),
        (KR_90, 2_001, Lms, 2),
        (KR_140, 2_001, Lms, 2),
        (NO_LMS, 90, Sms, 1),
        (NO_LMS, 91, Sms, 2),
    ] {
        let text = "a".repeat(bytes);
        assert_eq!(count(&text, carrier), size(form, segments, bytes as u32), "{carrier:?} {bytes}");
        assert_eq!(count(&text, carrier).bytes(), bytes as u32);
    }
    for (carrier, hangul, form) in [(KR_90, 45, Sms), (KR_90, 46, Lms), (KR_140, 70, Sms), (KR_140, 71, Lms)] {
        assert_eq!(count(&"한".repeat(hangul), carrier).form, form, "{carrier:?} {hangul}");
    }
    assert_eq!(count(&"한".repeat(1_000), KR_90), size(Lms, 1, 2_000));
    assert_eq!(count("a👍", KR_90), size(Sms, 1, 1), "as what leaves");
}

/// T4: what is longer than an LMS, or than an SMS where there is no LMS, is cut before its link.
#[test]
fn t4_a_korean_text_is_cut_before_its_link() {
    let room = 2_000 - LINK.len();
    let fits = fit(&"a".repeat(room), LINK, KR_90, 3);
    assert_eq!((fits.is_cut, fits.size), (false, size(Form::Lms, 1, 2_000)));
    let cut = fit(&"a".repeat(room + 1), LINK, KR_90, 3);
    assert_eq!((cut.is_cut, cut.size), (true, size(Form::Lms, 1, 2_000)));
    assert!(cut.text.ends_with(&format!("aa…{LINK}")));
    let hangul = fit(&"한".repeat(10_000), LINK, KR_90, 3);
    assert!(hangul.is_cut && hangul.text.ends_with(&format!("한…{LINK}")));
    assert_eq!(hangul.size, size(Form::Lms, 1, 1_999), "half a Hangul is none");
    let short = fit(&"한".repeat(30), LINK, NO_LMS, 3);
    assert_eq!((short.is_cut, short.size), (true, size(Form::Sms, 1, 89)));
    assert!(short.text.ends_with(LINK));
    let no_room = fit("한글", &"y".repeat(95), NO_LMS, 3);
    assert_eq!((no_room.text, no_room.size.segments), (format!("…{}", "y".repeat(95)), 2), "a link is never cut");
}

/// T5: an SMS instead of an LMS, where only the width of marks and letters changes; words stay.
#[test]
fn t5_narrow_marks_save_an_lms() {
    let wide = format!("“{}”　Ｏｋ！", "한".repeat(41));
    assert_eq!(count(&wide, KR_90), size(Form::Lms, 1, 94));
    let fitted = fit(&wide, "", KR_90, 3);
    assert_eq!((fitted.text, fitted.size), (format!("\"{}\" Ok!", "한".repeat(41)), size(Form::Sms, 1, 88)));
    for hangul in [30, 60] {
        let kept = format!("“{}”·", "한".repeat(hangul));
        assert_eq!(fit(&kept, "", KR_90, 3).text, kept, "it saves nothing");
    }
    let words = format!("“{}{}”", "한".repeat(963), "글");
    assert!(!fit(&words, LINK, KR_90, 3).is_cut, "words before quotes");
    assert_eq!(count(&[&words, LINK].concat(), KR_90).segments, 1);
    let words = format!("“{}”", "한".repeat(978));
    let fitted = fit(&words, LINK, KR_90, 3);
    assert_eq!((fitted.is_cut, fitted.size.units), (false, 1_999), "{}", count(&words, KR_90).units);
}

/// T5: what is in CP949 stays; what is not is joined, looks alike, is left out if it is decoration, or is `?`.
#[test]
fn t5_what_cp949_has_not_is_replaced() {
    for stays in ["똠방각하 펲시콜라 뷁", "“네” … ― ㄱㅏ ① ㎏ ℃ ★ ♥ → 漢字 かな Ω ß æ €"]
    {
        assert_eq!(leaves(stays), stays);
    }
    for (given, left) in [
        ("\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}", "한글"),
        ("\u{d558}\u{11ab}", "한"),
        ("\u{110f}\u{110f} \u{1161}\u{11b2}", "ㅋㅋ ㅏㄼ"),
        ("か\u{3099}ｶﾞｱ", "がガア"),
        ("и\u{306}", "й"),
        ("Café e\u{301} Ångström Việt Nam ñ", "Cafe e Angstrom Viet Nam n"),
        ("₩10,000 ¥5 £3 ¢1", "￦10,000 ￥5 ￡3 ￠1"),
        ("a\u{a0}b\u{202f}c\td", "a b c d"),
        ("a\u{2028}b\r\nc", "a\nb\nc"),
        ("‘1’–‘2’ — ‚3„ «4»", "‘1’-‘2’ - '3\" \"4\""),
        ("\u{feff}a\u{200b}b\u{ad}c\u{200d}\u{202e}d\u{0}", "abcd"),
        ("고마워요 👍 좋아요", "고마워요 좋아요"),
        ("고마워요😀!\n👨\u{200d}👩\u{200d}👧 다음", "고마워요!\n다음"),
        ("네 👍🏽\n다음 🇰🇷", "네\n다음"),
        ("1\u{fe0f}\u{20e3} 하나 ❷ 둘 ⓷", "1 하나 2 둘 ?"),
        ("❤\u{fe0f} ✅ ➡ ❌ ⭐", "♥ √ → × ★"),
        ("ﬁn 𝐇𝐢 ⑯ ½ ⅐ © ™", "fin Hi 16 ½ 1/7 (c) ™"),
        ("我们见 ไทย", "我?? ???"),
    ] {
        assert_eq!(leaves(given), left, "{given:?}");
    }
    assert!(!leaves("a\u{e9}한\u{301}😀").contains("&#"), "the codec's own way out is never taken");
}

/// T5: pictures alone, and languages that Korea's letters have not, tell a reader nothing.
#[test]
fn t5_what_tells_nothing_is_known() {
    for empty in ["", "👍", "😀 👨\u{200d}👩\u{200d}👧", "สวัสดีครับ", "مرحبا", " \n"]
    {
        assert!(carried(empty, KR_90).is_none(), "{empty:?}");
        assert!(carried(empty, Carrier::International).is_some(), "{empty:?}");
    }
    for told in ["네 👍", "?", "…", "漢字", "okay สวั", "❤"] {
        assert!(carried(told, KR_90).is_some(), "{told:?}");
    }
}

/// T4: an LMS's subject is at most 40 bytes, cut between characters, in characters of CP949.
#[test]
fn t4_a_subject_is_forty_bytes() {
    assert_eq!(subject(&"한".repeat(20)), "한".repeat(20));
    assert_eq!(subject(&"한".repeat(21)), "한".repeat(20));
    assert_eq!(subject(&format!("a{}", "한".repeat(20))), format!("a{}", "한".repeat(19)));
    assert_eq!(subject("Müller 🍞 Bäckerei"), "Muller Backerei");
    assert_eq!(subject("🍞"), "");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// T4, T5: whatever the text, one SMS or LMS of CP949 leaves, whole graphemes of it, and its link at the end.
    #[test]
    fn t4_korean_texts_fit_and_end_with_their_link(head in any_text(80), kr_140: bool, lms: bool) {
        let sms_bytes = if kr_140 { 140 } else { 90 };
        let carrier = Carrier::Korean { sms_bytes, lms };
        let fitted = fit(&head, LINK, carrier, 3);
        let (bytes, _, unmappable) = EUC_KR.encode(&fitted.text);
        prop_assert!(!unmappable);
        let room = match fitted.size.form { Form::Lms => 2_000, _ => u32::from(sms_bytes) };
        prop_assert_eq!((fitted.size.segments, fitted.size.units as usize), (1, bytes.len()));
        prop_assert!(fitted.size.units <= room);
        prop_assert!(lms || fitted.size.form == Form::Sms);
        prop_assert_eq!(fitted.size, count(&fitted.text, carrier));
        let kept = fitted.text.strip_suffix(LINK).expect("its link");
        let again = fit(kept, LINK, carrier, 3);
        prop_assert_eq!((again.text, again.size, again.is_cut), (fitted.text.clone(), fitted.size, false));
    }

    /// T4: a longer text never takes less.
    #[test]
    fn t4_korean_texts_are_monotone(head in "[가-힣a-z ]{0,300}", tail in "[가-힣a-z]{1,80}") {
        let longer = [head.as_str(), tail.as_str()].concat();
        let (short, long) = (count(&head, KR_90), count(&longer, KR_90));
        prop_assert!(short.units < long.units && (short.form == Form::Sms || long.form == Form::Lms));
    }
}
