//! Answers as mail programs write them.

use super::{MARKERS, marker, new_text};

/// What is new in each, and nothing else.
fn is_new(cases: &[(&str, &str)]) {
    for (mail, new) in cases {
        assert_eq!(new_text(mail), *new, "{mail}");
    }
}

/// E3: quotations that programs mark and announce, in three languages and more.
#[test]
fn e3_marked_quotations_go_with_their_announcement() {
    is_new(&[
        (
            "Yes please.\r\n\r\nOn Mon, Nov 23, 2026 at 3:00 AM Shop <reply+x@r.example> wrote:\r\n\r\n\
             > Your parcel\r\n> leaves.\r\n",
            "Yes please.",
        ),
        (
            "Yes.\n\nOn Monday, November 23, 2026 at 3:00 AM, Shop of all the Things\n\
             <reply+abc@reply.example.com> wrote:\n> Hi\n",
            "Yes.",
        ),
        (
            "네, 부탁드려요.\n\n2026년 11월 23일 (월) 오전 3:00, 가게 <reply+x@r.example>님이 작성:\n\n> 오늘 출발합니다.\n",
            "네, 부탁드려요.",
        ),
        ("네\n\n2026. 11. 23. 오전 3:00, 가게 <a@r.example> 작성:\n\n> 안녕하세요\n>\n> 오늘\n", "네"),
        ("お願いします。\n\n2026年11月23日(月) 3:00 お店 <a@r.example>:\n\n> 本日発送します。\n", "お願いします。"),
        ("はい\n\n2026/11/23 3:00、お店 <a@r.example>のメール:\n\n> こんにちは\n", "はい"),
        ("Ja.\n\nAm 23.11.2026 um 03:00 schrieb Shop:\n> Hallo\n", "Ja."),
        ("Oui.\n\nLe lun. 23 nov. 2026 à 03:00, Shop <a@r.example> a écrit :\n\n> Bonjour\n", "Oui."),
    ]);
}

/// E3: what stands between quoted lines, or below them, is an answer, too.
#[test]
fn e3_answers_between_quoted_lines_stay() {
    is_new(&[
        ("On 23 Nov 2026, Shop wrote:\n> Which colour?\n\nBlue.\n\n> Which size?\n\nM.\n", "Blue.\n\nM."),
        ("> Which colour?\nBlue.", "Blue."),
        ("> On 22 Nov Shop wrote:\n>> older\n> Which colour?\n\nBlue\n-- \nLucas", "Blue"),
    ]);
}

/// E3: what a program only announces ends the answer.
#[test]
fn e3_separators_and_blocks_of_headers_end_the_answer() {
    is_new(&[
        (
            "Thanks!\n\n-----Original Message-----\nFrom: Shop\nSent: Monday\nTo: Lucas\n\nYour parcel leaves.",
            "Thanks!",
        ),
        (
            "감사합니다\n\n-----Original Message-----\nFrom: \"가게\"<a@r.example>\nTo: <lucas@naver.com>;\nCc:\n\
             Sent: 2026-11-23 (월) 03:00:00\nSubject: 답변\n\n본문",
            "감사합니다",
        ),
        (
            "감사합니다.\n\n--------- 원본 메일 ---------\n보낸사람 : 가게 <a@r.example>\n받는사람 : Lucas\n날짜: 2026년\n제목: 답변\n\n본문",
            "감사합니다.",
        ),
        (
            "Danke\n\n________________________________\nVon: Shop <a@r.example>\nGesendet: Montag\nAn: Lucas\n\
             Betreff: Antwort\n\nText",
            "Danke",
        ),
        (
            "Ok\n\n**From:** Shop <a@r.example>\n**Sent:** Monday, November 23, 2026 3:00 AM\n**To:** Lucas\n\
             **Subject:** Reply\n\nText",
            "Ok",
        ),
        ("了解\n\n差出人: お店\n送信日時: 2026年11月23日\n宛先: Lucas\n件名: 返信\n\n本文", "了解"),
        ("Ok\n\n---- 元のメッセージ ----\n本文", "Ok"),
        ("Fine\n\nOn Mon, 23 Nov 2026 at 03:00, Shop <a@r.example> wrote:\n\nYour parcel leaves today.\n", "Fine"),
    ]);
}

