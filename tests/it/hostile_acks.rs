//! Forged and replayed acks, by the hundred thousand: none is taken, all are refused alike, the true one counts once.

use crate::http_support::{Phone, Rig, START_MS, Shop, reply};
use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::sync::Arc;

const FORGERIES: usize = 100_000;
const REPLAYS: usize = 1_000;
const REFUSED: &str = r#"{"result":"refused","counted":false}"#;

/// Always the same numbers (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// A customer's phone with a follow-up under way, and every true receipt that is not this follow-up's to this phone.
struct Scene {
    rig: Rig,
    shop: Shop,
    lucas: Phone,
    tablet: Phone,
    followup: String,
    receipt: String,
    others: Vec<String>,
}

async fn scene() -> Scene {
    let rig = Rig::new();
    let (shop, other) = (rig.shop("shop").await, rig.shop("other").await);
    rig.lucas(&shop).await;
    rig.lucas(&other).await;
    let lucas = rig.phone(&shop, "lucas", "install-1").await;
    let tablet = rig.phone(&shop, "lucas", "install-2").await;
    let stranger = rig.phone(&other, "lucas", "install-1").await;
    let post = async |shop: &Shop, message: Value| {
        rig.post(shop, "/v1/messages", message).await.expect(202)["followup_id"].as_str().unwrap().to_owned()
    };
    let mut elsewhere = reply("m2");
    elsewhere["conversation_id"] = "c2".into();
    let followup = post(&shop, reply("m1")).await;
    let (second, foreign) = (post(&shop, elsewhere).await, post(&other, reply("m1")).await);
    let receipt = rig.receipt(&shop, &followup, &lucas).await;
    let others = vec![
        rig.receipt(&shop, &followup, &tablet).await,
        rig.receipt(&shop, &second, &tablet).await,
        rig.receipt(&other, &foreign, &stranger).await,
        rig.forge(&shop, &followup, &lucas, 1, START_MS),
        rig.forge(&other, &followup, &lucas, 1, START_MS + 86_400_000),
    ];
    Scene { rig, shop, lucas, tablet, followup, receipt, others }
}

impl Scene {
    /// What somebody could make out of what they know: never the true receipt itself.
    fn forgery(&self, dice: &mut Dice) -> String {
        let bytes = URL_SAFE_NO_PAD.decode(&self.receipt).unwrap();
        let at = dice.below(bytes.len());
        let forged = match dice.below(9) {
            0 => flipped(&bytes, at, dice.below(8)),
            1 => flipped(&flipped_bytes(&bytes, dice.below(bytes.len()), dice.below(8)), at, dice.below(8)),
            2 => URL_SAFE_NO_PAD.encode(&bytes[..at]),
            3 => URL_SAFE_NO_PAD.encode([&bytes[..], &vec![dice.below(256) as u8; 1 + dice.below(40)]].concat()),
            4 => self.spliced(&bytes, dice),
            5 => respelled(&self.receipt, &bytes, dice),
            6 => self.others[dice.below(self.others.len())].clone(),
            7 => URL_SAFE_NO_PAD.encode((0..bytes.len()).map(|_| dice.below(256) as u8).collect::<Vec<_>>()),
            _ => with_character(&self.receipt, dice),
        };
        // Two flips of one bit, or a splice of what both have: nothing was forged.
        if forged == self.receipt { String::new() } else { forged }
    }

    /// Part of this receipt, part of another true one: its device, its follow-up, its workspace's MAC.
    fn spliced(&self, bytes: &[u8], dice: &mut Dice) -> String {
        let other = URL_SAFE_NO_PAD.decode(&self.others[dice.below(self.others.len())]).unwrap();
        let from = dice.below(bytes.len());
        let to = from + dice.below(bytes.len() - from + 1);
        let (mut mine, end) = (bytes.to_vec(), to.min(other.len()));
        if from < end {
            mine[from..end].copy_from_slice(&other[from..end]);
        }
        URL_SAFE_NO_PAD.encode(mine)
    }

    async fn post(&self, phone: &Phone, receipts: &[String]) -> String {
        let ack = |receipt: &String| json!({"receipt": receipt, "grade": "opened", "at": "2026-11-22T18:00:01.000Z"});
        let acks = json!({"acks": receipts.iter().map(ack).collect::<Vec<_>>()});
        let answer = self.rig.device(&self.shop, Method::POST, "/v1/acks", Some(phone), acks).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.text
    }

    async fn stands(&self) -> Value {
        self.rig.get(&self.shop, &format!("/v1/followups/{}", self.followup)).await.expect(200)
    }
}

fn flipped_bytes(bytes: &[u8], at: usize, bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1 << bit;
    bytes
}

fn flipped(bytes: &[u8], at: usize, bit: usize) -> String {
    URL_SAFE_NO_PAD.encode(flipped_bytes(bytes, at, bit))
}

/// The same bytes, written another way.
fn respelled(receipt: &str, bytes: &[u8], dice: &mut Dice) -> String {
    match dice.below(9) {
        0 => format!("{receipt}{}", "=".repeat(1 + dice.below(3))),
        1 => format!("{}{receipt}", [" ", "\t", "\n", "\u{feff}", "\u{0}"][dice.below(5)]),
        2 => format!("{receipt}{}", [" ", "\r\n", "\u{200b}", "."][dice.below(4)]),
        3 => hex::encode(bytes),
        4 => receipt.bytes().map(|b| format!("%{b:02X}")).collect(),
        5 => receipt.to_lowercase(),
        6 => format!("{}\n{}", &receipt[..20], &receipt[20..]),
        7 => STANDARD.encode([bytes, &[0]].concat()),
        _ => [URL_SAFE.encode([bytes, &[0]].concat()), STANDARD_NO_PAD.encode(bytes) + "/"][dice.below(2)].clone(),
    }
}

