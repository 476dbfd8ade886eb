//! The promise over HTTP: acknowledged in time, or text and email (P1–P5, P8, P10, P13).

use crate::flow::{Device, ann, behave, delivery, expect, ms, post, received, result, sent, shop, stands};
use backstop_server::testing::Behaviour;
use serde_json::json;

/// P1, P2: acked in time, nothing else is ever sent — and it is the push alone that leaves first.
#[tokio::test]
async fn p2_an_ack_in_time_ends_it() {
    let shop = shop().await;
    shop.phone("ann", Behaviour::AckAfter(29_999)).await;
    let id = shop.reply("ann", "It arrives today.").await;
    shop.advance(29_998).await;
    expect(&shop, &id, "awaiting_ack", "").await;
    shop.advance(1).await;
    expect(&shop, &id, "acked", "acked").await;
    shop.advance(3_600_000).await;
    expect(&shop, &id, "acked", "acked").await;
    assert_eq!((shop.outbox("push").await.len(), sent(&shop).await), (1, (0, 0)));
    let followup = shop.followup(&id).await;
    let ack = &followup["deliveries"][0]["ack"];
    assert_eq!((ack["grade"].as_str(), &ack["received_at"]), (Some("displayed"), &followup["decided_at"]));
}

/// P3: text and email at 30.000 s, not a millisecond before.
#[tokio::test]
async fn p3_nothing_at_29_999_and_both_at_30_000() {
    let shop = shop().await;
    shop.phone("ann", Behaviour::Silent).await;
    let id = shop.reply("ann", "It arrives today.").await;
    let stepped = shop.advance(29_999).await;
    assert_eq!((stepped["decided"].as_u64(), stepped["performed"].as_u64()), (Some(0), Some(0)));
    assert_eq!(sent(&shop).await, (0, 0));
    let stepped = shop.advance(1).await;
    assert_eq!((stepped["decided"].as_u64(), stepped["performed"].as_u64()), (Some(1), Some(2)));
    assert_eq!(sent(&shop).await, (1, 1));
    let followup = shop.followup(&id).await;
    expect(&shop, &id, "fell_back", "no_ack").await;
    assert_eq!(followup["decided_at"], followup["deadline_at"]);
    assert_eq!(ms(&followup["deadline_at"]) - ms(&followup["accepted_at"]), 30_000);
    assert_eq!(stepped["now"], followup["decided_at"]);
    let text = shop.outbox("sms").await.remove(0);
    assert_eq!((&text["to"], &text["at"]), (&json!("+14155550123"), &followup["decided_at"]));
    assert!(text["payload"]["text"].as_str().unwrap().contains("It arrives today."));
    let email = shop.outbox("email").await.remove(0);
    assert_eq!(email["to"], "ann@example.com");
    assert!(email["payload"]["text"].as_str().unwrap().contains("It arrives today."));
}

/// P3: one long step decides at the same instants as many short ones.
#[tokio::test]
async fn p3_a_long_step_decides_at_the_deadline_itself() {
    let shop = shop().await;
    shop.phone("ann", Behaviour::Silent).await;
    let id = shop.reply("ann", "It arrives today.").await;
    shop.advance(7 * 3_600_000).await;
    let followup = shop.followup(&id).await;
    assert_eq!(followup["decided_at"], followup["deadline_at"]);
    assert_eq!(shop.outbox("sms").await[0]["at"], followup["deadline_at"]);
}

/// P4: nobody to push to: both leave at once.
#[tokio::test]
async fn p4_without_a_device_both_leave_at_once() {
    let shop = shop().await;
    let posted = shop.post_message("r1", "ann", "It arrives today.").await;
    assert_eq!(posted.status, 202);
    let posted = posted.ok();
    assert_eq!(posted["state"], "falling_back");
    let id = posted["followup_id"].as_str().unwrap();
    expect(&shop, id, "fell_back", "no_device").await;
    assert_eq!(sent(&shop).await, (1, 1));
    let followup = shop.followup(id).await;
    assert_eq!(followup["decided_at"], followup["accepted_at"]);
}

/// P4: one leg failing does not stop the other; only both failing is a failure.
#[tokio::test]
async fn p4_one_leg_failing_does_not_stop_the_other() {
    for (broken, state, expected) in [
        (&["sms"][..], "fell_back", ("failed:rejected", "accepted")),
        (&["email"], "fell_back", ("accepted", "failed:rejected")),
        (&["sms", "email"], "failed", ("failed:rejected", "failed:rejected")),
    ] {
        let shop = shop().await;
        for channel in broken {
            behave(&shop, channel, "reject").await;
        }
        let id = shop.reply("ann", "It arrives today.").await;
        let followup = shop.followup(&id).await;
        assert_eq!(followup["state"], state, "{broken:?}");
        assert_eq!((delivery(&followup, "sms").as_str(), delivery(&followup, "email").as_str()), expected);
    }
}

