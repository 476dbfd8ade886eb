//! What customers write back by text, through Twilio's calls, over the whole server.

use crate::flow_texts::House;
use crate::twilio_double::{ACCOUNT, OWN};
use backstop_server::providers::smtp::SmtpTls;
use reqwest::Method;
use serde_json::{Value, json};

async fn write(house: &House, sid: &str, from: &str, text: &str) {
    let url = format!("{}/in/twilio/{ACCOUNT}", house.url);
    let (from, to) = (from.replace('+', "%2B"), OWN.replace('+', "%2B"));
    let sid = if sid.is_empty() { String::new() } else { format!("MessageSid=SM{sid:0>32}&") };
    let body = format!("{sid}From={from}&To={to}&Body={text}");
    assert_eq!(house.twilio.call(&url, body, None).await, 200);
}

async fn inbound(house: &House) -> Vec<Value> {
    house.get("/v1/inbound-messages").await["data"].as_array().unwrap().clone()
}

/// T9, T7, W2: an answer by text is the customer's message in the conversation of the newest text to the number, once
/// however often the vendor calls; opt-out words are none, and what nobody asked for is kept nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t9_a_text_is_the_customers_message_once() {
    let house = House::open_with(SmtpTls::None, |_| {}).await;
    let number = "+14152001101";
    write(&house, "1", number, "who+are+you").await;
    assert_eq!(inbound(&house).await, Vec::<Value>::new(), "nobody texted them");
    for (customer, message) in [("ann", "m1"), ("ben", "m2")] {
        house.customer(customer, number, None).await;
        house.reply(customer, message).await;
        house.settle().await;
    }
    for _ in 0..3 {
        write(&house, "2", number, "Thank+you%21%0AWhen%3F").await;
    }
    let all = inbound(&house).await;
    let [one] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(
        (&one["customer_id"], &one["conversation_id"], &one["text"], &one["channel"], &one["from_other_address"]),
        (&json!("ben"), &json!("ben"), &json!("Thank you!\nWhen?"), &json!("sms"), &json!(false)),
        "the newest of what was sent there"
    );
    write(&house, "3", number, "Thank+you%21%0AWhen%3F").await;
    write(&house, "", number, "no+id").await;
    write(&house, "", number, "no+id").await;
    write(&house, "4", number, "%20%0A%07").await;
    write(&house, "5", number, "stop").await;
    let texts: Vec<_> = inbound(&house).await.iter().map(|one| one["text"].clone()).collect();
    assert_eq!(texts, ["Thank you!\nWhen?", "Thank you!\nWhen?", "no id"]);
    assert_eq!(house.get("/v1/suppressions?channel=text").await["data"].as_array().unwrap().len(), 1);
    let exported = house.get("/v1/customers/ben/export").await;
    let said = exported["messages"].as_array().unwrap().iter().filter(|m| m["direction"] == "from_customer");
    assert_eq!(said.count(), 3);
    house.backend(Method::DELETE, "/v1/customers/ben", None).await;
    assert_eq!(inbound(&house).await, Vec::<Value>::new());
    write(&house, "6", number, "still+there%3F").await;
    assert_eq!(inbound(&house).await, Vec::<Value>::new(), "an answer makes nobody known again");
}