/// One character put in, or another one in its place.
fn with_character(receipt: &str, dice: &mut Dice) -> String {
    const CHARACTERS: [&str; 12] = ["A", "z", "-", "_", "+", "/", "=", "é", "\u{430}", "0", "\u{ff21}", "🙂"];
    let at = dice.below(receipt.len());
    let rest = at + dice.below(2);
    format!("{}{}{}", &receipt[..at], CHARACTERS[dice.below(CHARACTERS.len())], &receipt[rest..])
}

/// P11, T1, T2: 100,000 forged receipts from the true phone, and from the customer's other one: 0 are taken, all are
/// refused in one shape, and nothing of them is kept. The true one counts afterwards.
#[tokio::test]
async fn a_hundred_thousand_forged_acks_are_refused_alike() {
    let scene = scene().await;
    let before = scene.stands().await;
    let mut dice = Dice(0x5eed);
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..FORGERIES / 100 {
        let forged: Vec<String> = (0..100).map(|_| scene.forgery(&mut dice)).collect();
        kinds.extend(forged.iter().map(String::len));
        let expected = format!(r#"{{"results":[{}]}}"#, vec![REFUSED; 100].join(","));
        let answer = scene.post(&scene.lucas, &forged).await;
        assert!(answer == expected, "{:?}", taken(&forged, &answer));
    }
    assert!(kinds.len() > 50, "the forgeries are all alike");
    // The true receipt in another device's hand.
    let answer = scene.post(&scene.tablet, &vec![scene.receipt.clone(); 100]).await;
    assert_eq!(answer, format!(r#"{{"results":[{}]}}"#, vec![REFUSED; 100].join(",")));
    assert_eq!(scene.stands().await, before);
    let answer = scene.post(&scene.lucas, std::slice::from_ref(&scene.receipt)).await;
    assert_eq!(answer, r#"{"results":[{"result":"accepted","counted":true}]}"#);
    assert_eq!(scene.stands().await["state"], "acked");
}

fn taken(forged: &[String], answer: &str) -> Vec<String> {
    let answer: Value = serde_json::from_str(answer).unwrap();
    let results = answer["results"].as_array().unwrap().iter().zip(forged);
    results.filter(|(result, _)| result["result"] != "refused").map(|(r, forged)| format!("{forged}: {r}")).collect()
}

/// P11, T1: a device's key of almost the right form opens nothing: 401 in one shape.
#[tokio::test]
async fn forged_device_keys_are_refused_alike() {
    let scene = scene().await;
    let bytes = URL_SAFE_NO_PAD.decode(&scene.lucas.key).unwrap();
    let mut keys: Vec<String> = (0..bytes.len() * 8).map(|bit| flipped(&bytes, bit / 8, bit % 8)).collect();
    let mut dice = Dice(0x6e4);
    keys.extend((0..1_000).map(|_| with_character(&scene.lucas.key, &mut dice)));
    keys.extend((0..bytes.len()).map(|n| URL_SAFE_NO_PAD.encode(&bytes[..n])));
    keys.extend([scene.tablet.key.clone(), String::new(), "x".repeat(10_000), format!("{}=", scene.lucas.key)]);
    let acks = json!({"acks": [{"receipt": scene.receipt, "grade": "opened", "at": "2026-11-22T18:00:01.000Z"}]});
    let mut shapes = std::collections::BTreeSet::new();
    for key in keys.iter().filter(|key| **key != scene.lucas.key && key.is_ascii()) {
        let phone = Phone { id: scene.lucas.id.clone(), key: key.clone() };
        let answer = scene.rig.device(&scene.shop, Method::POST, "/v1/acks", Some(&phone), acks.clone()).await;
        answer.refused(401, "unauthorized");
        shapes.insert(answer.text);
    }
    assert_eq!(shapes.len(), 1, "{shapes:?}");
    assert_eq!(scene.stands().await["state"], "awaiting_ack");
}

/// P8, T3: the same ack a thousand times, many at once: one change, and every other answer says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_replays_are_one_change() {
    let scene = Arc::new(scene().await);
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..REPLAYS / 10 {
        let scene = scene.clone();
        posts.spawn(async move { scene.post(&scene.lucas, &vec![scene.receipt.clone(); 10]).await });
    }
    let answers = posts.join_all().await.concat();
    let count = |word: &str| answers.matches(&format!(r#"{{"result":"{word}","counted":true}}"#)).count();
    assert_eq!((count("accepted"), count("duplicate")), (1, REPLAYS - 1), "{answers}");
    let stands = scene.stands().await;
    let acks: Vec<_> = stands["history"].as_array().unwrap().iter().filter(|h| h["decision"] == "acked").collect();
    assert_eq!(acks.len(), 1, "{stands:#}");
    assert_eq!(stands["deliveries"].as_array().unwrap().len(), 2, "two pushes, no text and no email");
}
