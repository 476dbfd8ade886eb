//! The load: backends that post, phones that ack, and everything else that callers do, until the server is gone.

use crate::time::{nap_ms, now_ms};
use crate::world::{PHONES, World, answer};
use backstop_tests::oracle::Ms;
use backstop_tests::program::Server;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::task::JoinSet;

const POSTERS: usize = 3;
const HANDS: usize = 3;
/// Callers that fill the WAL.
const FILLERS: usize = 4;

/// What is done beside posts and acks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    /// Registrations, customers' answers, cancels.
    Usual,
    /// Erasures too: each cuts off the WAL.
    Erasures,
    /// Long messages, so that the WAL grows until it begins anew.
    Bulk,
}

/// How much is enough.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Enough {
    /// Replies answered.
    pub(crate) replies: usize,
    /// Or so much time.
    pub(crate) within_ms: Ms,
}

/// One round of load on one life of a server.
pub(crate) struct Load {
    tasks: JoinSet<()>,
    answered: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl Load {
    pub(crate) fn start(world: &Arc<World>, url: &str, round: usize, beside: Beside) -> Load {
        let (mut tasks, answered) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        let ended = Arc::new(AtomicBool::new(false));
        for poster in 0..POSTERS {
            let (world, url) = (Arc::clone(world), url.to_owned());
            let (answered, ended) = (Arc::clone(&answered), Arc::clone(&ended));
            tasks.spawn(async move {
                for n in 0.. {
                    if ended.load(Ordering::Relaxed) || !world.post(&url, &format!("m-{round}-{poster}-{n}")).await {
                        return;
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..HANDS {
            let (world, url) = (Arc::clone(world), url.to_owned());
            tasks.spawn(async move { phones(&world, &url).await });
        }
        let (others, at) = (Arc::clone(world), url.to_owned());
        tasks.spawn(async move {
            let _ = the_rest(&others, &at, round, beside).await;
        });
        for filler in 0..if beside == Beside::Bulk { FILLERS } else { 0 } {
            let (world, url) = (Arc::clone(world), url.to_owned());
            tasks.spawn(async move {
                let _ = fill(&world, &url, &format!("{round}-{filler}")).await;
            });
        }
        Load { tasks, answered, ended }
    }

    /// Waits until the server has ended by itself, or it is enough; whether it still runs.
    pub(crate) async fn until(&self, server: &mut Server, enough: Enough) -> bool {
        let began = now_ms();
        while server.is_running() {
            let is_enough = self.answered.load(Ordering::Relaxed) >= enough.replies;
            if is_enough || now_ms() - began >= enough.within_ms {
                return true;
            }
            nap_ms(3).await;
        }
        false
    }

    /// After the server has ended, or to leave it alone.
    pub(crate) async fn end(mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // The posters end by themselves: what they ask is answered or known not to be.
        while self.tasks.len() > HANDS + 1 {
            let Some(ended) = self.tasks.join_next().await else { break };
            ended.unwrap();
        }
        self.tasks.shutdown().await;
    }
}

/// Every second follow-up is acked, at once.
async fn phones(world: &World, url: &str) {
    while let Some(push) = world.next_push(url).await {
        let acks = push.followup_id.bytes().map(usize::from).sum::<usize>() % 2 == 1;
        if acks && world.ack(url, push).await.is_none() {
            return;
        }
    }
}

async fn the_rest(world: &World, url: &str, round: usize, beside: Beside) -> Option<()> {
    for n in 0.. {
        world.register(url, n % PHONES).await?;
        world.turn(url).await.or_else(|| (!world.is_sandbox()).then_some(()))?;
        if beside == Beside::Erasures {
            let customer = format!("{url}/v1/customers/t-{round}-{n}");
            let contact = json!({ "email": "t@example.com" });
            answer(world.backend(world.http.put(&customer).json(&contact))).await?;
            answer(world.backend(world.http.delete(&customer))).await?;
        }
        // The customer of a late reply writes back (D5), or the company stops it.
        let message = format!("m-{round}-0-{}", n * 5 + 2);
        let followup = {
            let mut facts = world.facts.lock().unwrap();
            let create = facts.history.creates.iter().rev().find(|create| create.message == message);
            let followup = create.map(|create| create.followup.clone());
            if followup.is_some() {
                facts.history.stopped.insert(message.clone());
            }
            followup
        };
        if let Some(followup) = followup {
            let cancel = world.http.post(format!("{url}/v1/followups/{followup}/cancel"));
            answer(world.backend(cancel)).await?;
        }
        nap_ms(20).await;
    }
    Some(())
}

async fn fill(world: &World, url: &str, name: &str) -> Option<()> {
    for n in 0.. {
        let body = json!({
            "message_id": format!("b-{name}-{n}"), "conversation_id": format!("b-{name}"), "customer_id": "u-bulk",
            "text": "x".repeat(9_000),
        });
        answer(world.backend(world.http.post(format!("{url}/v1/customer-messages")).json(&body))).await?;
    }
    Some(())
}
