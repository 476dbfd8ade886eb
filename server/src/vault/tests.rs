//! Holds the vault to P11, C1 and S8: vectors, every single change, every swap.

use super::*;
use proptest::prelude::*;

const WS: WorkspaceId = WorkspaceId(7);
const OTHER: WorkspaceId = WorkspaceId(8);
const EXPIRES: Ms = 1_795_975_200_000;

fn vault() -> Vault {
    Vault::new(&[0x42; 32])
}

fn a_receipt() -> String {
    vault().receipt(WS, FollowupId(1_882_601_000_000_000_001), DeviceId(1_882_600_000_000_000_002), 3, EXPIRES)
}

/// P11: what was issued once must be readable for ever; a change of derivation is a change of format.
/// Only a holder of the data key makes a challenge that is answered, and only such a one answers it.
#[test]
fn a_challenge_is_answered_by_the_same_key_only() {
    let (ours, other) = (Vault::new(&[1; 32]), Vault::new(&[2; 32]));
    let challenge = ours.challenge();
    let answer = ours.answer(&challenge).unwrap();
    assert_ne!(answer, challenge);
    assert_eq!(ours.answer(&challenge), Some(answer));
    assert_ne!(ours.challenge(), challenge, "each is new");
    assert_eq!(other.answer(&challenge), None);
    let forged = challenge.replace(&challenge[60..], "0000");
    for refused in ["", "00", &challenge[1..], &forged, &"0".repeat(64)] {
        assert_eq!(ours.answer(refused), None, "{refused}");
    }
}

#[test]
fn vectors_stay_as_they_were_first_issued() {
    let vault = vault();
    assert_eq!(hex::encode(vault.check_value()), "d4bf1f2b069935507698bc41c9db97dd");
    assert_eq!(a_receipt(), "GiBXopLLkAEaIFa5viaAAgADAAABoih2vQC3ClhFinfmBaqfNzpwGG0M");
    assert_eq!(vault.device_key(WS, DeviceId(5)), "aWl6bfiRRJ6EUlm2DNv5iYPkrPOHFFA3bzVz9TvbUa4");
    assert_eq!(
        hex::encode(vault.token_hash(WS, PushProvider::Fcm, "token")),
        "1759cda1a3fbde934f5b65ad9cc92a207b49c64c75dc85022ffd1525c7f5d914"
    );
    assert_eq!(vault.log_id(WS, "lucas"), "726df8524f112448");
    let sealed = hex::decode(
        "011ae8583af3e19d9af88b9e732d61a257654d32a89d2beaf9f39b5dacf96af66d93eeefc05dd856e04045009ca7201f045449f2f6",
    )
    .unwrap();
    assert_eq!(vault.open(WS, "devices", "dev_1", "token", &sealed).unwrap(), b"a push token");
    let wrapped = hex::decode(concat!(
        "01b592f6088c812a2a146da24c6b3786cb76d5ec46215ec98e1ad221711827d1bfc0680459f564bc0c458572176ec98b9a",
        "a6b827061eb820310a26ed891359349d066efb9244530e0e"
    ))
    .unwrap();
    let key = vault.unwrap_key(WS, "lucas", &wrapped).unwrap();
    let text =
        hex::decode("014a5420a609ce4cac4c1787d6e6fe1a4a1769ed3241bb7a3d9a34f6ac2ce1a61c20e97b588b182d1ecd3e5b5db3")
            .unwrap();
    assert_eq!(key.open(WS, "messages", "m-1", "body", &text).unwrap(), b"hello");
}

/// P11: a true receipt reads back, until it expires.
#[test]
fn a_true_receipt_opens_until_it_expires() {
    let receipt = a_receipt();
    let open = vault().open_receipt(WS, &receipt, EXPIRES - 1).unwrap();
    assert_eq!(open.carrier, Carrier::Followup { id: FollowupId(1_882_601_000_000_000_001), covers: 3 });
    assert_eq!((open.device, open.expires_at), (DeviceId(1_882_600_000_000_000_002), EXPIRES));
    assert_eq!(vault().open_receipt(WS, &receipt, EXPIRES), None);
    assert_eq!(vault().open_receipt(WS, &receipt, EXPIRES + 1), None);
    assert!(vault().open_receipt(WS, &receipt, 0).is_some(), "an early clock refuses nothing");
}

