//! The PDUs of SMPP 3.4 that we send and read, on top of rusmpp's codec; and their frames on a socket.

use rusmpp_core::CommandStatus;
use rusmpp_core::command::owned::Command;
use rusmpp_core::decode::owned::DecodeWithLength as _;
use rusmpp_core::encode::{Encode as _, Length as _};
use rusmpp_core::pdus::owned::{BindTransceiver, DeliverSm, DeliverSmResp, Pdu, SubmitSm};
use rusmpp_core::tlvs::owned::{MessageSubmissionRequestTlvValue, TlvValue};
use rusmpp_core::types::owned::{AnyOctetString, COctetString, EmptyOrFullCOctetString, OctetString};
use rusmpp_core::values::owned::MessagePayload;
use rusmpp_core::values::{DataCoding, EsmClass, InterfaceVersion, Npi, RegisteredDelivery, Ton};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Length, command, status, sequence.
const HEADER_BYTES: usize = 16;
/// A message payload of some kilobytes fits; nobody sends us more.
const MAX_PDU_BYTES: usize = 16 * 1024;
/// Of esm_class: a header stands before the text.
const HAS_HEADER: u8 = 0x40;
/// Tells an answer from a request.
const ANSWER: u32 = 0x8000_0000;

pub(super) const GENERIC_NACK: u32 = 0x8000_0000;
pub(super) const BIND_TRANSCEIVER_RESP: u32 = 0x8000_0009;
pub(super) const SUBMIT_SM_RESP: u32 = 0x8000_0004;
pub(super) const DELIVER_SM: u32 = 0x0000_0005;
pub(super) const UNBIND: u32 = 0x0000_0006;
pub(super) const UNBIND_RESP: u32 = 0x8000_0006;
pub(super) const ENQUIRE_LINK: u32 = 0x0000_0015;

/// Our side of a log-in.
pub(super) struct Login {
    pub(super) system_id: String,
    pub(super) password: zeroize::Zeroizing<String>,
    pub(super) system_type: String,
}

/// An address as SMPP writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ton: u8,
    pub(super) npi: u8,
    pub(super) digits: String,
}

/// One part of a text.
pub(super) struct Part<'a> {
    pub(super) from: &'a Address,
    pub(super) to: &'a Address,
    /// 0 = the SMSC's alphabet, GSM 03.38 by the book; 8 = UCS-2.
    pub(super) data_coding: u8,
    /// With its header, where there is one.
    pub(super) octets: Vec<u8>,
    pub(super) has_header: bool,
    /// In the message_payload TLV instead of short_message.
    pub(super) as_payload: bool,
    /// `000000060000000R`: days, hours, minutes, seconds from now.
    pub(super) validity: String,
}

/// A PDU as it came: what its header says, and the rest unread.
pub(super) struct Frame {
    pub(super) command: u32,
    pub(super) status: u32,
    pub(super) sequence: u32,
    bytes: Vec<u8>,
}

/// Where a message stands in a text that comes in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Tells its text from others of the same phone.
    pub(super) reference: u16,
    /// Parts of the text, at least two.
    pub(super) total: u8,
    /// From 1.
    pub(super) at: u8,
}

/// What somebody, or the SMSC itself, delivers to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivered {
    pub(super) from: Address,
    pub(super) to: Address,
    pub(super) esm_class: u8,
    pub(super) data_coding: u8,
    /// short_message, or the payload where that is empty.
    pub(super) octets: Vec<u8>,
    /// `None` = it is whole.
    pub(super) place: Option<Place>,
    /// The TLV receipted_message_id.
    pub(super) receipted_id: Option<String>,
    /// The TLV message_state.
    pub(super) state: Option<u8>,
}

impl Frame {
    pub(super) fn is_request(&self) -> bool {
        self.command & ANSWER == 0
    }

    fn pdu(&self, end: usize) -> Option<Pdu> {
        // Behind the length, which rusmpp's own framing takes off.
        let mut rest = self.bytes.get(4..end)?.into();
        let length = end - 4;
        let (command, _) = Command::decode(&mut rest, length).ok()?;
        command.pdu().cloned()
    }

    /// The id that a submit_sm_resp names the text by.
    pub(super) fn message_id(&self) -> Option<String> {
        // Some answer without the closing zero, some with more behind it.
        let body = self.bytes.get(HEADER_BYTES..)?;
        let id = body.split(|byte| *byte == 0).next()?;
        let id = std::str::from_utf8(id).ok()?.trim();
        ((1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())).then(|| id.to_owned())
    }

