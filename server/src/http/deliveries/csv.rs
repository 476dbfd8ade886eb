//! Deliveries as CSV: RFC 4180, for spreadsheets that must not run what customers' ids say.

use crate::http::request::Reply;
use crate::http::view::DeliveryRow;
use axum::http::HeaderValue;
use csv::{Terminator, Writer, WriterBuilder};

const NEXT_CURSOR_HEADER: &str = "backstop-next-cursor";
/// U+FEFF: what Excel knows UTF-8 by.
const BYTE_ORDER_MARK: &str = "\u{feff}";
/// A spreadsheet takes what begins with one of these for a formula, or drops it and looks at what follows.
const FORMULAS: [char; 8] = ['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}'];
/// New columns come last: readers count.
const COLUMNS: [&str; 17] = [
    "followup_id",
    "customer_id",
    "conversation_id",
    "channel",
    "provider",
    "provider_id",
    "device_id",
    "status",
    "segments",
    "price_micros",
    "currency",
    "at",
    "error",
    "ack_grade",
    "ack_received_at",
    "to",
    "why",
];

pub(super) fn reply(rows: Vec<DeliveryRow>, next_cursor: Option<String>, bom: bool) -> Reply {
    let mut bytes = Vec::new();
    if bom {
        bytes.extend_from_slice(BYTE_ORDER_MARK.as_bytes());
    }
    let mut out = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(bytes);
    write(&mut out, rows).expect("memory takes every byte");
    let body = out.into_inner().expect("memory takes every byte");
    let mut reply = Reply::done();
    reply.content_type = Some("text/csv; charset=utf-8");
    reply.body = body.into();
    if let Some(cursor) = next_cursor.and_then(|cursor| HeaderValue::from_str(&cursor).ok()) {
        reply.headers.push((NEXT_CURSOR_HEADER, cursor));
    }
    reply
}

fn write(out: &mut Writer<Vec<u8>>, rows: Vec<DeliveryRow>) -> csv::Result<()> {
    out.write_record(COLUMNS)?;
    for DeliveryRow { followup_id, customer_id, conversation_id, to, why, delivery: d } in rows {
        let text = |value: Option<String>| value.unwrap_or_default();
        let (grade, received_at) = d.ack.map_or(("", String::new()), |ack| (ack.grade, ack.received_at));
        let (micros, currency) =
            d.price.map_or((String::new(), String::new()), |p| (p.amount_micros.to_string(), p.currency));
        let fields = [
            followup_id,
            customer_id,
            conversation_id,
            d.channel.to_owned(),
            text(d.provider),
            text(d.provider_id),
            text(d.device_id),
            d.status.to_owned(),
            text(d.segments.map(|n| n.to_string())),
            micros,
            currency,
            d.at,
            text(d.error),
            grade.to_owned(),
            received_at,
            text(to),
            why.unwrap_or_default().to_owned(),
        ];
        out.write_record(fields.iter().map(|field| harmless(field)))?;
    }
    out.flush().map_err(Into::into)
}

/// A field that a spreadsheet would run as a formula is marked as text. A number is what it is.
fn harmless(field: &str) -> String {
    let runs = field.starts_with(FORMULAS) && field.parse::<i64>().is_err();
    if runs { format!("'{field}") } else { field.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S6: a customer's id that begins like a formula stays text in a spreadsheet.
    #[test]
    fn formulas_are_defused() {
        for formula in ["=HYPERLINK(1)", "+1+1", "-1+cmd|' /C calc'!A0", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1"] {
            assert_eq!(harmless(formula), format!("'{formula}"));
        }
        assert_eq!(harmless("+82 10-****-5678"), "'+82 10-****-5678");
        for plain in ["lucas", "-250000", "", "a=b"] {
            assert_eq!(harmless(plain), plain);
        }
    }
}
