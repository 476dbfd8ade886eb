//! What every engine of storage does with answers by mail and text; a part of the suite in `store_conformance`.

use crate::store_conformance::{commit, new_workspace};
use crate::store_rows::{customer, message, put};
use backstop_domain::ids::FollowupId;
use backstop_server::store::{Direction, Inbound, InboundChannel, MessageRow, Op, Row, Store, Verdict};

/// E3, T9, S8: answers are listed in the order of their commits, each with its message; those of a customer who was
/// erased are not, and what is said of an answer goes with its message.
pub async fn answers_are_listed_in_the_order_of_their_coming(store: &dyn Store) {
    let (ws, other) = (new_workspace(store, "inbound").await, new_workspace(store, "inbound-2").await);
    for who in ["lucas", "ann"] {
        assert_eq!(commit(store, vec![put(customer(ws, who))]).await, Verdict::Done);
    }
    let answer = |id: &str, of: &str, channel| {
        let row = MessageRow { direction: Direction::FromCustomer, followup: None, ..message(ws, id, of) };
        let inbound = Inbound { message_id: id.into(), channel, followup: Some(FollowupId(7)), from_other: true };
        vec![Op::put(Row::Message(row)), Op::Inbound(ws, inbound)]
    };
    assert_eq!(commit(store, answer("z", "lucas", InboundChannel::Email)).await, Verdict::Done);
    assert_eq!(commit(store, answer("z", "lucas", InboundChannel::Email)).await, Verdict::Conflict, "a repeat");
    assert_eq!(commit(store, answer("a", "ann", InboundChannel::Sms)).await, Verdict::Done);
    assert_eq!(commit(store, answer("m", "lucas", InboundChannel::Line)).await, Verdict::Done);
    let all = store.inbound(ws, 0, 10).await.unwrap();
    let ids: Vec<_> = all.iter().map(|stored| stored.message.message_id.as_str()).collect();
    assert_eq!(ids, ["z", "a", "m"]);
    assert!(all.is_sorted_by(|a, b| a.id < b.id));
    assert_eq!(all[1].inbound.channel, InboundChannel::Sms);
    assert_eq!((all[0].inbound.followup, all[0].inbound.from_other), (Some(FollowupId(7)), true));
    assert_eq!(store.inbound(ws, all[0].id, 1).await.unwrap(), all[1..2]);
    assert_eq!(store.inbound(other, 0, 10).await.unwrap(), []);
    assert_eq!(commit(store, vec![Op::Erase(ws, "lucas".into())]).await, Verdict::Done);
    assert_eq!(store.inbound(ws, 0, 10).await.unwrap(), all[1..2]);
    store.drop_workspace(ws).await.unwrap();
    assert_eq!(store.inbound(ws, 0, 10).await.unwrap(), []);
}