    pub(super) fn delivered(&self) -> Option<Delivered> {
        let whole = self.pdu(self.bytes.len());
        // A TLV that does not read costs what it says, not the whole message.
        let pdu = whole.or_else(|| self.pdu(self.mandatory_bytes()?))?;
        let Pdu::DeliverSm(message) = pdu else { return None };
        Some(Delivered::read(&message))
    }

    /// Where the TLVs of a deliver_sm begin.
    fn mandatory_bytes(&self) -> Option<usize> {
        let mut at = HEADER_BYTES;
        let skip_text = |at: &mut usize| {
            *at += self.bytes.get(*at..)?.iter().position(|byte| *byte == 0)? + 1;
            Some(())
        };
        skip_text(&mut at)?;
        for fixed in [2, 2] {
            at += fixed;
            skip_text(&mut at)?;
        }
        at += 3;
        skip_text(&mut at)?;
        skip_text(&mut at)?;
        at += 4;
        let end = at + 1 + usize::from(*self.bytes.get(at)?);
        (end <= self.bytes.len()).then_some(end)
    }
}

impl Delivered {
    fn read(message: &DeliverSm) -> Delivered {
        let mut read = Delivered {
            from: address(message.source_addr_ton, message.source_addr_npi, &message.source_addr),
            to: address(message.dest_addr_ton, message.dest_addr_npi, &message.destination_addr),
            esm_class: message.esm_class.into(),
            data_coding: message.data_coding.into(),
            octets: message.short_message().to_vec(),
            place: None,
            receipted_id: None,
            state: None,
        };
        let (mut reference, mut total, mut at) = (None, None, None);
        for value in message.tlvs().iter().filter_map(|tlv| tlv.value()) {
            match value {
                TlvValue::ReceiptedMessageId(id) => read.receipted_id = Some(id.as_str().trim().to_owned()),
                TlvValue::MessageState(state) => read.state = Some((*state).into()),
                TlvValue::SarMsgRefNum(number) => reference = Some(*number),
                TlvValue::SarTotalSegments(parts) => total = Some(*parts),
                TlvValue::SarSegmentSeqnum(part) => at = Some(*part),
                TlvValue::MessagePayload(payload) if read.octets.is_empty() => {
                    read.octets = payload.value.to_vec();
                }
                _ => {}
            }
        }
        let of_fields = || Place::checked(reference?, total?, at?);
        read.place = read.split().and_then(|(header, _)| Place::of_header(header)).or_else(of_fields);
        read
    }

    /// The header before the text, if any, and the text; `None` = the header is longer than all of it.
    pub(super) fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.esm_class & HAS_HEADER == 0 {
            return Some((&[], &self.octets));
        }
        let (length, rest) = self.octets.split_first()?;
        rest.split_at_checked(usize::from(*length))
    }
}

impl Place {
    fn checked(reference: u16, total: u8, at: u8) -> Option<Place> {
        (total > 1 && (1..=total).contains(&at)).then_some(Place { reference, total, at })
    }

    /// From a header's elements: a code, a length, and as many octets. The reference has eight bits or sixteen.
    fn of_header(mut header: &[u8]) -> Option<Place> {
        while let [code, length, rest @ ..] = header {
            let (element, rest) = rest.split_at_checked(usize::from(*length))?;
            match (code, element) {
                (0x00, [reference, total, at]) => return Place::checked(u16::from(*reference), *total, *at),
                (0x08, [high, low, total, at]) => {
                    return Place::checked(u16::from_be_bytes([*high, *low]), *total, *at);
                }
                _ => header = rest,
            }
        }
        None
    }
}

fn address(ton: Ton, npi: Npi, digits: &COctetString<1, 21>) -> Address {
    Address { ton: ton.into(), npi: npi.into(), digits: digits.as_str().to_owned() }
}

/// `None` = longer than SMPP's fields are, which the configuration was checked for.
pub(super) fn bind(login: &Login, sequence: u32) -> Option<Vec<u8>> {
    let bind = BindTransceiver::builder()
        .system_id(text(&login.system_id)?)
        .password(text(&login.password)?)
        .system_type(text(&login.system_type)?)
        .interface_version(InterfaceVersion::Smpp3_4)
        .build();
    Some(encoded(CommandStatus::EsmeRok, sequence, bind))
}

