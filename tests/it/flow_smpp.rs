//! Texts by SMPP, by the whole server: sent, reported on, answered with STOP.

use crate::flow_texts::House;
use crate::smsc_double::Smsc;
use backstop_server::providers::smpp::{SmppConfig, SmppTls};
use backstop_server::providers::smtp::SmtpTls;
use serde_json::{Value, json};

const NUMBER: &str = "+14152001001";

async fn house(port: u16) -> House {
    House::open_with(SmtpTls::None, |config| {
        config.providers.twilio = None;
        config.providers.smpp = Some(SmppConfig {
            host: "127.0.0.1".into(),
            port: Some(port),
            tls: SmppTls::None,
            system_id: "backstop".into(),
            password: Some("secret".into()),
            from: "+14155550100".into(),
            timeout_ms: 5_000,
            ..SmppConfig::default()
        });
    })
    .await
}

async fn text_of(house: &House, followup: &str) -> Value {
    let shown = house.get(&format!("/v1/followups/{followup}")).await;
    let deliveries = shown["deliveries"].as_array().unwrap();
    deliveries.iter().find(|delivery| delivery["channel"] == "sms").cloned().unwrap_or(Value::Null)
}

/// Takes a text part by part, under the ids 1, 2, …; answers how many there were.
async fn take_all(smsc: &mut Smsc) -> usize {
    for n in 1.. {
        let part = smsc.take(&n.to_string()).await;
        if part["udh"][0].as_str().is_none_or(|udh| udh[6..8] == udh[8..10]) {
            return n;
        }
    }
    unreachable!("a text ends")
}

/// P4, W2, T7: a text leaves by SMPP, its receipts make it delivered once all its parts are, and STOP ends the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w2_a_text_by_smpp_is_reported_on_and_stopped() {
    let mut smsc = Smsc::start().await;
    let house = house(smsc.port).await;
    let bind = smsc.bind().await;
    house.customer("lucas", NUMBER, None).await;
    let followup = house.reply("lucas", &"m".repeat(100)).await;
    let parts = take_all(&mut smsc).await;
    house.settle().await;
    let text = text_of(&house, &followup).await;
    assert_eq!((&text["status"], &text["provider"]), (&json!("accepted"), &json!("smpp")), "{text}");
    assert_eq!(text["segments"], parts);
    for n in 1..=parts {
        assert_eq!(text_of(&house, &followup).await["status"], "accepted", "part {n} is missing");
        let receipt = format!("id:{n} sub:001 dlvrd:001 stat:DELIVRD err:000 text:");
        smsc.send(&bind, "deliver_sm", json!({ "esm_class": 4, "short_message": receipt })).await;
        assert_eq!(smsc.next("deliver_sm_resp").await["status"], 0);
    }
    assert_eq!(text_of(&house, &followup).await["status"], "delivered");
    let stop = json!({
        "source_addr_ton": 1, "source_addr": &NUMBER[1..], "dest_addr_ton": 1,
        "destination_addr": "14155550100", "short_message": "STOP",
    });
    smsc.send(&bind, "deliver_sm", stop).await;
    assert_eq!(smsc.next("deliver_sm_resp").await["status"], 0);
    let stopped = house.get("/v1/suppressions").await;
    assert_eq!(stopped["data"].as_array().map(Vec::len), Some(1), "{stopped}");
}

/// T7: STOP finds whom it is for where the SMSC writes numbers as its country does, by their type or by nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t7_stop_from_a_national_number_is_heard() {
    let mut smsc = Smsc::start().await;
    let house = house(smsc.port).await;
    let bind = smsc.bind().await;
    for (ton, number) in [(2, "4152001002"), (0, "4152001003")] {
        house.customer(number, &format!("+1{number}"), None).await;
        house.reply(number, number).await;
        take_all(&mut smsc).await;
        house.settle().await;
        let stop = json!({
            "source_addr_ton": ton, "source_addr": number, "dest_addr_ton": ton,
            "destination_addr": "4155550100", "short_message": "STOP",
        });
        smsc.send(&bind, "deliver_sm", stop).await;
        assert_eq!(smsc.next("deliver_sm_resp").await["status"], 0);
    }
    let stopped = house.get("/v1/suppressions").await;
    assert_eq!(stopped["data"].as_array().map(Vec::len), Some(2), "{stopped}");
}