/// P5: known dead is not waited for, whatever made it so.
#[tokio::test]
async fn p5_known_dead_is_not_waited_for() {
    for (behaviour, reason) in
        [("token_gone", "token_gone"), ("reject", "push_refused"), ("rate_limit", "rate_limited")]
    {
        let shop = shop().await;
        shop.phone("ann", Behaviour::Silent).await;
        behave(&shop, "push", behaviour).await;
        let id = shop.reply("ann", "It arrives today.").await;
        expect(&shop, &id, "fell_back", reason).await;
        assert_eq!(sent(&shop).await, (1, 1), "{behaviour}");
    }
}

/// P5: a phone whose token is dead, and one that may show nothing.
#[tokio::test]
async fn p5_a_removed_app_and_denied_alerts_fall_back_at_once() {
    let shop_a = shop().await;
    shop_a.phone("ann", Behaviour::TokenGone).await;
    let id = shop_a.reply("ann", "It arrives today.").await;
    expect(&shop_a, &id, "fell_back", "token_gone").await;
    for alerts in ["denied", "not_asked"] {
        let shop = shop().await;
        Device::register_with(&shop, "ann", "t", alerts).await;
        let id = shop.reply("ann", "It arrives today.").await;
        expect(&shop, &id, "fell_back", "alerts_denied").await;
        assert!(shop.outbox("push").await.is_empty(), "P1: {alerts} is not live");
    }
}

/// P5: alerts denied while the push waits: nothing more can be hoped for.
#[tokio::test]
async fn p5_alerts_denied_meanwhile_fall_back_then() {
    let shop = shop().await;
    Device::register(&shop, "ann", "t").await;
    let id = shop.reply("ann", "It arrives today.").await;
    shop.advance(10_000).await;
    expect(&shop, &id, "awaiting_ack", "").await;
    Device::register_with(&shop, "ann", "t", "denied").await;
    expect(&shop, &id, "fell_back", "alerts_denied").await;
}

/// P8: at one instant the ack comes before the deadline; a millisecond later it is late, and the outcome stays.
#[tokio::test]
async fn p8_the_ack_wins_at_30_000_and_is_late_at_30_001() {
    let shop_a = shop().await;
    shop_a.phone("ann", Behaviour::AckAfter(30_000)).await;
    let id = shop_a.reply("ann", "It arrives today.").await;
    shop_a.advance(60_000).await;
    expect(&shop_a, &id, "acked", "acked").await;
    assert_eq!(sent(&shop_a).await, (0, 0));

    let shop_b = shop().await;
    shop_b.phone("ann", Behaviour::AckAfter(30_001)).await;
    let id = shop_b.reply("ann", "It arrives today.").await;
    shop_b.advance(60_000).await;
    expect(&shop_b, &id, "fell_back", "no_ack").await;
    let followup = shop_b.followup(&id).await;
    assert_eq!(ms(&followup["late_ack_at"]) - ms(&followup["accepted_at"]), 30_001);
    assert_eq!(sent(&shop_b).await, (1, 1));
}

/// P8: a late ack stops what has not left.
#[tokio::test]
async fn p8_a_late_ack_stops_what_has_not_left() {
    let shop = shop().await;
    behave(&shop, "sms", "rate_limit").await;
    behave(&shop, "email", "rate_limit").await;
    shop.phone("ann", Behaviour::AckAfter(40_000)).await;
    let id = shop.reply("ann", "It arrives today.").await;
    shop.advance(39_999).await;
    expect(&shop, &id, "falling_back", "no_ack").await;
    behave(&shop, "sms", "accept").await;
    behave(&shop, "email", "accept").await;
    shop.advance(600_000).await;
    expect(&shop, &id, "fell_back", "ack_late").await;
    let followup = shop.followup(&id).await;
    assert_eq!(
        (delivery(&followup, "sms"), delivery(&followup, "email")),
        ("stopped:rate_limited".into(), "stopped:rate_limited".into())
    );
    assert_eq!(sent(&shop).await, (0, 0));
}