/// `None` = an address or a text that no field of SMPP holds.
pub(super) fn submit(part: Part<'_>, sequence: u32) -> Option<Vec<u8>> {
    let features = if part.has_header { HAS_HEADER } else { 0 };
    let mut message = SubmitSm::builder()
        .source_addr_ton(Ton::from(part.from.ton))
        .source_addr_npi(Npi::from(part.from.npi))
        .source_addr(text(&part.from.digits)?)
        .dest_addr_ton(Ton::from(part.to.ton))
        .dest_addr_npi(Npi::from(part.to.npi))
        .destination_addr(text(&part.to.digits)?)
        .esm_class(EsmClass::from(features))
        .validity_period(EmptyOrFullCOctetString::from_string(part.validity).ok()?)
        // A receipt, whatever becomes of it.
        .registered_delivery(RegisteredDelivery::from(1))
        .data_coding(DataCoding::from(part.data_coding));
    message = match part.as_payload {
        true => {
            let payload = MessagePayload::new(AnyOctetString::from_vec(part.octets));
            message.push_tlv(MessageSubmissionRequestTlvValue::MessagePayload(payload))
        }
        false => message.short_message(OctetString::from_vec(part.octets).ok()?),
    };
    Some(encoded(CommandStatus::EsmeRok, sequence, message.build()))
}

pub(super) fn enquire_link(sequence: u32) -> Vec<u8> {
    encoded(CommandStatus::EsmeRok, sequence, Pdu::EnquireLink)
}

pub(super) fn unbind(sequence: u32) -> Vec<u8> {
    encoded(CommandStatus::EsmeRok, sequence, Pdu::Unbind)
}

/// What a request of the SMSC is answered with.
pub(super) fn answer(request: &Frame, status: u32) -> Vec<u8> {
    match request.command {
        DELIVER_SM => deliver_answer(request.sequence, status),
        ENQUIRE_LINK => encoded(CommandStatus::from(status), request.sequence, Pdu::EnquireLinkResp),
        UNBIND => encoded(CommandStatus::from(status), request.sequence, Pdu::UnbindResp),
        _ => encoded(CommandStatus::EsmeRinvcmdid, request.sequence, Pdu::GenericNack),
    }
}

pub(super) fn deliver_answer(sequence: u32, status: u32) -> Vec<u8> {
    encoded(CommandStatus::from(status), sequence, DeliverSmResp::default())
}

fn encoded(status: CommandStatus, sequence: u32, pdu: impl Into<Pdu>) -> Vec<u8> {
    let command = Command::new(status, sequence, pdu);
    let length = 4 + command.length();
    let mut bytes = vec![0; length];
    bytes[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    command.encode(&mut bytes[4..]);
    bytes
}

fn text<const MAX: usize>(text: &str) -> Option<COctetString<1, MAX>> {
    COctetString::from_string(text.to_owned()).ok()
}

/// Frames, one after the other. Cancel-safe: what came of one stays here.
pub(super) struct Frames<R> {
    reader: R,
    bytes: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(super) fn new(reader: R) -> Frames<R> {
        Frames { reader, bytes: Vec::new() }
    }

    /// `None` = the other side has closed the connection.
    pub(super) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            if self.reader.read_buf(&mut self.bytes).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn take(&mut self) -> io::Result<Option<Frame>> {
        let field = |at: usize| {
            let bytes = self.bytes.get(at..at + 4)?;
            Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        let Some(length) = field(0).map(|length| length as usize) else { return Ok(None) };
        if !(HEADER_BYTES..=MAX_PDU_BYTES).contains(&length) {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        if self.bytes.len() < length {
            return Ok(None);
        }
        let (Some(command), Some(status), Some(sequence)) = (field(4), field(8), field(12)) else { return Ok(None) };
        let rest = self.bytes.split_off(length);
        let bytes = std::mem::replace(&mut self.bytes, rest);
        Ok(Some(Frame { command, status, sequence, bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T9: where a part stands, by either reference, behind other elements; what contradicts itself is whole.
    #[test]
    fn t9_a_header_says_where_a_part_stands() {
        let place = |reference, total, at| Some(Place { reference, total, at });
        for (header, is) in [
            (&[0, 3, 7, 2, 1][..], place(7, 2, 1)),
            (&[8, 4, 1, 7, 2, 2], place(263, 2, 2)),
            (&[5, 4, 0, 1, 0, 2, 0, 3, 7, 3, 3], place(7, 3, 3)),
            (&[], None),
            (&[0, 3, 7, 1, 1], None),
            (&[0, 3, 7, 2, 3], None),
            (&[0, 3, 7, 2, 0], None),
            (&[0, 9, 7, 2, 1], None),
            (&[0, 2, 7, 2], None),
        ] {
            assert_eq!(Place::of_header(header), is, "{header:?}");
        }
    }
}