/// P11: a test's receipt is of the same make, and stands for no follow-up.
#[test]
fn a_test_s_receipt_opens_as_one() {
    let device = DeviceId(1_882_600_000_000_000_002);
    let receipt = vault().test_receipt(WS, device, EXPIRES);
    assert_eq!(receipt.len(), a_receipt().len());
    let expected = Receipt { carrier: Carrier::Test, device, expires_at: EXPIRES };
    assert_eq!(vault().open_receipt(WS, &receipt, EXPIRES - 1), Some(expected));
    assert_eq!(vault().open_receipt(WS, &receipt, EXPIRES), None);
    assert_eq!(vault().open_receipt(WorkspaceId(WS.0 + 1), &receipt, 0), None);
}

/// P11: no bit of a receipt may change, nor any character, nor its length or spelling.
#[test]
fn every_mutation_of_a_receipt_is_refused() {
    let vault = vault();
    let receipt = a_receipt();
    let bytes = URL_SAFE_NO_PAD.decode(&receipt).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(vault.open_receipt(WS, &URL_SAFE_NO_PAD.encode(&bad), 0), None, "bit {bit}");
    }
    for at in 0..receipt.len() {
        for c in (0u8..128).map(char::from).filter(|c| !receipt[at..].starts_with(*c)) {
            let mut bad = receipt.clone();
            bad.replace_range(at..=at, &c.to_string());
            assert_eq!(vault.open_receipt(WS, &bad, 0), None, "{c:?} at {at}");
        }
    }
    let spelled = [
        format!("{receipt}="),
        format!("{receipt}A"),
        format!(" {receipt}"),
        format!("{receipt}\n"),
        receipt[1..].to_owned(),
        receipt[..receipt.len() - 1].to_owned(),
        receipt.replace('-', "+").replace('_', "/") + "=",
        hex::encode(&bytes),
        String::new(),
    ];
    for bad in spelled {
        assert_eq!(vault.open_receipt(WS, &bad, 0), None, "{bad:?}");
    }
    assert!(vault.open_receipt(WS, &receipt, 0).is_some(), "the true one still works");
}

/// P11: a receipt serves one workspace, follow-up, device and number of replies, under one key.
#[test]
fn a_swapped_receipt_is_refused() {
    let vault = vault();
    assert_eq!(vault.open_receipt(OTHER, &a_receipt(), 0), None);
    assert_eq!(Vault::new(&[0x43; 32]).open_receipt(WS, &a_receipt(), 0), None);
    let mac_of = |receipt: &str| URL_SAFE_NO_PAD.decode(receipt).unwrap()[RECEIPT_FIELDS_BYTES..].to_vec();
    let truth = (FollowupId(1), DeviceId(2), 3, EXPIRES);
    let tag = mac_of(&vault.receipt(WS, truth.0, truth.1, truth.2, truth.3));
    let others = [
        (FollowupId(9), DeviceId(2), 3, EXPIRES),
        (FollowupId(1), DeviceId(9), 3, EXPIRES),
        (FollowupId(2), DeviceId(1), 3, EXPIRES),
        (FollowupId(1), DeviceId(2), 4, EXPIRES),
        (FollowupId(1), DeviceId(2), 3, EXPIRES + 1),
    ];
    for (followup, device, covers, expires_at) in others {
        let mut bytes = URL_SAFE_NO_PAD.decode(vault.receipt(WS, followup, device, covers, expires_at)).unwrap();
        bytes[RECEIPT_FIELDS_BYTES..].copy_from_slice(&tag);
        assert_eq!(vault.open_receipt(WS, &URL_SAFE_NO_PAD.encode(bytes), 0), None);
    }
}

/// P11: a device key is one text for one device of one workspace; its last character has no second spelling.
#[test]
fn a_device_key_has_one_spelling() {
    let vault = vault();
    let key = vault.device_key(WS, DeviceId(5));
    assert!(vault.device_key_matches(WS, DeviceId(5), &key));
    assert!(!vault.device_key_matches(WS, DeviceId(6), &key));
    assert!(!vault.device_key_matches(OTHER, DeviceId(5), &key));
    for at in 0..key.len() {
        for c in (0u8..128).map(char::from).filter(|c| !key[at..].starts_with(*c)) {
            let mut bad = key.clone();
            bad.replace_range(at..=at, &c.to_string());
            assert!(!vault.device_key_matches(WS, DeviceId(5), &bad), "{c:?} at {at}");
        }
    }
    for bad in [String::new(), format!("{key}="), key.to_uppercase(), key[..42].to_owned()] {
        assert!(!vault.device_key_matches(WS, DeviceId(5), &bad));
    }
}

