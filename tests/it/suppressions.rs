//! The list of who is not written to: imported, listed, lifted.

use crate::http_support::{Answer, Rig, Shop, bearer, reply};
use crate::providers_smtp_double::MailServer;
use axum::body::Body;
use axum::http::Request;
use backstop_server::providers::Providers;
use backstop_server::providers::smtp::SmtpTls;
use serde_json::{Value, json};
use std::sync::Arc;

const PATH: &str = "/v1/suppressions/import";

async fn csv(rig: &Rig, shop: &Shop, list: impl Into<Body>) -> Answer {
    let request = Request::post(PATH).header("authorization", bearer(shop)).header("content-type", "text/csv");
    rig.send(request.body(list.into()).unwrap()).await
}

async fn listed(rig: &Rig, shop: &Shop, query: &str) -> Vec<Value> {
    rig.get(shop, &format!("/v1/suppressions{query}")).await.expect(200)["data"].as_array().unwrap().clone()
}

/// T7, E5: an imported list is in force for customers known and yet unknown, survives whatever is imported again, and a
/// repeat changes nothing.
#[tokio::test]
async fn t7_an_imported_list_is_in_force_and_survives() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let body =
        json!({"entries": ["+821012345678", {"to": "Lucas@Example.com", "source": "complaint"}, "+821012345678"]});
    let imported = rig.post(&shop, PATH, body.clone()).await.expect(200);
    assert_eq!(imported, json!({"added": 2, "already": 1}));
    assert_eq!(rig.post(&shop, PATH, body).await.expect(200), json!({"added": 0, "already": 3}));
    let sources: Vec<_> = listed(&rig, &shop, "").await.iter().map(|row| row["source"].clone()).collect();
    assert_eq!(sources, ["complaint", "import"]);
    for time in 1..=2 {
        rig.lucas(&shop).await;
        let posted = rig.post(&shop, "/v1/messages", reply(&format!("m-{time}"))).await.expect(202);
        rig.settled(&shop).await;
        let path = format!("/v1/followups/{}", posted["followup_id"].as_str().unwrap());
        let shown = rig.get(&shop, &path).await.expect(200);
        assert_eq!(shown["state"], "failed", "{shown}");
        let errors: Vec<_> = shown["deliveries"].as_array().unwrap().iter().map(|d| d["error"].clone()).collect();
        assert!(errors.contains(&json!("opted_out")) && errors.contains(&json!("address_marked")), "{errors:?}");
        rig.delete(&shop, "/v1/customers/lucas").await.expect(204);
        rig.advance(300_000);
    }
    let other = rig.shop("other").await;
    assert_eq!(listed(&rig, &other, "").await, Vec::<Value>::new());
    let audit = rig.get(&shop, "/v1/audit?kind=suppressions_imported").await.expect(200);
    assert_eq!(audit["data"].as_array().unwrap().len(), 1);
    assert_eq!(audit["data"][0]["detail"], json!({"added": 2}));
}

/// T7: a list as spreadsheets write it.
#[tokio::test]
async fn t7_a_list_of_lines_is_imported() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    rig.put(&shop, "/v1/settings", json!({"country": "KR"})).await.expect(200);
    let list = "\u{feff}Number,Source\r\n\"010-1234-5678\",stop\r\n\r\n+14155550123\r\nann@example.com;bounce\r\n";
    assert_eq!(csv(&rig, &shop, list).await.expect(200), json!({"added": 3, "already": 0}));
    assert_eq!(listed(&rig, &shop, "?channel=text").await.len(), 2);
    let emails = listed(&rig, &shop, "?channel=email").await;
    assert_eq!((&emails[0]["address"], &emails[0]["source"]), (&json!("a…@example.com"), &json!("bounce")));
    rig.get(&shop, "/v1/suppressions?channel=fax").await.refused(400, "invalid_request");
}

/// T7, W4: every wrong line is named, and then nothing of the list is taken; both sides of its length.
#[tokio::test]
async fn t7_a_wrong_list_changes_nothing() {
    let rig = Rig::new();
    let shop = rig.shop("shop").await;
    let wrong = csv(&rig, &shop, "+821012345678\n12\nann@\n+14155550123,carrier pigeon\n").await;
    wrong.refused(400, "invalid_request");
    assert_eq!(wrong.fields(), ["line 2", "line 3", "line 4"]);
    let wrong = rig.post(&shop, PATH, json!({"entries": ["+821012345678", {"to": "x"}]})).await;
    assert_eq!(wrong.fields(), ["entries[1]"]);
    for body in [json!({"entries": []}), json!({}), json!({"entries": [{"to": "+821012345678", "why": "x"}]})] {
        rig.post(&shop, PATH, body).await.refused(400, "invalid_request");
    }
    csv(&rig, &shop, "").await.refused(400, "invalid_request");
    csv(&rig, &shop, vec![0xff, 0xfe, 0x31]).await.refused(400, "invalid_request");
    csv(&rig, &shop, "x".repeat(1_100_000)).await.refused(413, "payload_too_large");
    assert!(csv(&rig, &shop, "?\n".repeat(500)).await.fields().len() <= 100);
    let list = |count: usize| (0..count).map(|n| format!("n{n}@example.com\n")).collect::<String>();
    csv(&rig, &shop, list(10_001)).await.refused(400, "invalid_request");
    assert_eq!(listed(&rig, &shop, "").await, Vec::<Value>::new());
    assert_eq!(csv(&rig, &shop, list(10_000)).await.expect(200), json!({"added": 10_000, "already": 0}));
}

/// E5: a relay that refuses us, or what we say, with a bare code says nothing of the customer's address; one that
/// refuses the recipient does.
#[tokio::test(flavor = "multi_thread")]
async fn e5_only_a_refused_recipient_marks_the_address() {
    for (stage, marks, error) in
        [("mail", 0, "550 at_mail_from"), ("rcpt", 1, "550"), ("data", 0, "550 at_data"), ("content", 0, "550 at_data")]
    {
        let server = MailServer::start_with(SmtpTls::None, json!({"refuses_at": stage})).await;
        let smtp = Arc::new(server.client());
        let rig = Rig::with_providers(|captured| Providers { email: Some(smtp), ..captured });
        let shop = rig.shop("shop").await;
        rig.lucas(&shop).await;
        for n in 1..=3 {
            let posted = rig.post(&shop, "/v1/messages", reply(&format!("m-{n}"))).await.expect(202);
            rig.settled(&shop).await;
            let path = format!("/v1/followups/{}", posted["followup_id"].as_str().unwrap());
            let shown = rig.get(&shop, &path).await.expect(200);
            let deliveries = shown["deliveries"].as_array().unwrap();
            let email = deliveries.iter().find(|delivery| delivery["channel"] == "email").expect("an email");
            assert_eq!((&email["status"], &email["error"]), (&json!("failed"), &json!(error)), "{stage}");
            rig.advance(300_000);
        }
        assert_eq!(listed(&rig, &shop, "?channel=email").await.len(), marks, "{stage}");
    }
}
