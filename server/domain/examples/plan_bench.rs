//! How fast texts are planned: counted, fitted to their route and put together; in texts per second on one core.
//!
//! `cargo run --release -p backstop-domain --example plan_bench`. Each text is a reply as it leaves, with the company's
//! name before it and the short link behind it. The slowest of five rounds is told beside the fastest.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "it speaks, and it may stop")]
#![allow(clippy::disallowed_methods, reason = "it measures")]

use backstop_domain::text::{Carrier, MAX_SEGMENTS, fit};
use std::hint::black_box;
use std::time::Instant;

const TEXTS: u32 = 200_000;
const ROUNDS: usize = 5;
const LINK: &str = "\nhttps://t.shop.example/l/AbCdEfGhIjKlMnOpQrSt";
const ENGLISH: &str =
    "[Acme]\nKim: Thank you for waiting. Your parcel left this morning and arrives tomorrow before noon.";
const CURLY: &str =
    "[Acme]\nKim: Thank you for waiting \u{2014} your parcel left this morning, it\u{2019}s there tomorrow.";
const KOREAN: &str = "[한빛상점]\n김: 오늘 오후에 발송되었습니다.";
const KOREAN_LONG: &str =
    "[한빛상점]\n김민수: 기다려 주셔서 감사합니다. 주문하신 상품은 오늘 오후에 발송되어 내일 도착 예정입니다.";
const KOREAN_EMOJI: &str =
    "[한빛상점]\n김민수: 기다려 주셔서 감사합니다 🙏 주문하신 상품은 오늘 발송되어 내일 도착 예정입니다 😀";

fn main() {
    let korean = Carrier::Korean { sms_bytes: 90, lms: true };
    let very_long = KOREAN_LONG.repeat(40);
    for (name, head, carrier) in [
        ("English, GSM 03.38", ENGLISH, Carrier::International),
        ("English, curly quotes made straight", CURLY, Carrier::International),
        ("Korean, UCS-2", KOREAN_LONG, Carrier::International),
        ("Korean, SMS of CP949", KOREAN, korean),
        ("Korean, LMS of CP949", KOREAN_LONG, korean),
        ("Korean, two pictures left out", KOREAN_EMOJI, korean),
        ("English, CP949", ENGLISH, korean),
        ("Korean, 2,600 characters cut to an LMS", &very_long, korean),
    ] {
        let mut rates: Vec<f64> = (0..ROUNDS).map(|_| round(head, carrier)).collect();
        rates.sort_by(f64::total_cmp);
        let size = fit(head, LINK, carrier, MAX_SEGMENTS).size;
        println!(
            "{name:<40} {:>10.0} texts/s (slowest round {:>10.0}), {} bytes, {} x {:?}",
            rates[ROUNDS - 1],
            rates[0],
            size.bytes(),
            size.segments,
            size.form
        );
    }
}

fn round(head: &str, carrier: Carrier) -> f64 {
    let start = Instant::now();
    for _ in 0..TEXTS {
        black_box(fit(black_box(head), black_box(LINK), carrier, MAX_SEGMENTS));
    }
    f64::from(TEXTS) / start.elapsed().as_secs_f64()
}
