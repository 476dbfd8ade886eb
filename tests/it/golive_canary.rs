//! The canary on a clock by hand: it goes the whole way, reaches nobody, shows in no list, and rings in time.

use crate::http_support::{Rig, Shop};
use backstop_server::canary::{Canary, Fate};
use backstop_server::http::Limits;
use backstop_server::store::{FollowupFilter, Key, Row, Store};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

struct Aviary {
    rig: Rig,
    shop: Shop,
    canary: Arc<Canary>,
}

impl Aviary {
    async fn new() -> Aviary {
        let rig = Rig::with_limits(Limits::none());
        let shop = rig.shop("acme").await;
        let canary = rig.canary.clone();
        Aviary { rig, shop, canary }
    }

    async fn switch(&self, on: bool) {
        self.rig.put(&self.shop, "/v1/settings", json!({ "canary": on })).await.expect(200);
        // What is cached is believed for a second.
        self.rig.advance(1_001);
    }

    fn fate(&self) -> Option<Fate> {
        self.canary.fate(self.shop.id)
    }

    /// The newest canary's state, once everything under way has ended.
    async fn newest(&self) -> (String, usize) {
        let home = self.rig.registry.by_name("acme:canary").await.unwrap().unwrap();
        home.activity.settled().await;
        let filter = FollowupFilter { limit: 200, ..FollowupFilter::default() };
        let rows = self.rig.store.followups(home.id, filter).await.unwrap();
        (rows[0].state.public_state().unwrap().as_str().to_owned(), rows.len())
    }

    /// Past its deadline, until it is handed over: the timer runs on the clock by hand and looks four times a second.
    async fn land(&self) {
        self.rig.advance(30_001);
        while self.newest().await.0 != "fell_back" {
            tokio::task::yield_now().await;
        }
    }
}

/// P3: with nothing to leave by in its workspace, it is still decided at its deadline and handed over; nothing of it
/// is captured or listed.
#[tokio::test]
async fn a_canary_goes_the_whole_way_and_reaches_nobody() {
    let aviary = Aviary::new().await;
    aviary.canary.tick().await;
    assert_eq!(aviary.fate(), None, "nobody asked for one");
    aviary.switch(true).await;
    for n in 1..=3 {
        aviary.canary.tick().await;
        assert_eq!(aviary.newest().await, ("awaiting_ack".into(), n), "its push was taken, by nobody");
        aviary.canary.tick().await;
        assert_eq!(aviary.newest().await.1, n, "one at a time");
        aviary.land().await;
        aviary.rig.advance(1_000);
    }
    aviary.canary.tick().await;
    assert_eq!(aviary.fate(), Some(Fate::Well));
    assert!(aviary.rig.capture.outbox("acme", None, None).is_empty());
    assert!(aviary.rig.capture.outbox("acme:canary", None, None).is_empty());
    let listed = aviary.rig.get(&aviary.shop, "/v1/followups").await.expect(200);
    assert_eq!(listed["data"], json!([]));
    aviary.switch(false).await;
    aviary.canary.tick().await;
    assert_eq!(aviary.fate(), None);
    assert!(aviary.rig.registry.by_name("acme:canary").await.unwrap().is_none(), "nothing is left of it");
}

/// Invariant 7: an hour's worth is dropped whole, and so is what an earlier run of the server left.
#[tokio::test]
async fn canaries_do_not_pile_up() {
    let aviary = Aviary::new().await;
    aviary.switch(true).await;
    let mut most = 0;
    for _ in 0..62 {
        aviary.canary.tick().await;
        most = most.max(aviary.newest().await.1);
        aviary.land().await;
    }
    assert_eq!(most, 60);
    assert_eq!(aviary.newest().await.1, 2);
    let again = aviary.rig.another_canary();
    again.tick().await;
    assert_eq!(aviary.newest().await.1, 1, "begun anew after a restart");
    let home = aviary.rig.registry.by_name("acme:canary").await.unwrap().unwrap();
    let customers = aviary.rig.store.load(vec![Key::Customer(home.id, "canary".into())]).await.unwrap();
    assert!(matches!(customers[0], Some(Row::Customer(_))));
}

/// Invariant 2: a decision that does not come is an alarm, and so is a store that takes nothing.
#[tokio::test]
async fn a_canary_that_is_not_decided_rings() {
    let off = Arc::new(AtomicBool::new(false));
    let rig = Rig::with(Limits::none(), |store| {
        Arc::new(crate::http_store_down::Switched::new(store, off.clone())) as Arc<dyn Store>
    });
    let shop = rig.shop("acme").await;
    rig.put(&shop, "/v1/settings", json!({ "canary": true })).await.expect(200);
    rig.advance(1_001);
    rig.canary.tick().await;
    assert_eq!(rig.canary.fate(shop.id), Some(Fate::Flying));
    off.store(true, Ordering::Release);
    rig.canary.tick().await;
    assert_eq!(rig.canary.fate(shop.id), Some(Fate::Down("could not be sent: the store is away")));
    // Nothing is decided while the store is away; then it is too late.
    rig.advance(30_000 + 2_001);
    off.store(false, Ordering::Release);
    let home = rig.registry.by_name("acme:canary").await.unwrap().unwrap();
    loop {
        home.activity.settled().await;
        let rows =
            rig.store.followups(home.id, FollowupFilter { limit: 1, ..FollowupFilter::default() }).await.unwrap();
        if rows[0].state.public_state().unwrap().as_str() == "fell_back" {
            break;
        }
        tokio::task::yield_now().await;
    }
    rig.canary.tick().await;
    assert_eq!(rig.canary.fate(shop.id), Some(Fate::Down("was decided too late")));
    let golive = rig.get(&shop, "/v1/golive").await.expect(200);
    let found = golive["data"].as_array().unwrap().iter().find(|found| found["check"] == "canary").unwrap().clone();
    assert_eq!(found["status"], "failed", "{found}");
    assert_eq!(found["message"], "the last one was decided too late");
}
