//! A DNS server of one's own: says what a test wants it to, in packets that others' code writes, and refuses what no
//! resolver would ask.

use mail_auth::hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
use mail_auth::hickory_resolver::proto::rr::rdata::{CNAME, TXT};
use mail_auth::hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What is said of a name; of any other one, that it does not exist.
#[derive(Clone)]
pub(crate) enum Says {
    /// These records, each of these strings.
    Txt(Vec<Vec<String>>),
    /// That it is another name for this one.
    Alias(String),
    /// That something is wrong here.
    Failure,
    /// Half a packet.
    Rubbish,
    /// Nothing at all.
    Silence,
}

pub(crate) struct DnsServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<HashMap<String, Says>>>,
    task: JoinHandle<()>,
}

impl DnsServer {
    pub(crate) async fn start() -> DnsServer {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone: Arc<Mutex<HashMap<String, Says>>> = Arc::default();
        let known = zone.clone();
        let task = tokio::spawn(async move {
            let mut packet = [0; 4_096];
            loop {
                let (length, from) = socket.recv_from(&mut packet).await.unwrap();
                let answer = answer(&packet[..length], &known.lock().unwrap());
                if let Some(answer) = answer {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        DnsServer { address, zone, task }
    }

    pub(crate) fn say(&self, name: &str, says: Says) {
        self.zone.lock().unwrap().insert(name.to_owned(), says);
    }

    /// One record of one string.
    pub(crate) fn txt(&self, name: &str, value: &str) {
        self.say(name, Says::Txt(vec![vec![value.to_owned()]]));
    }

    pub(crate) fn forget(&self, name: &str) {
        self.zone.lock().unwrap().remove(name);
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(packet: &[u8], zone: &HashMap<String, Says>) -> Option<Vec<u8>> {
    let query = Message::from_vec(packet).expect("a resolver's packet reads");
    let [question] = query.queries.as_slice() else { panic!("a resolver asks one question") };
    assert_eq!((query.metadata.message_type, query.metadata.op_code), (MessageType::Query, OpCode::Query));
    assert_eq!(question.query_type(), RecordType::TXT);
    assert!(question.name().is_fqdn(), "{}", question.name());
    let mut response = Message::response(query.metadata.id, OpCode::Query);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.add_query(question.clone());
    let name = question.name().clone();
    let spelled = name.to_lowercase().to_ascii();
    match zone.get(spelled.trim_end_matches('.')) {
        None => response.metadata.response_code = ResponseCode::NXDomain,
        Some(Says::Failure) => response.metadata.response_code = ResponseCode::ServFail,
        Some(Says::Silence) => return None,
        Some(Says::Rubbish) => return Some(packet[..packet.len() / 2].to_vec()),
        Some(Says::Alias(of)) => {
            let of = Name::from_ascii(format!("{of}.")).unwrap();
            response.add_answer(Record::from_rdata(name, 60, RData::CNAME(CNAME(of))));
        }
        Some(Says::Txt(records)) => {
            for strings in records {
                response.add_answer(Record::from_rdata(name.clone(), 60, RData::TXT(TXT::new(strings.clone()))));
            }
        }
    }
    Some(response.to_vec().unwrap())
}