/// P10: a push lives to the deadline — or a day, where nothing else can leave; then the follow-up fails at the
/// deadline and an ack after it is late.
#[tokio::test]
async fn p10_a_push_lives_as_long_as_its_use() {
    let shop = shop().await;
    let device = Device::register(&shop, "ann", "t").await;
    let id = shop.reply("ann", "It arrives today.").await;
    let push = shop.outbox("push").await.remove(0);
    assert_eq!(received(&push)["expires_at"], shop.followup(&id).await["deadline_at"]);
    assert_eq!(push["payload"]["message"]["android"]["ttl"], "30s");

    shop.put_customer("bob", json!({"name": "Bob"})).await;
    let device_of_bob = Device::register(&shop, "bob", "u").await;
    let posted = shop.post_message("b1", "bob", "It arrives today.").await.ok();
    let codes: Vec<_> = posted["warnings"].as_array().unwrap().iter().map(|w| w["code"].clone()).collect();
    assert!(codes.contains(&json!("no_fallback_route")), "{codes:?}");
    let id = posted["followup_id"].as_str().unwrap();
    let push = shop.outbox("push").await.remove(1);
    assert_eq!(ms(&received(&push)["expires_at"]) - ms(&posted["accepted_at"]), 86_400_000);
    shop.advance(29_999).await;
    expect(&shop, id, "awaiting_ack", "").await;
    shop.advance(1).await;
    expect(&shop, id, "failed", "no_fallback_route").await;
    let receipt = device_of_bob.receipts(&shop).await.remove(0);
    assert_eq!(device_of_bob.ack(&shop, &receipt, "displayed").await, result("late", false));
    expect(&shop, id, "failed", "no_fallback_route").await;
    assert_eq!(device.receipts(&shop).await.len(), 1);
}

/// P13: a text that could not go for `fallback_horizon` goes no more; the email still does.
#[tokio::test]
async fn p13_a_text_too_old_is_not_sent() {
    let shop = shop().await;
    behave(&shop, "sms", "rate_limit").await;
    behave(&shop, "email", "rate_limit").await;
    let id = shop.reply("ann", "It arrives today.").await;
    shop.advance(6 * 3_600_000 - 400_000).await;
    assert_eq!(delivery(&shop.followup(&id).await, "sms"), "queued:rate_limited");
    shop.advance(800_000).await;
    assert_eq!(delivery(&shop.followup(&id).await, "sms"), "failed:rate_limited");
    expect(&shop, &id, "falling_back", "no_device").await;
    behave(&shop, "sms", "accept").await;
    behave(&shop, "email", "accept").await;
    shop.advance(600_000).await;
    assert_eq!(sent(&shop).await, (0, 1));
    expect(&shop, &id, "fell_back", "no_device").await;
}

/// P13, D5: overdue work that is no longer wanted does not go.
#[tokio::test]
async fn p13_overdue_work_is_judged_again() {
    let shop = shop().await;
    behave(&shop, "sms", "rate_limit").await;
    behave(&shop, "email", "rate_limit").await;
    let id = shop.reply("ann", "It arrives today.").await;
    shop.advance(30_000).await;
    crate::flow::read(&shop, "ann", &shop.last_reply()).await.ok();
    behave(&shop, "sms", "accept").await;
    behave(&shop, "email", "accept").await;
    shop.advance(3_600_000).await;
    expect(&shop, &id, "cancelled", "customer_read").await;
    assert_eq!(sent(&shop).await, (0, 0));
}

/// P3: `ack_wait` is a setting, and a channel chosen alone is used alone.
#[tokio::test]
async fn p3_settings_and_channels_narrow_it() {
    let shop = shop().await;
    shop.put("/v1/settings", json!({"ack_wait_ms": 5_000})).await.ok();
    shop.phone("ann", Behaviour::Silent).await;
    let posted = post(&shop, "r1", json!({"channels": ["push", "email"]})).await.ok();
    let id = posted["followup_id"].as_str().unwrap();
    shop.advance(4_999).await;
    assert_eq!(stands(&shop, id).await.0, "awaiting_ack");
    shop.advance(1).await;
    expect(&shop, id, "fell_back", "no_ack").await;
    assert_eq!((sent(&shop).await, delivery(&shop.followup(id).await, "sms").as_str()), ((0, 1), "skipped:not_chosen"));
}

/// P12's sibling on the customer's side: nothing known of a customer but a phone.
#[tokio::test]
async fn p4_only_what_is_known_of_the_customer_is_used() {
    let shop = shop().await;
    let mut data = ann();
    data.as_object_mut().unwrap().remove("email");
    shop.put_customer("ann", data).await;
    let id = shop.reply("ann", "It arrives today.").await;
    let followup = shop.followup(&id).await;
    assert_eq!(
        (delivery(&followup, "sms").as_str(), delivery(&followup, "email").as_str()),
        ("accepted", "skipped:no_contact")
    );
}