/// E3: our own line, however a program dresses it and whatever it announces it with.
#[test]
fn e3_our_own_line_ends_the_answer() {
    for (language, line) in MARKERS {
        assert_eq!(marker(Some(language)), line);
        for dressed in [line.to_owned(), format!("**{line}**"), format!("  {line}  "), line.replace('—', "-")] {
            let mail = format!(
                "Yes.\n\nShop <a@r.example> napisał(a) 23.11.2026:\n\n{dressed}\n\n\
             Your parcel leaves."
            );
            assert_eq!(new_text(&mail), "Yes.", "{mail}");
        }
        assert_eq!(new_text(&format!("Yes.\n\n> {line}\n>\n> Which?\n\nThat one.")), "Yes.\n\nThat one.");
        assert_eq!(new_text(&format!("{line}\n\nYour parcel leaves.")), "");
    }
    assert_eq!(marker(Some("ko-KR")), MARKERS[1].1);
    assert_eq!((marker(Some("fr")), marker(None)), (MARKERS[0].1, MARKERS[0].1));
}

/// E3: signatures, and what phones add.
#[test]
fn e3_signatures_go() {
    is_new(&[
        ("Yes\n\n-- \nLucas Kim\nSeoul\n", "Yes"),
        ("Yes\n--\nLucas", "Yes"),
        ("Yes\n\nSent from my iPhone", "Yes"),
        ("Yes\n\nSent from my Galaxy\n\n-------- Original message --------\nFrom: Shop\n", "Yes"),
        ("Yes\nGet Outlook for iOS<https://aka.ms/o0ukef>\n", "Yes"),
        ("네\n\n나의 iPhone에서 보냄", "네"),
        ("네\n\n내 Galaxy에서 보냄\n\n-- \n김루카스", "네"),
        ("네\n\n갤럭시에서 보냈습니다.", "네"),
        ("はい\n\niPhoneから送信", "はい"),
        ("-- \nLucas", ""),
    ]);
}

/// E3: what looks like it and is the person's own stays.
#[test]
fn e3_a_persons_own_words_stay() {
    for own in [
        "Sent from Busan last week, has it arrived?",
        "지난주에 부산에서 보냈습니다",
        "On the 3rd I wrote: please wait.",
        "From: the left\nto the right",
        ">_< oh no",
        ">:( again?",
        "The size is 5 > 3",
        "- one\n- two\n\n-- three",
        "Two lines\n\nand a paragraph",
        "제목: 그냥 제 말입니다",
        "See https://shop.example/a?b=1:",
        "Deliver to:\nLucas\n1 Main Street",
    ] {
        assert_eq!(new_text(own), own, "{own}");
    }
    let long = format!("Hello\n--\n{}", "a line of a long text\n".repeat(30));
    assert!(new_text(&long).contains("a long text"), "no signature is that long");
}

/// E3: nothing new is nothing, and invisible characters are none.
#[test]
fn e3_an_answer_without_a_word_is_empty() {
    for nothing in [
        "",
        "\r\n\r\n",
        "> a\n> b",
        "\u{feff}\u{200b}\n\u{a0}\n",
        "On Mon, Nov 23, 2026 at 3:00 AM Shop <a@r.example> wrote:\n> a",
    ] {
        assert_eq!(new_text(nothing), "", "{nothing:?}");
    }
    assert_eq!(new_text("a\u{0}\u{7}b\r\nc\rd\u{a0}e"), "ab\nc\nd e");
    assert_eq!(new_text("👨‍👩‍👧 네\n\n\n\n그래요   \n"), "👨‍👩‍👧 네\n\n그래요");
}

mod any_input {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// E3: it ends for any text, invents nothing, and does nothing more the second time.
        #[test]
        fn e3_any_text_is_read(text in "(?s)([ >\\-:a-z0-9@<\n]|On |wrote:|-- |From: |To: |Sent: |님이 작성:|—){0,120}") {
            let new = new_text(&text);
            let words = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
            prop_assert!(words(&new) <= words(&text));
            prop_assert!(new.lines().all(|line| text.contains(line)));
        }
    }
}