/// S8: sealed values open only where they belong, under the key that sealed them.
#[test]
fn sealed_values_open_only_in_their_place() {
    let vault = vault();
    let (key, wrapped) = vault.new_customer_key(WS, "lucas");
    let sealed = key.seal(WS, "messages", "m-1", "body", b"hello");
    let again = vault.unwrap_key(WS, "lucas", &wrapped).unwrap();
    assert_eq!(again.open(WS, "messages", "m-1", "body", &sealed).unwrap(), b"hello");
    let elsewhere = [
        (OTHER, "messages", "m-1", "body"),
        (WS, "message", "sm-1", "body"),
        (WS, "messages", "m-2", "body"),
        (WS, "messages", "m-1", "bod"),
        (WS, "messages", "m-1b", "ody"),
    ];
    for (ws, table, id, column) in elsewhere {
        assert_eq!(again.open(ws, table, id, column, &sealed), Err(VaultError::Unreadable));
    }
    let (other, _) = vault.new_customer_key(WS, "lucas");
    assert_eq!(other.open(WS, "messages", "m-1", "body", &sealed), Err(VaultError::Unreadable));
    assert!(vault.unwrap_key(WS, "maria", &wrapped).is_err());
    assert!(vault.unwrap_key(OTHER, "lucas", &wrapped).is_err());
    assert!(Vault::new(&[1; 32]).unwrap_key(WS, "lucas", &wrapped).is_err());
    assert_ne!(sealed, key.seal(WS, "messages", "m-1", "body", b"hello"), "a nonce is never used twice");
}

#[test]
fn every_bit_of_a_sealed_value_counts() {
    let vault = vault();
    let sealed = vault.seal(WS, "devices", "dev_1", "token", b"secret");
    for bit in 0..sealed.len() * 8 {
        let mut bad = sealed.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(vault.open(WS, "devices", "dev_1", "token", &bad).is_err(), "bit {bit}");
    }
    for len in 0..sealed.len() {
        assert!(vault.open(WS, "devices", "dev_1", "token", &sealed[..len]).is_err(), "{len} bytes");
    }
    assert_eq!(vault.open(WS, "devices", "dev_1", "token", &[9; 60]), Err(VaultError::Version(9)));
}

/// Invariant 9: keys print as nothing.
#[test]
fn debug_shows_no_key() {
    let (key, _) = vault().new_customer_key(WS, "c");
    assert_eq!(
        format!("{:?} {key:?} {:?}", vault(), DataKey::from_bytes([7; 32])),
        "Vault { .. } CustomerKey { .. } DataKey { .. }"
    );
}

#[test]
fn fresh_keys_have_their_form() {
    let key = random_key("sk_");
    assert_eq!((key.len(), &key[..3]), (46, "sk_"));
    assert_ne!(key, random_key("sk_"));
    let secret = random_secret_hex();
    assert!(secret.len() == 64 && secret.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    assert_eq!(hex::encode(sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

proptest! {
    /// P11: any receipt reads back as issued, and no other text is one.
    #[test]
    fn receipts_round_trip(ws: i64, f: i64, d: i64, covers: u16, expires in 1i64.., noise in "[A-Za-z0-9_-]{56}") {
        let vault = vault();
        let receipt = vault.receipt(WorkspaceId(ws), FollowupId(f), DeviceId(d), covers, expires);
        let open = vault.open_receipt(WorkspaceId(ws), &receipt, 0).unwrap();
        // 0 is no follow-up's.
        let carrier = if f == 0 { Carrier::Test } else { Carrier::Followup { id: FollowupId(f), covers } };
        prop_assert_eq!(open, Receipt { carrier, device: DeviceId(d), expires_at: expires });
        prop_assert_eq!(vault.open_receipt(WorkspaceId(ws), &noise, 0), None);
    }

    /// S8: whatever is sealed opens in its place.
    #[test]
    fn seals_round_trip(ws: i64, id in ".{0,40}", plain in proptest::collection::vec(any::<u8>(), 0..300)) {
        let vault = vault();
        let sealed = vault.seal(WorkspaceId(ws), "t", &id, "c", &plain);
        prop_assert_eq!(vault.open(WorkspaceId(ws), "t", &id, "c", &sealed).unwrap(), plain);
        let longer = id + "x";
        prop_assert!(vault.open(WorkspaceId(ws), "t", &longer, "c", &sealed).is_err());
    }
}
